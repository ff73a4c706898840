"""What follows from a node's state: taints, evictions with and without a time, full disruption, pods left behind."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Create, Decision, Delete, Replace
from schemas.objects import Object, is_terminating
from schemas.taints import NOT_READY, OUT_OF_SERVICE, UNREACHABLE, UNSCHEDULABLE
from schemas.times import rfc3339
from services.controllers.nodes import NODES
from services.controllers.nodes.conditions import with_taints
from services.controllers.nodes.evictions import QUARANTINE, ends_at, gone_since
from tests.builders import a_node, a_pod, a_state
from tests.services.controllers.settling import NOW, Settling

ADDED = rfc3339(NOW)


def taint(key: str, effect: str = "NoExecute", added: str = ADDED) -> Object:
    return {"key": key, "effect": effect, **({"timeAdded": added} if effect == "NoExecute" else {})}


def lost(name: str = "n1", at: int = NOW) -> Object:
    return a_node(
        name,
        ready="Unknown",
        taints=[taint(UNREACHABLE, "NoSchedule"), taint(UNREACHABLE, added=rfc3339(at))],
    )


def tolerating(seconds: int | None = None, key: str = UNREACHABLE) -> Object:
    limit = {} if seconds is None else {"tolerationSeconds": seconds}
    return {"key": key, "operator": "Exists", "effect": "NoExecute", **limit}


def look(*objects: Object, now: int = NOW, node: str = "n1") -> Decision:
    view = NODES.view_of(a_state(*objects), node)
    assert view is not None
    return NODES.reconcile(view, now)


@pytest.mark.parametrize(
    ("ready", "cordoned", "expected"),
    [
        ("True", False, set()),
        ("True", True, {(UNSCHEDULABLE, "NoSchedule")}),
        ("False", False, {(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")}),
        ("Unknown", False, {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}),
        (
            "Unknown",
            True,
            {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute"), (UNSCHEDULABLE, "NoSchedule")},
        ),
    ],
)
@pytest.mark.parametrize("before", [(), (NOT_READY,), (UNREACHABLE, UNSCHEDULABLE), ("team",)])
def test_a_node_has_the_taints_that_its_state_asks_for_and_those_of_people(
    ready: str, cordoned: bool, expected: set[tuple[str, str]], before: tuple[str, ...]
) -> None:
    taints = [taint(key) for key in before]
    spec: dict[str, Any] = {"unschedulable": True} if cordoned else {}
    node = a_node(ready=ready, **({"taints": taints} if taints else {}), **spec)

    tainted = with_taints(node, NOW)

    theirs = {("team", "NoExecute")} if "team" in before else set()
    assert {(each["key"], each["effect"]) for each in tainted["spec"].get("taints", [])} == expected | theirs
    assert with_taints(tainted, NOW + 1) is tainted


def test_a_new_node_keeps_the_taint_of_its_registration() -> None:
    node = a_node(ready="", taints=[taint(NOT_READY, "NoSchedule")])

    assert with_taints(node, NOW) is node


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], NOW + 300_000),
        ([tolerating()], None),
        ([tolerating(60)], NOW + 60_000),
        ([tolerating(60), tolerating(20)], NOW + 20_000),
        ([tolerating(60), tolerating()], NOW + 60_000),
        ([tolerating(0)], NOW),
        ([tolerating(-5)], NOW),
        ([tolerating(60, key="other")], NOW + 300_000),
    ],
)
def test_a_pod_stays_on_an_unreachable_node_as_long_as_it_tolerates_that(
    tolerations: list[Object], expected: int | None
) -> None:
    assert ends_at(a_pod(node="n1", tolerations=tolerations), [taint(UNREACHABLE)]) == expected


def test_a_taint_of_people_ends_pods_at_once_that_do_not_tolerate_it() -> None:
    node = a_node(taints=[taint("team")])

    (change,) = look(node, a_pod(node="n1")).changes

    assert isinstance(change, Replace) and is_terminating(change.new)
    assert "reason" not in change.new["status"]


def test_a_pod_on_a_lost_node_is_asked_to_end_and_says_why_but_is_not_removed() -> None:
    others = [a_node("n2"), a_node("n3")]

    before = look(lost(), *others, a_pod(node="n1"), now=NOW + 299_999)
    (change,) = look(lost(), *others, a_pod(node="n1"), now=NOW + 300_000).changes

    assert before.changes == () and before.requeue_at == NOW + 300_000
    assert isinstance(change, Replace) and is_terminating(change.new)
    assert change.new["status"]["reason"] == "NodeLost"


def test_nodes_that_are_lost_together_lose_their_pods_one_after_the_other() -> None:
    """Ten seconds apart, by name; a node that was lost long before delays nobody."""
    names = [f"n{number}" for number in range(1, 5)]
    early = lost("early", at=NOW - 3_600_000)
    nodes = [early, *map(lost, names), *(a_node(f"up{number}") for number in range(9))]

    ends = {name: look(*nodes, a_pod(node=name), node=name).requeue_at for name in names}

    assert list(ends.values()) == [NOW + 300_000 + 10_000 * number for number in range(4)]
    (change,) = look(*nodes, a_pod(node="n4"), node="n4", now=NOW + 330_000).changes
    assert isinstance(change, Replace) and is_terminating(change.new)


def test_a_taint_of_people_waits_for_no_turn() -> None:
    tainted = a_node("n2", ready="Unknown", taints=[taint("team"), *lost()["spec"]["taints"]])

    (change,) = look(lost("n1"), tainted, *map(a_node, "abcde"), a_pod(node="n2"), node="n2").changes

    assert isinstance(change, Replace) and is_terminating(change.new)
    assert change.new["status"]["conditions"][-1]["reason"] == "DeletionByTaintManager"


@pytest.mark.parametrize(("lost_nodes", "stops"), [(1, False), (5, False), (6, True), (10, True)])
def test_evictions_stop_when_most_nodes_are_not_ready(lost_nodes: int, stops: bool) -> None:
    """More than 55 % of ten nodes is six."""
    nodes = [lost(f"n{number}") if number <= lost_nodes else a_node(f"n{number}") for number in range(1, 11)]

    decision = look(*nodes, a_pod(node="n1"), now=NOW + 300_000)

    assert bool(decision.changes) != stops
    assert decision.waiting_for.startswith("evictions stop" if stops else "")
    assert (decision.requeue_at is not None) == stops


def test_a_taint_of_people_ends_pods_however_many_nodes_are_silent() -> None:
    node = lost()
    node["spec"]["taints"].append(taint("team"))

    assert len(look(node, a_pod(node="n1")).changes) == 1


def test_pods_that_terminate_on_a_node_out_of_service_are_removed() -> None:
    node = lost()
    node["spec"]["taints"].append(taint(OUT_OF_SERVICE))
    state = a_state(node, a_node("n2"), a_node("n3"), a_pod(node="n1"))
    run = Settling(NODES, state).resync()

    assert state.pods_on("n1") == []
    assert run.batches == 2, "first asked to end, then removed"


def test_a_taint_out_of_service_removes_nothing_from_a_node_that_is_ready() -> None:
    node = a_node(taints=[taint(OUT_OF_SERVICE, "NoSchedule")])
    pod = a_pod(node="n1", metadata={"deletionTimestamp": ADDED, "deletionGracePeriodSeconds": 30})

    assert look(node, pod).changes == ()


def test_pods_of_a_node_that_is_no_more_are_removed_after_their_quarantine() -> None:
    (marked,) = look(a_pod(node="n1")).changes
    assert isinstance(marked, Replace)

    early = look(marked.new, now=NOW + QUARANTINE - 1)
    late = look(marked.new, now=NOW + QUARANTINE)

    assert early.changes == () and early.requeue_at == NOW + QUARANTINE
    assert late.changes == (Delete(marked.new),)


def test_pods_stay_when_their_node_registers_again() -> None:
    pod = a_pod(node="n1")
    run = Settling(NODES, a_state(pod))
    (marked,) = look(pod).changes
    run.change(marked)

    run.change(Create(a_node())).settle()

    assert run.has(pod)
    assert gone_since(run.now(pod)) is None


@pytest.mark.parametrize(
    ("objects", "hit"),
    [((lost(),), True), ((), True), ((a_node(),), False), ((a_node(taints=[taint("team")]),), True)],
)
def test_a_pod_that_is_bound_concerns_a_node_that_may_end_it(objects: tuple[Object, ...], hit: bool) -> None:
    state = a_state(*objects)

    assert list(NODES.triggers(state, a_pod(), a_pod(node="n1"))) == (["n1"] if hit else [])


def test_a_status_of_a_node_or_pod_concerns_nobody() -> None:
    node, pod = lost(), a_pod(node="n1")
    state = a_state(node, pod)

    assert list(NODES.triggers(state, node, {**node, "metadata": {**node["metadata"], "labels": {}}})) == []
    assert list(NODES.triggers(state, pod, {**pod, "status": {"phase": "Running"}})) == []
