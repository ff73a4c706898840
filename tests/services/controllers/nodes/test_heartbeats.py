"""Who is silent: heartbeats x how long the queue is up x how old the node is x what it was before."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Decision, Replace
from schemas.event_types import changed_type, condition_of
from schemas.objects import Object, name_of
from schemas.taints import NOT_READY, UNREACHABLE
from services.controllers.nodes.heartbeats import Pulse, View, reconcile
from tests.builders import a_node, a_pod
from tests.services.controllers.settling import NOW

GRACE = 40_000
OLD = "2025-12-31T00:00:00Z"
TAINTED = [{"key": UNREACHABLE, "effect": effect} for effect in ("NoSchedule", "NoExecute")]


def an_old_node(name: str = "n1", ready: str = "True", created: str = OLD, **spec: Any) -> Object:
    node = a_node(name, ready=ready, **spec)
    node["metadata"]["creationTimestamp"] = created
    return node


def decide(*nodes: Object, alive: tuple[str, ...] = (), heard_for: int = GRACE, **pods: Object) -> Decision:
    on = {pod["spec"]["nodeName"]: [pod] for pod in pods.values()}
    pulse = Pulse(frozenset(alive), heard_for, GRACE)
    return reconcile(View(nodes, pulse, lambda name: on.get(name, [])), NOW)


@pytest.mark.parametrize(
    ("is_heard", "heard_for", "created", "before", "after"),
    [
        (True, GRACE, OLD, "True", None),
        (False, GRACE, OLD, "True", "Unknown"),
        (False, GRACE, OLD, "False", "Unknown"),
        (False, GRACE, OLD, "", "Unknown"),
        (False, GRACE, OLD, "Unknown", None),
        (False, GRACE - 1, OLD, "True", None),
        (False, 0, OLD, "True", None),
        (False, GRACE, "2025-12-31T23:59:21Z", "True", None),
        (False, GRACE, "2025-12-31T23:59:20Z", "True", "Unknown"),
        (True, 0, OLD, "Unknown", "True"),
        (True, GRACE, OLD, "Unknown", "True"),
        (True, GRACE, OLD, "False", None),
        (True, GRACE, OLD, "", None),
    ],
)
def test_what_was_heard_becomes_a_condition(
    is_heard: bool, heard_for: int, created: str, before: str, after: str | None
) -> None:
    node = an_old_node(ready=before, created=created)

    decision = decide(node, alive=("n1",) if is_heard else (), heard_for=heard_for)

    said = [condition_of(change.new, "Ready") for change in decision.changes if isinstance(change, Replace)]
    assert said == ([after] if after is not None else [])


def test_a_silent_node_is_tainted_and_its_pods_are_not_ready_in_the_same_batch() -> None:
    pod = a_pod(node="n1", phase="Running")
    pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]

    node_change, pod_change = decide(an_old_node(), pod=pod).changes

    assert isinstance(node_change, Replace) and isinstance(pod_change, Replace)
    assert changed_type(node_change.old, node_change.new) == "NodeNotReady"
    assert [(each["key"], each["effect"]) for each in node_change.new["spec"]["taints"]] == [
        (each["key"], each["effect"]) for each in TAINTED
    ]
    assert condition_of(pod_change.new, "Ready") == "False"


def test_a_node_that_returns_without_its_network_is_not_ready() -> None:
    node = an_old_node(ready="Unknown", taints=TAINTED)
    node["status"]["conditions"].append({"type": "NetworkReady", "status": "False"})

    (change,) = decide(node, alive=("n1",)).changes

    assert isinstance(change, Replace)
    assert condition_of(change.new, "Ready") == "False"
    effects = [(each["key"], each["effect"]) for each in change.new["spec"]["taints"]]
    assert effects == [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]


def test_a_node_that_returns_keeps_the_taints_of_people() -> None:
    theirs = {"key": "team", "value": "a", "effect": "NoSchedule"}
    node = an_old_node(ready="Unknown", taints=[*TAINTED, theirs])

    (change,) = decide(node, alive=("n1",)).changes

    assert isinstance(change, Replace)
    assert change.new["spec"]["taints"] == [theirs]


def test_a_new_queue_makes_nobody_silent_and_says_so() -> None:
    decision = decide(*(an_old_node(f"n{number}") for number in range(5)), heard_for=12_000)

    assert decision.changes == ()
    assert decision.waiting_for == "the queue is new: a missing heartbeat counts in 28 s"


def test_many_silent_nodes_are_told_in_several_batches() -> None:
    nodes = [an_old_node(f"n{number:04}") for number in range(1200)]

    decision = decide(*nodes)

    assert len(decision.changes) == 500
    assert decision.requeue_at == NOW
    assert [name_of(change.old) for change in decision.changes if isinstance(change, Replace)][-1] == "n0499"
