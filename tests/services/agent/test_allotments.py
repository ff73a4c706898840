"""No two pods of one machine have one address, whatever nodes they are on and whenever those begin."""

from __future__ import annotations

from pathlib import Path

from schemas.objects import Object, uid_of
from services.agent.addresses import address_of, identity_of
from services.agent.agent import Agent, wall_clock
from services.agent.allotments import Allotments
from services.agent.nodes import NodeSettings
from services.agent.runtimes.port import FoundPod
from services.agent.runtimes.simulated import SimulatedRuntime
from tests.services.agent.builders import NOW, a_pod
from tests.services.agent.fakes import MemoryControlPlane, eventually

FIRST = address_of("i", ())


def test_of_two_with_one_first_choice_the_second_takes_its_next() -> None:
    allotments = Allotments()
    assert allotments.take("u1", "default/a", "i", set()) == FIRST
    assert allotments.take("u2", "default/b", "i", set()) == address_of("i", {FIRST})


def test_a_successor_of_the_same_name_has_the_same_address() -> None:
    allotments = Allotments()
    assert allotments.take("u1", "default/a", "i", set()) == allotments.take("u2", "default/a", "i", set())
    allotments.release("u1")
    assert allotments.take("u3", "default/b", "i", set()) != FIRST, "the successor holds it"


def test_what_is_released_is_free_and_what_others_use_is_not() -> None:
    allotments = Allotments()
    allotments.hold("n1", "n1", FIRST)
    assert allotments.take("u1", "default/a", "i", set()) != FIRST
    allotments.release("n1")
    allotments.release("never there")
    assert allotments.take("u2", "default/b", "i", {FIRST}) != FIRST
    assert allotments.take("u3", "default/c", "i", set()) == FIRST


class Remembering(SimulatedRuntime):
    """A runtime that has found pods of before."""

    left: tuple[FoundPod, ...] = ()

    def found(self) -> list[FoundPod]:
        return list(self.left)


def an_agent(
    name: str, folder: Path, allotments: Allotments, *left: FoundPod
) -> tuple[Agent, MemoryControlPlane]:
    """An agent that is made, not started, and its control plane, which tells it of its own pods only."""
    control = MemoryControlPlane()
    settings = NodeSettings(name, folder / name, "c", heartbeat_seconds=0.05, allotments=allotments)

    def runtime(on_exit: object) -> SimulatedRuntime:
        made = Remembering(on_exit, wall_clock)  # type: ignore[arg-type]
        made.left = left
        return made

    return Agent(settings, control, runtime), control


def address_in(control: MemoryControlPlane, pod: Object) -> str:
    found = control.get("core/pods", "default", pod["metadata"]["name"])
    return str(((found or {}).get("status") or {}).get("podIP") or "")


def test_an_agent_that_begins_first_gives_away_nothing_that_a_pod_of_another_node_has(tmp_path: Path) -> None:
    """All agents of a process are made before one works: n1 has not adopted its pod when n2 takes in another."""
    allotments, pod = Allotments(), a_pod("new", nodeName="n2")
    first = address_of(identity_of(pod, "c"), ())
    old = a_pod("old", nodeName="n1")
    late, _ = an_agent("n1", tmp_path, allotments, FoundPod(old, first, NOW, ()))
    early, control = an_agent("n2", tmp_path, allotments)
    early.start()
    control.put(pod)
    eventually(lambda: address_in(control, pod))
    assert address_in(control, pod) not in ("", first)
    early.stop()
    early.join(5)
    late.start()
    late.stop()
    late.join(5)


def test_the_address_of_a_pod_that_has_ended_is_free_again(tmp_path: Path) -> None:
    allotments, pod = Allotments(), a_pod("a", nodeName="n1")
    agent, control = an_agent("n1", tmp_path, allotments)
    agent.start()
    put = control.put(pod)
    eventually(lambda: address_in(control, pod))
    first = address_in(control, pod)
    identity = identity_of(put, "c")
    assert allotments.take("x", "default/x", identity, set()) != first
    allotments.release("x")
    control.remove(control.get("core/pods", "default", "a") or {})
    eventually(lambda: uid_of(put) not in agent._works)
    assert allotments.take("x", "default/x", identity, set()) == first
    agent.stop()
    agent.join(5)
