"""Scheduler, volumes and garbage collection together, on the real log, commit and fold."""

from __future__ import annotations

from typing import Any

from events.commit import Edges
from events.memory import MemoryLog
from schemas.changes import Create, Delete
from schemas.deletion import deletion_of
from schemas.objects import Object
from services.controllers.controller import Controller
from services.controllers.garbage import GARBAGE
from services.controllers.volumes import DATA, VOLUMES
from services.scheduler.controller import scheduler
from tests.builders import a_claim, a_class, a_node, a_pod
from tests.events.worlds import World
from tests.services.controllers.settling import NOW


def bare(obj: Object) -> Object:
    """An object as a client sends it: what the commit assigns is left out."""
    assigned = ("uid", "resourceVersion", "creationTimestamp")
    metadata = {name: value for name, value in obj["metadata"].items() if name not in assigned}
    return {**obj, "metadata": metadata}


def settle(world: World, *controllers: Controller[Any]) -> None:
    """Run every key of the controllers until none of them changes anything."""
    for _ in range(20):
        before = world.state.position
        for controller in controllers:
            for key in list(controller.keys(world.state)):
                view = controller.view_of(world.state, key)
                decision = controller.reconcile(view, NOW) if view else None
                if decision and decision.changes:
                    world.commit(*decision.changes, rests_on=decision.rests_on)
        if world.state.position == before:
            return
    raise AssertionError("the controllers do not come to rest")


def test_a_namespace_goes_whole_and_its_volume_once_the_agent_has_removed_the_data() -> None:
    world = World(MemoryLog(clock=lambda: NOW), Edges(clock=lambda: NOW))
    controllers = (scheduler(), VOLUMES, GARBAGE)
    world.commit(
        Create(bare(a_class())),
        Create(bare(a_node())),
        Create(bare(a_claim())),
        Create(bare(a_pod(claims=("data",)))),
    )
    settle(world, *controllers)
    assert world.the("core/pods/default/web-0")["spec"]["nodeName"] == "n1"
    claim = world.the("core/persistentvolumeclaims/default/data")
    assert claim["spec"]["volumeName"] == f"pvc-{claim['metadata']['uid']}"

    world.commit(deletion_of(world.the("core/namespaces/default"), NOW))
    settle(world, *controllers)
    assert world.get("core/namespaces/default")
    assert world.the("core/pods/default/web-0")["metadata"]["deletionGracePeriodSeconds"] == 30

    world.commit(Delete(world.the("core/pods/default/web-0")))
    settle(world, *controllers)
    assert world.get("core/namespaces/default") is None
    [volume] = world.list("core/persistentvolumes")
    assert volume["status"]["phase"] == "Released" and volume["metadata"]["finalizers"] == [DATA]
    assert world.get(f"core/persistentvolumeclaims/default/{claim['metadata']['name']}") is None

    world.commit(Delete(volume))
    settle(world, *controllers)
    assert [key for key in world.state.objects if key.startswith("core/")] == ["core/nodes/n1"]
