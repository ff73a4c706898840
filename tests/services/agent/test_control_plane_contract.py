"""What every control plane owes an agent. Adapters join by a row in `MAKERS`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from schemas.errors import NotFound, Unavailable
from schemas.objects import Object, uid_of
from tests.services.agent.builders import a_pod, terminating
from tests.services.agent.fakes import MemoryControlPlane, a_node


@dataclass(frozen=True, slots=True)
class Plane:
    """A control plane, and the hands of a user and a failing network.

    `put` creates or replaces an object as somebody else would and returns it as stored (its uid may be new);
    `break_off` makes the control plane unreachable.
    """

    port: Any
    put: Callable[[Object], Object]
    break_off: Callable[[], None]


@contextmanager
def in_memory() -> Iterator[Plane]:
    control = MemoryControlPlane()
    yield Plane(control, control.put, lambda: control.refuse_with(Unavailable("gone")))


MAKERS: dict[str, Callable[[], AbstractContextManager[Plane]]] = {"memory": in_memory}


@pytest.fixture(params=list(MAKERS))
def plane(request: pytest.FixtureRequest) -> Iterator[Plane]:
    with MAKERS[request.param]() as plane:
        yield plane


def stored(plane: Plane, pod: Object) -> Object | None:
    found = plane.port.get("core/pods", "default", pod["metadata"]["name"])
    return found if found and uid_of(found) == uid_of(pod) else None


def test_only_the_pods_of_the_node_are_on_it(plane: Plane) -> None:
    mine, other = plane.put(a_pod("mine")), plane.put(a_pod("other", nodeName="n2"))
    assert [uid_of(pod) for pod in plane.port.pods_on("n1")] == [uid_of(mine)]
    assert [uid_of(pod) for pod in plane.port.pods_on("n2")] == [uid_of(other)]
    assert {uid_of(pod) for pod in plane.port.list("core/pods")} == {uid_of(mine), uid_of(other)}
    assert plane.port.list("core/pods", "elsewhere") == []


def test_a_missing_object_is_none(plane: Plane) -> None:
    assert plane.port.get("core/pods", "default", "nobody") is None


def test_a_report_changes_the_status_and_nothing_else(plane: Plane) -> None:
    pod = plane.put(a_pod())
    plane.port.report(pod, {"phase": "Running"})
    now = stored(plane, pod)
    assert now and now["status"] == {"phase": "Running"} and now["spec"] == pod["spec"]


def test_an_equal_report_appends_nothing(plane: Plane) -> None:
    pod = plane.put(a_pod())
    plane.port.report(pod, {"phase": "Running"})
    before = plane.port.wait(0, 0)
    plane.port.report(pod, {"phase": "Running"})
    plane.port.report_many([(pod, {"phase": "Running"})])
    assert plane.port.wait(0, 0) == before


def test_a_report_of_another_uid_is_not_found(plane: Plane) -> None:
    pod = plane.put(a_pod())
    stranger = {**pod, "metadata": {**pod["metadata"], "uid": "another"}}
    with pytest.raises(NotFound):
        plane.port.report(stranger, {"phase": "Failed"})
    plane.port.report_many([(stranger, {"phase": "Failed"}), (pod, {"phase": "Running"})])
    assert plane.port.get("core/pods", "default", "db-0")["status"] == {"phase": "Running"}


def test_a_confirmed_deletion_removes_the_pod_of_that_uid_only(plane: Plane) -> None:
    pod = plane.put(a_pod())
    ending = plane.put(terminating(pod))
    plane.port.confirm_deleted({**ending, "metadata": {**ending["metadata"], "uid": "another"}})
    assert stored(plane, pod)
    plane.port.confirm_deleted(ending)
    assert stored(plane, pod) is None
    plane.port.confirm_deleted(ending)


def test_wait_returns_when_something_newer_was_folded(plane: Plane) -> None:
    before = plane.port.wait(0, 0)
    assert plane.port.wait(before, 0.01) == before
    timer = threading.Timer(0.05, lambda: plane.put(a_pod()))
    timer.start()
    assert plane.port.wait(before, 10) > before
    timer.join()


def test_a_write_is_seen_by_the_next_read(plane: Plane) -> None:
    pod = plane.put(a_pod())
    plane.port.report(pod, {"phase": "Running"})
    assert plane.port.pods_on("n1")[0]["status"] == {"phase": "Running"}


def test_changed_pods_are_those_after_a_position(plane: Plane) -> None:
    first = plane.put(a_pod("a-0"))
    position, pods = plane.port.changed_pods(0, 0)
    assert [uid_of(pod) for pod in pods] == [uid_of(first)]
    second = plane.put(a_pod("b-0"))
    position, pods = plane.port.changed_pods(position, 5)
    assert uid_of(second) in [uid_of(pod) for pod in pods]


def test_a_node_registers_and_registers_again(plane: Plane) -> None:
    plane.port.register(a_node())
    plane.port.register({**a_node(), "status": {"capacity": {"cpu": "4"}}})
    plane.port.heartbeat("n1")
    assert plane.port.get("core/nodes", "", "n1")["status"]["capacity"] == {"cpu": "4"}


def test_the_log_has_an_identity(plane: Plane) -> None:
    assert plane.port.log_id() and plane.port.log_id() == plane.port.log_id()


def test_an_unreachable_control_plane_says_so(plane: Plane) -> None:
    pod = plane.put(a_pod())
    plane.break_off()
    with pytest.raises(Unavailable):
        plane.port.report(pod, {"phase": "Running"})
