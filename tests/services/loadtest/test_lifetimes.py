"""From the log alone: how long pods took, and whether two workers have done the same thing."""

from __future__ import annotations

from typing import Any

from schemas.envelopes import CREATE, DELETE, UPDATE, Event
from services.bench.worlds import World
from services.loadtest.lifetimes import done_twice, lifetimes


def an_event(ms: int, key: str, op: str, type_: str, body: Any = None) -> Event:
    """An event of which only these matter here."""
    template = World().events()[0]
    return template._replace(position=ms << 20, key=key, op=op, type=type_, body=body)


def a_daemon(node: str, uid: str = "set-1") -> Any:
    owner = {"kind": "DaemonSet", "name": "d", "uid": uid, "controller": True, "apiVersion": "apps/v1"}
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {
        "metadata": {"name": "d", "ownerReferences": [owner]},
        "spec": {"affinity": {"nodeAffinity": required}},
    }


def a_revision(number: int) -> Any:
    owner = {"kind": "StatefulSet", "name": "s", "uid": "set-1", "controller": True, "apiVersion": "apps/v1"}
    return {"metadata": {"name": f"r{number}", "ownerReferences": [owner]}, "revision": number}


POD = "core/pods/default/web-0"


def test_a_pods_times_are_from_its_creation_and_from_the_wish_that_it_ends() -> None:
    found = lifetimes(
        [
            an_event(1_000, POD, CREATE, "PodCreated"),
            an_event(1_030, POD, UPDATE, "PodReady"),
            an_event(1_040, POD, UPDATE, "PodNotReady"),
            an_event(1_050, POD, UPDATE, "PodReady"),
            an_event(2_000, POD, UPDATE, "PodDeletionRequested"),
            an_event(2_007, POD, DELETE, "PodDeleted"),
        ]
    )
    assert found.ready == [(1_030, 30)] and found.gone == [(2_007, 7)]


def test_two_pods_of_a_daemonset_on_one_node_are_told() -> None:
    first, second = "core/pods/default/d-1", "core/pods/default/d-2"
    events = [
        an_event(1, first, CREATE, "PodCreated", a_daemon("n1")),
        an_event(2, second, CREATE, "PodCreated", a_daemon("n1")),
    ]
    assert list(done_twice(events)) == [
        f"{second} is a second pod of its DaemonSet on its node, beside {first}"
    ]
    other = [events[0], an_event(2, second, CREATE, "PodCreated", a_daemon("n2"))]
    assert list(done_twice(other)) == []
    replaced = [events[0], an_event(2, first, DELETE, "PodDeleted"), events[1]]
    assert list(done_twice(replaced)) == []


def test_two_revisions_of_one_number_are_told() -> None:
    events = [
        an_event(1, "apps/controllerrevisions/default/a", CREATE, "ControllerRevisionCreated", a_revision(1)),
        an_event(2, "apps/controllerrevisions/default/b", CREATE, "ControllerRevisionCreated", a_revision(2)),
        an_event(3, "apps/controllerrevisions/default/c", CREATE, "ControllerRevisionCreated", a_revision(2)),
    ]
    assert list(done_twice(events)) == [
        "apps/controllerrevisions/default/c is a second revision 2 of its set"
    ]
