"""Simulated nodes behave as agents do, seen from the control plane."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.objects import Object, name_of
from services.agent.agent import wall_clock
from services.agent.nodes import NodeSettings
from services.agent.runtimes.simulated import GOOD, Behaviour
from services.agent.simulated_nodes import SimulatedNodes
from tests.services.agent.builders import a_pod, terminating
from tests.services.agent.fakes import MemoryControlPlane, eventually

BEHAVIOURS = {
    "bad": Behaviour(refusal="ErrImagePull"),
    "evicted": Behaviour(is_evicted=True),
    "slow": Behaviour(ready_after=300),
}


@pytest.fixture
def control() -> Iterator[MemoryControlPlane]:
    control = MemoryControlPlane()
    nodes = [NodeSettings(f"sim-{number}", Path("/tmp")) for number in range(3)]
    simulated = SimulatedNodes(control, nodes, wall_clock, lambda pod: BEHAVIOURS.get(name_of(pod), GOOD))
    simulated.register()
    thread = threading.Thread(target=simulated.run)
    thread.start()
    yield control
    simulated.stop()
    thread.join(5)


def status_of(control: MemoryControlPlane, name: str) -> Object:
    pod = control.get("core/pods", "default", name)
    return dict((pod or {}).get("status") or {})


def is_ready(control: MemoryControlPlane, name: str) -> bool:
    conditions = status_of(control, name).get("conditions") or ()
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def test_pods_get_ready_and_end(control: MemoryControlPlane) -> None:
    pod = control.put(a_pod("web", nodeName="sim-2"))
    elsewhere = control.put(a_pod("elsewhere", nodeName="n9"))
    eventually(lambda: is_ready(control, "web"))
    assert status_of(control, "web")["podIP"].startswith("127.")
    now = control.get("core/pods", "default", "web")
    control.put(terminating(now or pod))
    eventually(lambda: control.get("core/pods", "default", "web") is None)
    assert status_of(control, "elsewhere") == elsewhere["status"]
    assert len(control.list("core/nodes")) == 3 and len(control.heartbeats) == 3


def test_pods_fail_as_they_are_told(control: MemoryControlPlane) -> None:
    for name in BEHAVIOURS:
        control.put(a_pod(name, nodeName="sim-0"))
    eventually(lambda: status_of(control, "evicted").get("phase") == "Failed")
    eventually(lambda: status_of(control, "bad").get("containerStatuses"))
    assert status_of(control, "bad")["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
    eventually(lambda: is_ready(control, "slow"))
