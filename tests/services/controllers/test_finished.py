"""Pods that have ended: how many are kept, and which go first."""

from __future__ import annotations

import pytest

from schemas.changes import Delete
from schemas.objects import Object, name_of
from services.controllers import finished as module
from services.controllers.finished import KEY, finished
from tests.builders import a_pod, a_state
from tests.services.controllers.settling import NOW, Settling


def ended(name: str, at: int = 0, phase: str = "Succeeded", reason: str = "", **metadata: str) -> Object:
    created = f"2026-01-01T00:00:{at:02}Z"
    pod = a_pod(name, node="n1", metadata={"creationTimestamp": created, **metadata})
    return {**pod, "status": {"phase": phase, **({"reason": reason} if reason else {})}}


def left(most: int, *pods: Object) -> list[str]:
    run = Settling(finished(most), a_state(*pods)).resync()
    return sorted(map(name_of, run.state.list("core/pods")))


def test_the_oldest_go_and_evicted_ones_before_them() -> None:
    pods = [
        ended("old", 1),
        ended("older", 0, "Failed"),
        ended("new", 9),
        ended("evicted", 8, "Failed", "Evicted"),
        a_pod("running", node="n1", phase="Running"),
    ]

    assert left(3, *pods) == ["new", "old", "older", "running"]
    assert left(1, *pods) == ["new", "running"]


@pytest.mark.parametrize("most", [0, 2, 3])
def test_none_goes_while_there_are_not_too_many_or_all_are_to_be_kept(most: int) -> None:
    assert left(most, ended("a"), ended("b")) == ["a", "b"]


def test_a_pod_that_ends_as_one_too_many_is_noticed_and_nothing_before() -> None:
    state = a_state(ended("a"), a_pod("b", node="n1", phase="Running"))
    run = Settling(finished(1), state)
    running = state.get("core/pods/default/b")
    assert running is not None

    assert list(run.controller.triggers(state, running, running)) == []
    run.edit(running, lambda pod: {**pod, "status": {"phase": "Failed"}}).settle()

    assert len(state.list("core/pods")) == 1


def test_pods_that_are_going_already_are_not_counted() -> None:
    going = ended("going", deletionTimestamp="2026-01-01T00:00:30Z")

    assert left(1, going, ended("b")) == ["b", "going"]


def test_many_go_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHANGES", 2)
    state = a_state(*(ended(f"p{number}") for number in range(6)))
    controller = finished(1)
    view = controller.view_of(state, KEY)
    assert view is not None

    decision = controller.reconcile(view, NOW)

    assert [type(change) for change in decision.changes] == [Delete, Delete]
    assert decision.requeue_at == NOW
    Settling(controller, state).resync()
    assert len(state.list("core/pods")) == 1
