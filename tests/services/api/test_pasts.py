"""The API below /at/: any moment of the log as it was, which nobody can change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from events import sealing
from events.codec import Entry
from events.commit import Edges
from events.memory import MemoryLog
from events.sealing import Limits
from schemas.objects import version_of
from schemas.positions import Position, stream_id_of, time_of
from schemas.retention import DAY, Retention
from services.api.limits import Limits as ApiLimits
from services.api.program import Parts
from services.api.requests import Caller, User
from services.api.ring import Ring
from services.api.seams import Policy
from tests.events.archives import a_sealer, archived
from tests.services.api.apis import CONFIG_MAPS, STATEFUL_SETS, AnApi, a_config_map, a_set, an_api, served

MAP = f"{CONFIG_MAPS}/settings"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.fixture(params=["ring", "log"])
def api(request: pytest.FixtureRequest) -> Iterator[AnApi]:
    """An API in whose log a ConfigMap was made, changed and deleted; what knows of it, the ring or only the log."""
    with an_api() as api:
        api.create(CONFIG_MAPS, a_config_map("settings", colour="red"))
        api.put(MAP, a_config_map("settings", colour="blue"))
        api.create(CONFIG_MAPS, a_config_map("other"))
        api.delete(MAP)
        if request.param == "log":
            api.get(CONFIG_MAPS)
            api.server.hub.ring = Ring(api.server.hub.position)
        yield api


def moments(api: AnApi) -> dict[str, Position]:
    """Return the position of each event of the ConfigMaps, by what it did."""
    entries = [entry for entry in api.log.read(0, 1000) if "configmaps/default" in entry.key]
    ours = [entry.position for entry in entries if entry.key.endswith(("/settings", "/other"))]
    return dict(zip(("made", "changed", "other", "deleted"), ours, strict=True))


def at(position: Position | str, path: str = MAP) -> str:
    return f"/at/{position if isinstance(position, str) else stream_id_of(position)}{path}"


def test_a_thinned_kind_is_gone_but_at_kept_moments_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 10)
    monkeypatch.setattr(sealing, "SNAPSHOT_SHARE", 1000)
    log = MemoryLog()
    parts = Parts(lambda: archived(log, tmp_path), Edges(), lambda obj: obj, lambda _: Policy(), ApiLimits())
    with served(parts, log) as api:
        api.create(STATEFUL_SETS, a_set("db", 1))
        for number in range(30):
            api.patch(f"{STATEFUL_SETS}/db", {"spec": {"replicas": number}})
            api.create(CONFIG_MAPS, a_config_map(f"c{number}"))
        sealer = a_sealer(log, tmp_path, Limits(20, 0, 0))
        sealer.look(1 << 45)
        assert sealer.thin(Retention(1, {"core/configmaps": DAY}), 1 << 45) > 0
        api.get(CONFIG_MAPS)
        api.server.hub.ring = Ring(api.server.hub.position)
        first, second, *_ = (each.position for each in sealer.manifest.snapshots)
        between = next(each.position for each in replayed(log, tmp_path) if first < each.position < second)
        gone = api.fails(410, "GET", at(between, CONFIG_MAPS))
        assert (
            gone["reason"] == "Expired"
            and "of configmaps only the state at some moments is kept" in gone["message"]
        )
        assert api.get(at(between, f"{STATEFUL_SETS}/db"))["spec"]["replicas"] > 0
        kept = api.get(at(second, CONFIG_MAPS))["items"]
        assert len(kept) > len(api.get(at(first, CONFIG_MAPS))["items"]) > 0


def replayed(log: MemoryLog, folder: Path) -> list[Entry]:
    through = archived(log, folder)
    through.archive.refresh()
    return through.read(0, 10_000, log.last())


def test_an_object_is_as_it_was_at_each_position(api: AnApi) -> None:
    then = moments(api)
    assert api.get(at(then["made"]))["data"] == {"colour": "red"}
    assert api.get(at(then["changed"]))["data"] == {"colour": "blue"}
    assert api.get(at(then["other"]))["data"] == {"colour": "blue"}
    assert api.fails(404, "GET", at(then["deleted"]))["message"] == 'configmaps "settings" not found'
    assert api.fails(404, "GET", at(then["made"] - 1))["reason"] == "NotFound"


def test_a_list_is_of_its_moment_and_carries_its_version(api: AnApi) -> None:
    then = moments(api)
    found = api.get(at(then["changed"], CONFIG_MAPS))
    assert "settings" in [item["metadata"]["name"] for item in found["items"]]
    assert "other" not in [item["metadata"]["name"] for item in found["items"]]
    assert found["metadata"]["resourceVersion"] == str(then["changed"])
    one = api.get(at(then["other"], f"{CONFIG_MAPS}?fieldSelector=metadata.name=settings"))
    assert [item["data"] for item in one["items"]] == [{"colour": "blue"}]
    bare = api.get(at(str(then["other"]), f"{CONFIG_MAPS}?limit=1"))
    rest = api.get(at(then["other"], f"{CONFIG_MAPS}?limit=9&continue={bare['metadata']['continue']}"))
    assert {each["metadata"]["name"] for each in (*bare["items"], *rest["items"])} >= {"settings", "other"}


def test_ages_are_those_of_the_moment(api: AnApi) -> None:
    later = api.get(at(moments(api)["deleted"], f"{CONFIG_MAPS}/other"), accept=TABLE)
    ages = [column["name"] for column in later["columnDefinitions"]].index("Age")
    assert later["rows"][0]["cells"][ages] == "0s"


def test_a_time_means_all_that_was_there_by_then(api: AnApi) -> None:
    then = time_of(moments(api)["deleted"])
    while time.time() * 1000 <= then + 1:
        time.sleep(0.001)
    from services.cli.shown_events import clock_time

    assert api.get(at(clock_time(then), f"{CONFIG_MAPS}/other"))["metadata"]["name"] == "other"
    assert api.ask("GET", at(clock_time(then))).status_code == 404


def test_a_watch_tells_what_was_there_and_then_nothing(api: AnApi) -> None:
    then = moments(api)
    query = "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    query += "&fieldSelector=metadata.name=settings&timeoutSeconds=1"
    with api.watch(at(then["changed"], CONFIG_MAPS), query) as events:
        first, bookmark = islice(events, 2)
        api.create(CONFIG_MAPS, a_config_map(f"later-{api.server.hub.position}"))
        assert list(events) == []
    assert (first["type"], first["object"]["data"]) == ("ADDED", {"colour": "blue"})
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["resourceVersion"] == str(then["changed"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", CONFIG_MAPS, a_config_map("x")),
        ("PUT", MAP, a_config_map("settings")),
        ("PATCH", MAP, {"data": {}}),
        ("DELETE", MAP, None),
        ("DELETE", CONFIG_MAPS, None),
        ("POST", "/version", {}),
        ("GET", "/api/v1/namespaces/default/pods/web-0/log", None),
    ],
)
def test_the_past_is_read_only(api: AnApi, method: str, path: str, body: Any) -> None:
    head = api.log.last()
    status = api.fails(405, method, at(moments(api)["other"], path), body)
    assert status["reason"] == "MethodNotAllowed"
    assert api.log.last() == head


@pytest.mark.parametrize(
    ("moment", "problem"),
    [
        ("yesterday", "this is neither a time nor a position: write a time with its zone"),
        ("2026-11-22T10:00:00", "the time has no zone"),
        ("2026-13-22T10:00:00Z", "this is neither a time nor a position"),
        ("2999-01-01T00:00:00Z", "this is in the future"),
        ("2001-01-01T00:00:00Z", "is before the log began"),
        ("12", "this is no position"),
        ("9999999999999-0", "is beyond the log"),
        ("1000000000000-0", "is before the log"),
        ("1700000000000-9999999", "does not fit"),
    ],
)
def test_what_is_no_moment_of_the_log_is_refused(api: AnApi, moment: str, problem: str) -> None:
    status = api.fails(400, "GET", at(moment))
    assert problem in status["message"]
    assert moment in status["message"]


def test_what_describes_the_api_is_there_too(api: AnApi) -> None:
    for path in (
        "/version",
        "/api",
        "/apis",
        "/api/v1",
        "/apis/apps/v1",
        "/openapi/v3",
        "/openapi/v2",
        "/readyz",
        "",
    ):
        assert api.ask("GET", f"/at/2026-01-01T00:00:00Z{path}").status_code == 200, path
    assert api.ask("GET", "/at/").status_code == 404


def test_a_position_within_a_batch_means_its_end() -> None:
    with an_api() as api:
        made = version_of(api.create(STATEFUL_SETS, a_set()))
        first = made - 1
        assert [entry.position for entry in api.log.read(first - 1, 9, made)] == [first, made]
        found = api.get(at(first, "/apis/apps/v1/controllerrevisions"))
        assert found["metadata"]["resourceVersion"] == str(made)
        assert len(found["items"]) == 1


def test_states_of_the_past_are_kept_a_few_at_a_time(api: AnApi) -> None:
    for position in (entry.position for entry in api.log.read(0, 1000)):
        api.ask("GET", at(position))
    assert len(api.server.reads._states) <= 4


def test_who_may_not_read_may_not_read_the_past_either_and_no_node_may() -> None:
    def authenticate(caller: Caller) -> User:
        return User(caller.agent, ("system:nodes",) if caller.agent.startswith("system:node:") else ())

    def authorize(user: User, _target: Any) -> str | None:
        return "" if user.name == "mallory" else None

    with an_api(Policy(authenticate=authenticate, authorize=authorize)) as api:
        position = api.log.last()
        assert api.ask("GET", at(position, CONFIG_MAPS), user_agent="alice").status_code == 200
        for agent in ("mallory", "system:node:n1"):
            assert api.ask("GET", at(position, CONFIG_MAPS), user_agent=agent).status_code == 403


def test_no_websocket_leads_into_the_past(api: AnApi) -> None:
    url = str(api.client.base_url).replace("http:", "ws:").rstrip("/")
    path = at(moments(api)["other"], "/api/v1/namespaces/default/pods/web-0/exec?command=ls&stdout=1")
    with pytest.raises(InvalidStatus) as refusal:
        connect(f"{url}{path}")
    assert refusal.value.response.status_code == 405
