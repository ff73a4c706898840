"""What every control plane owes an agent. Adapters join by a row in `MAKERS`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import NotFound, Unavailable
from schemas.objects import Object, labels_of, name_of, uid_of, with_metadata
from services.agent.nodes import NodeSettings, node_object
from tests.services.agent.builders import NOW, a_pod, a_volume, terminating
from tests.services.agent.planes import Plane, event_store, in_memory, over_http

Makers = dict[str, Callable[[], AbstractContextManager[Plane]]]
MAKERS: Makers = {"memory": in_memory, "over http": over_http}
BATCH: Makers = {"memory": in_memory, "event store": event_store}
"""Those of simulated nodes (services.agent.simulated_nodes)."""


@pytest.fixture(params=list(MAKERS))
def plane(request: pytest.FixtureRequest) -> Iterator[Plane]:
    with MAKERS[request.param]() as plane:
        yield plane


@pytest.fixture(params=list(BATCH))
def batch_plane(request: pytest.FixtureRequest) -> Iterator[Plane]:
    with BATCH[request.param]() as plane:
        yield plane


def stored(plane: Plane, pod: Object) -> Object | None:
    found = plane.port.get("core/pods", "default", pod["metadata"]["name"])
    return found if found and uid_of(found) == uid_of(pod) else None


def test_only_the_pods_of_the_node_are_on_it(plane: Plane) -> None:
    mine, other = plane.put(a_pod("mine")), plane.put(a_pod("other", nodeName="n2"))
    assert [uid_of(pod) for pod in plane.port.pods_on("n1")] == [uid_of(mine)]
    assert [uid_of(pod) for pod in plane.port.pods_on("n2")] == [uid_of(other)]


def test_a_missing_object_is_none(plane: Plane) -> None:
    assert plane.port.get("core/pods", "default", "nobody") is None


def test_a_node_is_told_as_it_is_now(plane: Plane) -> None:
    assert plane.port.node_now("n1") is None
    plane.port.register(node_object(NodeSettings("n1", Path("/tmp")), "process", NOW))
    node = plane.port.node_now("n1")
    assert node is not None
    plane.put(with_metadata(node, labels={"disk": "ssd"}))
    found = plane.port.node_now("n1")
    assert found is not None and labels_of(found) == {"disk": "ssd"}


def test_what_a_node_no_longer_says_of_itself_goes_and_what_people_said_stays(plane: Plane) -> None:
    settings = NodeSettings("n1", Path("/tmp"), server_socket="nodes.sock", shares_address=True)
    plane.port.register(node_object(settings, "process", NOW))
    node = plane.port.node_now("n1")
    assert node is not None and len(node["metadata"]["annotations"]) == 2
    plane.put(with_metadata(node, annotations={**node["metadata"]["annotations"], "owner": "bob"}))
    plane.port.register(
        node_object(replace(settings, server_socket="", shares_address=False), "process", NOW)
    )
    found = plane.port.node_now("n1")
    assert found is not None and found["metadata"]["annotations"] == {"owner": "bob"}


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
    assert plane.port.wait(0, 0) == before


def test_a_report_of_another_uid_is_not_found(plane: Plane) -> None:
    pod = plane.put(a_pod())
    stranger = {**pod, "metadata": {**pod["metadata"], "uid": "another"}}
    with pytest.raises(NotFound):
        plane.port.report(stranger, {"phase": "Failed"})


def test_a_confirmed_deletion_removes_the_pod_of_that_uid_only(plane: Plane) -> None:
    pod = plane.put(a_pod())
    ending = plane.put(terminating(pod))
    plane.port.confirm_deleted({**ending, "metadata": {**ending["metadata"], "uid": "another"}})
    assert stored(plane, pod)
    plane.port.confirm_deleted(ending)
    assert stored(plane, pod) is None
    plane.port.confirm_deleted(ending)


def test_pods_are_asked_to_end_once_and_only_those_of_their_uid(plane: Plane) -> None:
    pod = plane.put(a_pod("db-0"))
    stranger = {**pod, "metadata": {**pod["metadata"], "uid": "another"}}
    plane.port.end_pods([stranger])
    assert "deletionTimestamp" not in plane.port.pods_on("n1")[0]["metadata"]
    plane.port.end_pods([pod])
    (ending,) = plane.port.pods_on("n1")
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 5
    before = plane.port.wait(0, 0)
    plane.port.end_pods([pod, ending])
    assert plane.port.wait(0, 0) == before


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


def test_changed_pods_are_those_after_a_position(batch_plane: Plane) -> None:
    first = batch_plane.put(a_pod("a-0"))
    position, pods = batch_plane.port.changed_pods(0, 5)
    assert [uid_of(pod) for pod in pods] == [uid_of(first)]
    second = batch_plane.put(a_pod("b-0"))
    position, pods = batch_plane.port.changed_pods(position, 5)
    assert uid_of(second) in [uid_of(pod) for pod in pods]
    assert batch_plane.port.changed_pods(position, 0) == (position, [])


def test_many_are_registered_reported_and_confirmed_at_once(batch_plane: Plane) -> None:
    port, names = batch_plane.port, ["n1", "n2"]
    port.register_many([node_object(NodeSettings(name, Path("/tmp")), "simulated", NOW) for name in names])
    port.heartbeat_many(names)
    pods = [batch_plane.put(a_pod(name)) for name in ("a-0", "b-0")]
    stranger = {**pods[0], "metadata": {**pods[0]["metadata"], "uid": "another"}}
    port.report_many([(stranger, {"phase": "Failed"}), *((pod, {"phase": "Running"}) for pod in pods)])
    position, running = port.changed_pods(0, 0)
    assert [pod["status"]["phase"] for pod in running] == ["Running", "Running"]
    port.report_many([(pod, {"phase": "Running"}) for pod in pods])
    assert port.changed_pods(position, 0) == (position, []), "an equal report appends nothing"
    ending = [batch_plane.put(terminating(pod)) for pod in running]
    port.confirm_many(ending)
    port.confirm_many(ending)
    assert port.changed_pods(0, 0)[1] == []


def test_a_batch_that_cannot_be_written_says_so() -> None:
    with event_store() as plane:
        pod = plane.put(a_pod())
        plane.break_off()
        with pytest.raises(Unavailable):
            plane.port.report_many([(pod, {"phase": "Running"})])


def test_a_node_registers_and_registers_again(plane: Plane) -> None:
    settings = NodeSettings("n1", Path("/tmp"))
    plane.port.register(node_object(settings, "process", NOW))
    plane.port.register(node_object(replace(settings, capacity={"cpu": "4"}), "process", NOW))
    plane.port.heartbeat("n1")
    assert plane.port.get("core/nodes", "", "n1")["status"]["capacity"]["cpu"] == "4"


def test_a_volume_is_reclaimed_by_its_node_only_and_released_once(plane: Plane) -> None:
    for name in ("n1", "n2"):
        plane.port.register(node_object(NodeSettings(name, Path("/tmp")), "process", NOW))
    volume = plane.put(a_volume("pv-1", "n1"))
    plane.put(a_volume("unheld", "n1", finalizers=["example.com/hold"]))
    living = plane.put(a_volume("living", "n1", deletionTimestamp=None))
    assert [name_of(each) for each in plane.port.volumes_to_reclaim("n1")] == ["pv-1"]
    assert list(plane.port.volumes_to_reclaim("n2")) == []
    stranger = {**volume, "metadata": {**volume["metadata"], "uid": "another"}}
    plane.port.release_volume("n1", stranger)
    assert plane.port.volumes_to_reclaim("n1")
    plane.port.release_volume("n1", volume)
    plane.port.release_volume("n1", volume)
    assert plane.port.get("core/persistentvolumes", "", "pv-1") is None
    assert plane.port.get("core/persistentvolumes", "", "living") == living


def test_the_log_has_an_identity(plane: Plane) -> None:
    assert plane.port.log_id() and plane.port.log_id() == plane.port.log_id()


def test_an_unreachable_control_plane_says_so(plane: Plane) -> None:
    pod = plane.put(a_pod())
    plane.break_off()
    with pytest.raises(Unavailable):
        plane.port.report(pod, {"phase": "Running"})
