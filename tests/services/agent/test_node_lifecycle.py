"""What an agent does about what becomes of its node: registers it again, answers for its pods."""

from __future__ import annotations

from pathlib import Path

from schemas.event_types import condition_of
from schemas.objects import with_fields
from services.agent.agent import Agent, wall_clock
from services.agent.lifecycle import Begun, Started
from services.agent.nodes import NodeSettings
from services.agent.runtimes.simulated import SimulatedRuntime
from services.agent.statuses import Place
from services.agent.works import new_work
from services.controllers.nodes.conditions import with_pod_not_ready
from tests.e2e.clusters import wait_for
from tests.services.agent.builders import NOW, a_pod
from tests.services.agent.fakes import MemoryControlPlane


def test_a_pod_that_was_marked_with_its_silent_node_is_reported_again() -> None:
    """Also by an agent that was never restarted, and so has nothing new to say of its own."""
    pod = a_pod()
    work = new_work(pod, Place("127.0.0.2", "127.0.0.1", NOW))
    work.apply("main", Begun(NOW))
    work.apply("main", Started("process://1", "sha256:1", True, NOW))
    work.reported = work.status(False, NOW)
    written = with_fields(pod, status=work.reported)
    marked = with_pod_not_ready(written, NOW)
    assert condition_of(marked, "Ready") == "False"

    work.see(marked, NOW + 1)

    said = work.status(False, NOW + 1)
    assert said != work.reported
    assert condition_of({"status": said}, "Ready") == "True"


def test_a_node_whose_object_was_deleted_is_registered_again(tmp_path: Path) -> None:
    control = MemoryControlPlane()
    runtime = lambda on_exit: SimulatedRuntime(on_exit, wall_clock)  # noqa: E731
    agent = Agent(NodeSettings("n1", tmp_path, heartbeat_seconds=0.05), control, runtime)
    agent.start()
    try:
        node = wait_for(lambda: control.get("core/nodes", "", "n1"), "the node to be registered", 10)
        control.remove(node)

        assert wait_for(lambda: control.get("core/nodes", "", "n1"), "the node to be registered again", 10)
    finally:
        agent.stop()
        agent.join(10)
