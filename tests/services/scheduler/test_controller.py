"""Which events wake the scheduler."""

from __future__ import annotations

import pytest

from schemas.objects import Object, with_fields, with_metadata
from services.scheduler.controller import KEY, scheduler
from services.scheduler.scheduling import with_scheduled
from tests.builders import a_claim, a_node, a_pod, a_state, a_volume, an_object

PENDING = a_pod(requests={"cpu": "9"})
RUNNING = a_pod("old", "n1", phase="Running")
NODE = a_node()
CLAIM = a_claim()
BOUND = with_fields(PENDING, spec={**PENDING["spec"], "nodeName": "n1"})
TERMINATING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}

AWAKE: list[tuple[str, Object | None, Object | None]] = [
    ("a new pod", None, PENDING),
    (
        "a gate is lifted",
        with_fields(PENDING, spec={**PENDING["spec"], "schedulingGates": [{"name": "g"}]}),
        PENDING,
    ),
    ("a bound pod is removed", RUNNING, None),
    ("a bound pod ends", RUNNING, with_fields(RUNNING, status={"phase": "Succeeded"})),
    ("a new node", None, NODE),
    ("a node becomes ready", a_node(ready="False"), NODE),
    ("a node loses a taint", a_node(taints=[{"key": "a", "effect": "NoSchedule"}]), NODE),
    ("a node is uncordoned", a_node(unschedulable=True), NODE),
    ("a node is labelled", NODE, a_node(labels={"a": "b"})),
    ("a node grows", NODE, a_node(cpu="64")),
    ("a claim is made", None, CLAIM),
    ("a claim is bound", CLAIM, a_claim(volume="pv1")),
    ("a claim is removed", CLAIM, None),
    ("a volume is made", None, a_volume()),
]

ASLEEP: list[tuple[str, Object | None, Object | None]] = [
    ("its own reason is written", PENDING, with_scheduled(PENDING, "False", "no", 0)),
    ("its own bind", PENDING, BOUND),
    ("a bound pod is made", None, RUNNING),
    ("a bound pod reports", RUNNING, with_fields(RUNNING, status={"phase": "Running", "podIP": "127.1.0.1"})),
    ("a bound pod is asked to end", RUNNING, with_metadata(RUNNING, **TERMINATING)),
    ("a finished pod is removed", with_fields(RUNNING, status={"phase": "Failed"}), None),
    ("a pending pod is removed", PENDING, None),
    ("a node reports images", NODE, with_fields(NODE, status={**NODE["status"], "images": []})),
    ("a node is removed", NODE, None),
    ("a claim is annotated", CLAIM, with_metadata(CLAIM, annotations={"a": "b"})),
    ("another kind", None, an_object("ConfigMap", "cm", "default")),
]


@pytest.mark.parametrize(("old", "new"), [row[1:] for row in AWAKE], ids=[row[0] for row in AWAKE])
def test_what_may_help_a_waiting_pod_wakes_the_scheduler(old: Object | None, new: Object | None) -> None:
    state = a_state(PENDING)

    assert list(scheduler().triggers(state, old, new)) == [KEY]
    assert list(scheduler().keys(state)) == [KEY]


@pytest.mark.parametrize(("old", "new"), [row[1:] for row in ASLEEP], ids=[row[0] for row in ASLEEP])
def test_what_cannot_help_does_not(old: Object | None, new: Object | None) -> None:
    assert list(scheduler().triggers(a_state(PENDING), old, new)) == []


@pytest.mark.parametrize(("old", "new"), [row[1:] for row in AWAKE[2:]], ids=[row[0] for row in AWAKE[2:]])
def test_nothing_but_a_pod_wakes_it_while_none_waits(old: Object | None, new: Object | None) -> None:
    assert list(scheduler().triggers(a_state(), old, new)) == []


def test_there_is_nothing_to_look_at_while_no_pod_waits() -> None:
    assert scheduler().view_of(a_state(NODE, RUNNING), KEY) is None
