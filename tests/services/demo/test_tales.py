"""What the demo reads out of the log and out of volumes."""

from __future__ import annotations

from schemas.daemon_pods import with_node
from schemas.envelopes import CREATE, DELETE, UPDATE, Actor, Event
from schemas.objects import Object
from services.demo.tales import (
    Daemon,
    askers_of,
    daemons_in,
    overlaps_of,
    replaced,
    rivals_of,
    started,
    tale_of,
    tale_of_nodes,
    tale_of_set,
    twins_of,
    types_by_people,
)

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


def a_daemon(uid: str, node: str, set_: str = "fluentd") -> Object:
    """A daemon's pod as its controller creates it: not bound yet."""
    metadata = {"name": f"{set_}-{uid}", "namespace": "default", "uid": uid, "labels": {"name": set_}}
    return {"kind": "Pod", "metadata": metadata, "spec": with_node({}, node)}


def of_daemon(type_: str, pod: Object) -> Event:
    event = an_event(type_, pod["metadata"]["name"], pod["metadata"]["uid"])
    return event._replace(body=pod if type_ == "PodCreated" else None)


ONE, TWO, OTHER = a_daemon("u1", "n1"), a_daemon("u2", "n1"), a_daemon("u3", "n2")


def test_daemons_are_those_pods_that_are_for_a_node_and_of_a_set() -> None:
    plain = {**ONE, "spec": {}}
    nameless = {**ONE, "metadata": {**ONE["metadata"], "labels": {}}}
    for pod in (plain, nameless):
        assert daemons_in([of_daemon("PodCreated", pod)]) == {}
    found = daemons_in([of_daemon("PodCreated", ONE), of_daemon("PodCreated", OTHER)])
    assert found == {"u1": Daemon("n1", "fluentd"), "u3": Daemon("n2", "fluentd")}


def test_a_nodes_tale_has_its_own_readiness_among_that_of_its_daemons() -> None:
    node = an_event("NodeReady", key="core/nodes//n1")
    events = [of_daemon("PodCreated", ONE), of_daemon("PodCreated", OTHER), node, of_daemon("PodReady", ONE)]
    assert tale_of_nodes(events, daemons_in(events)) == {
        "n1": ["fluentd created", "node Ready", "fluentd Ready"],
        "n2": ["fluentd created"],
    }


def test_a_sets_tale_names_the_nodes_and_leaves_other_sets_out() -> None:
    stranger = a_daemon("u9", "n1", "net-agent")
    events = [of_daemon("PodCreated", pod) for pod in (stranger, ONE, OTHER)]
    events += [of_daemon("PodReady", ONE), of_daemon("PodReady", ONE), of_daemon("PodDeletionRequested", ONE)]
    tale = tale_of_set(events, daemons_in(events), "fluentd")
    assert tale == ["n1 created", "n2 created", "n1 Ready", "n1 asked to end"]


def test_two_daemons_of_a_set_on_a_node_at_once_are_rivals() -> None:
    together = [of_daemon("PodCreated", ONE), of_daemon("PodCreated", TWO), of_daemon("PodDeleted", ONE)]
    assert rivals_of(together, daemons_in(together)) == ["fluentd on n1"]
    one_by_one = [together[0], together[2], together[1], of_daemon("PodCreated", OTHER)]
    assert rivals_of(one_by_one, daemons_in(one_by_one)) == []
    after_an_end = [together[0], of_daemon("PodSucceeded", ONE), together[1], together[2]]
    assert rivals_of(after_an_end, daemons_in(after_an_end)) == []
