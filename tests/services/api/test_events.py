"""Events over HTTP: those that follow from the log and those that clients write, in one list and one watch."""

from __future__ import annotations

from itertools import islice
from typing import Any

from schemas.objects import Object
from services.api.notice_books import NoticeBook
from tests.services.api.apis import PODS, AnApi, a_pod

EVENTS = "/api/v1/namespaces/default/events"
OTHER_EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"


def of(name: str, kind: str = "Pod") -> str:
    return f"?fieldSelector=involvedObject.name={name},involvedObject.kind={kind},involvedObject.namespace=default"


def reasons(found: Any) -> list[str]:
    return [item["reason"] for item in found["items"]]


def bind(api: AnApi, name: str, node: str = "n1") -> None:
    """Make a pod and bind it to a node."""
    api.create(PODS, a_pod(name))
    target = {"kind": "Node", "name": node}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    api.create(f"{PODS}/{name}/binding", binding)


def an_event(name: str, pod: str, reason: str = "Remarked") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": pod, "namespace": "default"},
        "reason": reason,
        "message": "something is worth saying",
        "type": "Normal",
        "source": {"component": "me"},
    }


def test_what_happened_to_a_pod_is_listed_with_what_clients_said_of_it(api: AnApi) -> None:
    bind(api, "told-0")
    api.create(EVENTS, an_event("told-0.said", "told-0"))
    found = api.get(f"{EVENTS}{of('told-0')}")
    assert sorted(reasons(found)) == ["Remarked", "Scheduled"]
    assert reasons(api.get(f"{EVENTS}{of('told-0')},reason=Scheduled")) == ["Scheduled"]
    assert reasons(api.get(f"{EVENTS}{of('told-0')},type=Warning")) == []
    assert reasons(api.get(f"{EVENTS}{of('nobody')}")) == []
    assert "Scheduled" in reasons(api.get("/api/v1/events"))
    assert "Scheduled" not in reasons(api.get("/api/v1/namespaces/kube-system/events"))


def test_an_event_that_follows_is_found_by_its_name_under_both_groups(api: AnApi) -> None:
    bind(api, "named-0")
    (event,) = api.get(f"{EVENTS}{of('named-0')}")["items"]
    name = event["metadata"]["name"]
    assert api.get(f"{EVENTS}/{name}") == {"apiVersion": "v1", "kind": "Event", **event}
    other = api.get(f"{OTHER_EVENTS}/{name}")
    assert (other["note"], other["regarding"]["name"]) == (event["message"], "named-0")
    query = "?fieldSelector=regarding.name=named-0,regarding.kind=Pod"
    assert reasons(api.get(f"{OTHER_EVENTS}{query}")) == ["Scheduled"]
    api.fails(404, "GET", f"{EVENTS}/named-0.123")


def test_a_watch_tells_both_kinds_in_the_logs_order_and_again_from_where_it_left(api: AnApi) -> None:
    begin = api.get(EVENTS)["metadata"]["resourceVersion"]
    with api.watch(EVENTS, f"resourceVersion={begin}") as events:
        bind(api, "seen-0")
        api.create(EVENTS, an_event("seen-0.said", "seen-0"))
        bind(api, "seen-1")
        live = list(islice(events, 3))
    told = [
        (each["type"], each["object"]["involvedObject"]["name"], each["object"]["reason"]) for each in live
    ]
    assert told == [
        ("ADDED", "seen-0", "Scheduled"),
        ("ADDED", "seen-0", "Remarked"),
        ("ADDED", "seen-1", "Scheduled"),
    ]
    with api.watch(EVENTS, f"resourceVersion={begin}") as events:
        assert list(islice(events, 3)) == live
    middle = live[0]["object"]["metadata"]["resourceVersion"]
    with api.watch(EVENTS, f"resourceVersion={middle}&fieldSelector=reason=Scheduled") as events:
        assert next(events) == live[2]


def test_what_the_book_no_longer_has_is_read_from_the_objects_own_changes(api: AnApi) -> None:
    bind(api, "old-0")
    before = api.get(f"{EVENTS}{of('old-0')}")["items"]
    api.server.hub.book = NoticeBook(api.server.hub.position)
    assert api.get(f"{EVENTS}{of('old-0')}")["items"] == before
    api.delete(f"{PODS}/old-0")
    assert "Scheduled" in reasons(api.get(f"{EVENTS}{of('old-0')}"))


def test_the_events_of_the_past_are_those_that_had_happened(api: AnApi) -> None:
    bind(api, "past-0")
    (event,) = api.get(f"{EVENTS}{of('past-0')}")["items"]
    then = int(event["metadata"]["resourceVersion"])
    assert reasons(api.get(f"/at/{then}{EVENTS}{of('past-0')}")) == ["Scheduled"]
    assert reasons(api.get(f"/at/{then - 1}{EVENTS}{of('past-0')}")) == []
    api.fails(404, "GET", f"/at/{then - 1}{EVENTS}/{event['metadata']['name']}")


def test_a_page_of_events_goes_on_where_the_last_one_ended(api: AnApi) -> None:
    for number in range(4):
        bind(api, f"page-{number}")
    whole = [item["metadata"]["name"] for item in api.get(EVENTS)["items"]]
    first = api.get(f"{EVENTS}?limit=3")
    rest = api.get(f"{EVENTS}?limit=500&continue={first['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in (*first["items"], *rest["items"])] == whole
