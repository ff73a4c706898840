"""Watches: what they begin with, what they tell, and that nothing is missed, repeated or out of order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from schemas.selectors import parse_selector
from services.api.hub import MOST_PENDING, Encoding, Hub, Selection, Watcher
from services.api.limits import Limits
from services.api.ring import Change, Ring
from tests.services.api.apis import CONFIG_MAPS, DEADLINE, AnApi, a_config_map, a_pod, an_api

MAPS = "core/configmaps"
BOOKMARKS = "allowWatchBookmarks=true"
INITIAL = f"sendInitialEvents=true&resourceVersionMatch=NotOlderThan&{BOOKMARKS}"


def a_change(version: int, name: str = "a", old: Any = None, new: Any = None, **labels: str) -> Change:
    """A change of a ConfigMap; `labels` are the new one's."""

    def obj(metadata: Any) -> Any:
        named = {"name": name, "namespace": "default", "resourceVersion": str(version), **metadata}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named}

    key = f"{MAPS}/default/{name}"
    return Change(
        (version, MAPS, "default", key),
        obj(old) if old is not None else None,
        obj(new if new is not None else {"labels": labels}) if new is not False else None,
    )


def _told(events: Iterator[Any], count: int) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in islice(events, count)]


def _now(api: AnApi) -> str:
    version: str = api.get(CONFIG_MAPS)["metadata"]["resourceVersion"]
    return version


def test_a_watch_tells_what_happens_behind_the_version_it_names(api: AnApi) -> None:
    version = _now(api)
    api.create(CONFIG_MAPS, a_config_map("w-before"))
    with api.watch(CONFIG_MAPS, f"resourceVersion={version}") as events:
        api.put(f"{CONFIG_MAPS}/w-before", a_config_map("w-before", a="1"))
        api.delete(f"{CONFIG_MAPS}/w-before")
        assert _told(events, 3) == [("ADDED", "w-before"), ("MODIFIED", "w-before"), ("DELETED", "w-before")]


def test_a_deleted_object_comes_as_it_was_with_the_version_of_its_end(api: AnApi) -> None:
    made = api.create(CONFIG_MAPS, a_config_map("w-end", a="1"))
    with api.watch(CONFIG_MAPS, f"resourceVersion={made['metadata']['resourceVersion']}") as events:
        api.delete(f"{CONFIG_MAPS}/w-end")
        event = next(events)
    assert event["type"] == "DELETED" and event["object"]["data"] == {"a": "1"}
    assert int(event["object"]["metadata"]["resourceVersion"]) == api.log.last()


def test_a_watch_that_names_no_version_begins_with_what_is_there(api: AnApi) -> None:
    api.create(CONFIG_MAPS, a_config_map("w-there"))
    with api.watch(CONFIG_MAPS, "fieldSelector=metadata.name%3Dw-there") as events:
        assert _told(events, 1) == [("ADDED", "w-there")]
        api.delete(f"{CONFIG_MAPS}/w-there")
        assert _told(events, 1) == [("DELETED", "w-there")]


def test_initial_events_end_with_a_bookmark_that_says_so(api: AnApi) -> None:
    api.create(CONFIG_MAPS, a_config_map("w-initial"))
    with api.watch(CONFIG_MAPS, INITIAL) as events:
        for event in events:
            if event["type"] == "BOOKMARK":
                break
        metadata = event["object"]["metadata"]
        assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(metadata["resourceVersion"]) == api.log.last()
        api.create(CONFIG_MAPS, a_config_map("w-later"))
        assert _told(events, 1) == [("ADDED", "w-later")]


def test_initial_events_are_only_sent_for_a_version_that_is_not_older(api: AnApi) -> None:
    api.fails(422, "GET", f"{CONFIG_MAPS}?watch=true&sendInitialEvents=true")
    api.fails(422, "GET", f"{CONFIG_MAPS}?watch=true&resourceVersionMatch=NotOlderThan&resourceVersion=1")


def test_what_leaves_the_selection_is_deleted_and_what_enters_it_added(api: AnApi) -> None:
    version = _now(api)
    chosen = a_config_map("w-chosen")
    chosen["metadata"]["labels"] = {"w": "yes"}
    with api.watch(CONFIG_MAPS, f"resourceVersion={version}&labelSelector=w%3Dyes") as events:
        api.create(CONFIG_MAPS, chosen)
        api.patch(f"{CONFIG_MAPS}/w-chosen", {"metadata": {"labels": {"w": "no"}}})
        api.patch(f"{CONFIG_MAPS}/w-chosen", {"data": {"unseen": "1"}})
        api.patch(f"{CONFIG_MAPS}/w-chosen", {"metadata": {"labels": {"w": "yes"}}})
        told = [next(events) for _ in range(3)]
    assert [event["type"] for event in told] == ["ADDED", "DELETED", "ADDED"]
    assert told[1]["object"]["metadata"]["labels"] == {"w": "yes"}
    assert int(told[1]["object"]["metadata"]["resourceVersion"]) > int(
        told[0]["object"]["metadata"]["resourceVersion"]
    )


def test_a_watch_from_before_the_ring_is_told_410() -> None:
    with an_api() as api:
        version = _now(api)
        api.create(CONFIG_MAPS, a_config_map("late"))
        api.server.hub.ring.floor = api.log.last()
        with api.watch(CONFIG_MAPS, f"resourceVersion={version}") as events:
            event = next(events)
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


def test_a_watch_ends_when_its_time_is_over(api: AnApi) -> None:
    with api.watch(CONFIG_MAPS, f"resourceVersion={_now(api)}&timeoutSeconds=1") as events:
        assert list(events) == []


def test_a_watch_comes_as_tables_too(api: AnApi) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    with api.watch(CONFIG_MAPS, f"resourceVersion={_now(api)}", accept=accept) as events:
        api.create(CONFIG_MAPS, a_config_map("w-table"))
        event = next(events)
    assert event["object"]["kind"] == "Table" and event["object"]["rows"][0]["cells"][0] == "w-table"


def test_one_user_may_not_have_any_number_of_watches() -> None:
    with an_api(limits=Limits(watches=1)) as api, api.watch(CONFIG_MAPS, "resourceVersion=0"):
        response = api.ask("GET", f"{CONFIG_MAPS}?watch=true")
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        assert response.json()["reason"] == "TooManyRequests"


def test_a_watch_whose_client_goes_is_forgotten_and_its_place_is_free() -> None:
    with an_api(limits=Limits(watches=1)) as api:
        for _ in range(2):
            with api.watch(CONFIG_MAPS, "resourceVersion=0"):
                assert api.server.hub.count() == 1
            deadline = time.monotonic() + DEADLINE
            while api.server.hub.count():
                assert time.monotonic() < deadline
                time.sleep(0.001)


def test_under_churn_and_across_reconnects_every_change_is_told_once_and_in_order(api: AnApi) -> None:
    version = first = _now(api)
    count = 120

    def churn() -> None:
        for number in range(count):
            api.put(f"{CONFIG_MAPS}/w-churn", a_config_map("w-churn", n=str(number)))

    api.create(CONFIG_MAPS, a_config_map("w-churn"))
    writing = threading.Thread(target=churn)
    writing.start()
    seen: list[str] = []
    while len(seen) < count + 1:
        with api.watch(CONFIG_MAPS, f"resourceVersion={version}") as events:
            for event in islice(events, 7):
                version = event["object"]["metadata"]["resourceVersion"]
                seen.append(event["object"].get("data", {}).get("n", ""))
                if len(seen) == count + 1:
                    break
    writing.join()
    assert int(first) < int(version) == api.log.last()
    assert seen == ["", *map(str, range(count))]


def test_the_ring_lets_go_of_the_oldest_at_batch_ends_and_says_from_where_it_knows() -> None:
    ring = Ring(size=4, slack=2)
    ring.extend(a_change(version, str(number)) for number, version in enumerate((1, 2, 3, 3, 3, 4, 5)))
    assert ring.floor == 2
    assert [change.version for change in ring.since(2)] == [3, 3, 3, 4, 5]
    assert [change.version for change in ring.since(3)] == [4, 5]
    assert not ring.holds(1) and ring.holds(2)


@pytest.mark.parametrize("unpacked", [0, 1, 9])
def test_undoing_gives_what_was(unpacked: int) -> None:
    """Whether the changes hold their objects as they are, or packed."""
    ring = Ring(unpacked=unpacked)
    created, changed = (
        a_change(2, "a", new={"labels": {"v": "1"}}),
        a_change(4, "a", {"labels": {"v": "1"}}, {}),
    )
    gone = a_change(5, "b", {"labels": {"v": "b"}}, False)
    ring.extend([created, changed, gone])
    assert created.new is not None and changed.new is not None
    objects = {changed.key: changed.new}
    ring.undone(objects, MAPS, 3, 5)
    assert objects == {changed.key: changed.old, gone.key: gone.old}
    ring.undone(objects, MAPS, 1, 3)
    assert created.key not in objects


def test_an_object_that_two_packed_changes_have_in_common_is_held_once_and_none_that_no_change_holds() -> (
    None
):
    ring = Ring(size=3, slack=0, unpacked=1)
    for version in range(1, 8):
        old = {"labels": {"v": str(version - 1)}} if version > 1 else None
        ring.extend([a_change(version, "a", old, {"labels": {"v": str(version)}})])
    ring.extend([a_change(8, "a", {"labels": {"v": "7"}}, False)])
    first, second, last = ring.since(5)
    assert [each.old["metadata"]["labels"]["v"] for each in (first, second, last) if each.old] == list("567")
    assert first._new is second._old and isinstance(second._old, bytes) and last.new is None
    for version in range(9, 13):
        ring.extend([a_change(version, f"b{version}")])
    held = ring.since(9)
    assert [change.version for change in held] == [10, 11, 12]
    assert set(ring._last) == {held[0].key, held[1].key}


def test_every_watcher_gets_the_same_bytes_which_are_made_once() -> None:
    made: list[str] = []

    def encode(type_: str, obj: Any) -> bytes:
        made.append(type_)
        return f"{type_} {obj['metadata']['name']}\n".encode()

    async def scenario() -> None:
        hub = Hub()
        watchers = [hub.watch(Selection(MAPS), Encoding("same", encode), 0) for _ in range(100)]
        others = hub.watch(Selection(MAPS, labels=parse_selector("a=b")), Encoding("same", encode), 0)
        hub._deliver([a_change(5, "x")], 5)
        assert {await each.next() for each in watchers} == {b"ADDED x\n"}
        assert made == ["ADDED"]
        others.end()
        assert await others.next() == b""

    asyncio.run(scenario())


def test_an_agents_watch_is_told_of_the_pods_that_come_to_its_node_and_of_those_alone(api: AnApi) -> None:
    pods = "/api/v1/namespaces/default/pods"
    version = _now(api)
    with api.watch("/api/v1/pods", f"resourceVersion={version}&fieldSelector=spec.nodeName%3Dn5") as events:
        api.create(pods, a_pod("elsewhere"))
        api.create(pods, a_pod("comes"))
        for name, node in (("elsewhere", "n4"), ("comes", "n5")):
            target = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
            api.create(f"{pods}/{name}/binding", target)
        api.delete(f"{pods}/comes", {"gracePeriodSeconds": 0})
        assert _told(events, 2) == [("ADDED", "comes"), ("DELETED", "comes")]


@pytest.mark.parametrize(("line", "count"), [(b"x\n", MOST_PENDING), (b"x" * 1024 * 1024, 16)])
def test_a_watcher_that_does_not_read_is_dropped(line: bytes, count: int) -> None:
    async def scenario() -> None:
        watcher = Watcher(Selection(MAPS), Encoding("any", lambda _type, _obj: b""), 0)
        for number in range(count):
            watcher.tell([line], number)
        assert not watcher.ended
        watcher.tell([line], count)
        assert watcher.ended and watcher.is_slow

    asyncio.run(scenario())


def test_the_changes_of_a_batch_come_in_one_piece() -> None:
    async def scenario() -> None:
        hub = Hub()
        encoding = Encoding("plain", lambda type_, obj: f"{type_} {obj['metadata']['name']}\n".encode())
        watcher = hub.watch(Selection(MAPS), encoding, 0)
        hub._deliver([a_change(9, "x"), a_change(9, "y")], 9)
        assert await watcher.next() == b"ADDED x\nADDED y\n"
        assert watcher.position == 9

    asyncio.run(scenario())
