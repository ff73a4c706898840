"""What the demo reads out of the log and out of volumes."""

from __future__ import annotations

from schemas.envelopes import CREATE, DELETE, UPDATE, Actor, Event
from services.demo.tales import askers_of, overlaps_of, replaced, started, tale_of, twins_of, types_by_people

OPS = {"PodCreated": CREATE, "PodDeleted": DELETE}
CONTROLLER = Actor("controller:statefulset", "socket")
ALICE = Actor("socket:0@host", "socket", "user:alice")


def an_event(
    type_: str, pod: str = "db-0", uid: str = "u1", actor: Actor = CONTROLLER, key: str = ""
) -> Event:
    return Event(
        position=1,
        key=key or f"core/pods/default/{pod}",
        type=type_,
        after=0,
        version=1,
        min_reader=1,
        op=OPS.get(type_, UPDATE),
        uid=uid,
        body=None,
        previous=0,
        at=0,
        actor=actor,
        cause=0,
        command="",
        offset=0,
        size=1,
        guard="",
        derivation=0,
    )


def test_a_start_in_order_is_told_in_order():
    events = [
        an_event(type_, pod, f"uid-{pod}")
        for pod in ("db-0", "db-1")
        for type_ in ("PodCreated", "PodBound", "PodStatusChanged", "PodReady")
    ]
    assert tale_of(events) == started("db-0", "db-1")


def test_a_pod_created_before_the_one_before_is_ready_is_told_so():
    events = [
        an_event("PodCreated", "db-0", "a"),
        an_event("PodCreated", "db-1", "b"),
        an_event("PodReady", "db-0", "a"),
        an_event("PodReady", "db-1", "b"),
    ]
    assert tale_of(events) != started("db-0", "db-1")


def test_a_replacement_is_told_and_being_ready_again_is_not():
    events = [
        an_event("PodDeletionRequested", "db-2", "old"),
        an_event("PodDeleted", "db-2", "old"),
        an_event("PodCreated", "db-2", "new"),
        an_event("PodReady", "db-2", "new"),
        an_event("PodNotReady", "db-2", "new"),
        an_event("PodReady", "db-2", "new"),
    ]
    assert tale_of(events) == replaced("db-2")


def test_who_asked_and_what_people_wrote_are_told():
    events = [
        an_event("StatefulSetTemplateChanged", actor=ALICE, key="apps/statefulsets/default/db"),
        an_event("PodDeletionRequested", "db-2"),
        an_event("PodDeletionRequested", "db-1", actor=ALICE),
    ]
    assert askers_of(events) == {"db-2": "controller:statefulset", "db-1": "user:alice (socket:0@host)"}
    assert types_by_people(events) == ["StatefulSetTemplateChanged", "PodDeletionRequested"]


def test_two_pods_of_one_name_at_once_are_found_and_one_after_the_other_are_none():
    genesis = an_event("LogCreated", key="chronoset/log")
    created, deleted = an_event("PodCreated", uid="a"), an_event("PodDeleted", uid="a")
    successor = an_event("PodCreated", uid="b")
    assert twins_of([genesis, created, deleted, successor]) == []
    assert twins_of([genesis, created, successor]) == ["db-0"]


def test_journals_in_which_starts_and_ends_alternate_have_no_overlap():
    journal = ["started 5.7.2 a", "stopped 5.7.2 a", "started 5.7.23 b"]
    assert overlaps_of({"db-0": journal}) == []


def test_a_start_before_the_end_of_the_one_before_is_an_overlap():
    journal = ["started 5.7.2 a", "started 5.7.23 b", "stopped 5.7.2 a"]
    assert overlaps_of({"db-0": journal}) == ["db-0: started 5.7.23 b", "db-0: stopped 5.7.2 a"]
