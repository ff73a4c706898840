"""The agents of one machine follow a list of names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import LostHistory
from schemas.kinds import NODE
from schemas.objects import name_of
from services.agent.agent import Agent, wall_clock
from services.agent.crews import Crew
from services.agent.nodes import NodeSettings
from services.agent.runtimes.simulated import SimulatedRuntime
from tests.services.agent.builders import a_pod
from tests.services.agent.fakes import MemoryControlPlane, eventually


class Machine:
    """A crew on a control plane in memory; `names` is the list."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names = ["n1"]
        self.control = MemoryControlPlane()
        self.ended = 0
        self.made: list[str] = []
        self.left: list[str] = []
        self.crew = Crew(lambda: tuple(self.names), self.make, self.end, self.left.append)

    def make(self, name: str) -> Agent:
        self.made.append(name)
        settings = NodeSettings(name, self.directory / name, heartbeat_seconds=0.05)
        return Agent(
            settings,
            self.control,
            lambda on_exit: SimulatedRuntime(on_exit, wall_clock),
            is_wanted=lambda: name in self.names,
        )

    def end(self) -> None:
        self.ended += 1

    def nodes(self) -> list[str]:
        return sorted(name_of(node) for node in self.control.list(NODE.resource))

    def follow_until(self, nodes: list[str]) -> None:
        def look() -> bool:
            self.crew.follow()
            return self.nodes() == nodes

        eventually(look)

    def remove(self, name: str) -> None:
        self.names.remove(name)
        self.control.remove(self.control.get(NODE.resource, "", name) or {})


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    assert machine.ended == 0
    machine.crew.stop(None)


def test_a_name_that_comes_gets_an_agent_and_one_that_goes_loses_it(machine: Machine) -> None:
    machine.follow_until(["n1"])
    machine.names.append("n2")
    machine.follow_until(["n1", "n2"])
    pod = machine.control.put(a_pod("db-0", nodeName="n2"))
    eventually(lambda: (machine.control.get("core/pods", "default", "db-0") or {})["status"].get("podIP"))

    machine.remove("n2")

    machine.follow_until(["n1"])
    eventually(lambda: machine.control.get("core/pods", "default", name_of(pod)) is None)
    assert machine.crew.failures() == []


def test_a_name_that_comes_again_waits_until_its_last_agent_has_left(machine: Machine) -> None:
    """Two agents of one node would be refused by the lock of its directory."""
    machine.names.append("n2")
    machine.follow_until(["n1", "n2"])
    machine.control.put(a_pod("db-0", nodeName="n2"))
    machine.remove("n2")
    machine.crew.follow()
    machine.names.append("n2")
    machine.follow_until(["n1", "n2"])


def test_agents_that_are_gathered_do_not_work_before_they_are_followed(machine: Machine) -> None:
    machine.names.append("n2")
    machine.crew.gather()
    machine.crew.gather()
    assert machine.made == ["n1", "n2"] and machine.nodes() == []
    machine.follow_until(["n1", "n2"])
    assert machine.made == ["n1", "n2"]


def test_who_shared_something_with_a_node_is_told_once_it_has_left(machine: Machine) -> None:
    machine.names.append("n2")
    machine.follow_until(["n1", "n2"])
    machine.remove("n2")
    machine.follow_until(["n1"])
    eventually(lambda: machine.crew.follow() or machine.left == ["n2"])


def test_a_node_that_rests_has_no_agent_until_it_is_followed_again(machine: Machine) -> None:
    machine.follow_until(["n1"])
    machine.crew.rest("n1")
    assert (machine.left, machine.ended, machine.crew.failures()) == (["n1"], 0, [])
    beats = machine.control.heartbeats["n1"]
    machine.crew.follow()
    eventually(lambda: machine.control.heartbeats["n1"] > beats)
    assert machine.made == ["n1", "n1"]


def test_an_agent_that_ends_by_itself_is_a_failure(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.follow_until(["n1"])
    machine.control.heartbeat = lambda _node: 1 / 0  # type: ignore[method-assign, assignment]
    eventually(lambda: machine.ended == 1)
    assert [type(each) for each in machine.crew.failures()] == [ZeroDivisionError]
    machine.crew.stop(None)


def test_an_agent_that_finds_history_lost_holds_still_and_is_no_failure(machine: Machine) -> None:
    machine.follow_until(["n1"])
    machine.control.refuse_with(LostHistory("another log"))
    machine.crew.follow()
    assert machine.crew.failures() == []
    machine.control.refuse_with(None)
