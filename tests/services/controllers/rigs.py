"""A set and its controller in one process: the real log, fold and commit, and time that stands still unless moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from events.commit import Edges, Proposal
from events.memory import MemoryLog
from schemas.changes import Change, Create, Decision, Delete, Replace
from schemas.envelopes import Actor
from schemas.objects import Key, Object, name_of, with_fields
from services.controllers.controller import Controller
from tests.events.worlds import World, with_image

NOON = 1_800_000_000_000

View = TypeVar("View")


class Rig(Generic[View]):
    """A set that need not exist yet, its controller, and people."""

    def __init__(self, controller: Controller[View], key: Key) -> None:
        self.now = NOON
        self.controller = controller
        self.key = key
        self.decisions: list[Decision] = []
        self.check: Callable[[View, Decision], None] = lambda _view, _decision: None
        clock = lambda: self.now  # noqa: E731
        self.world = World(MemoryLog(clock=clock), Edges(clock=clock))

    @property
    def set(self) -> Object:
        return self.world.the(self.key)

    @property
    def status(self) -> Object:
        status: Object = self.set["status"]
        return status

    @property
    def revisions(self) -> dict[str, int]:
        """Image -> number."""
        found = self.world.list("apps/controllerrevisions", "default")
        return {
            each["data"]["spec"]["template"]["spec"]["containers"][0]["image"]: each["revision"]
            for each in sorted(found, key=lambda each: each["revision"])
        }

    # The controller

    def view(self) -> View:
        view = self.controller.view_of(self.world.state, self.key)
        assert view is not None
        return view

    def step(self) -> Decision:
        """Reconcile once and commit, as a worker does."""
        view = self.view()
        decision = self.controller.reconcile(view, self.now)
        self.check(view, decision)
        self.commit(decision, self.guard())
        self.decisions.append(decision)
        return decision

    def guard(self) -> tuple[str, int]:
        """The guard of the set's key, as a worker reads it with its view."""
        name = f"guard/{self.controller.name}/{self.key}"
        return name, self.world.state.guards.get(name, 0)

    def commit(self, decision: Decision, guard: tuple[str, int]) -> None:
        """Commit a decision that was taken when `guard` was read; raises Conflict where it has become stale."""
        proposal = Proposal(decision.changes, decision.rests_on, guard)
        self.world.decide(lambda: proposal, attempts=1, actor=Actor(f"controller:{self.controller.name}"))

    def reconcile(self) -> list[str]:
        """Reconcile until nothing changes; return what happened to pods, as `+db-0` and `-db-0`."""
        told: list[str] = []
        for _ in range(50):
            decision = self.step()
            if not decision.changes:
                return told
            told += self.told(decision.changes)
        raise AssertionError(f"does not converge: {decision}")

    def told(self, changes: Sequence[Change]) -> list[str]:
        """Return which pods are created and which begin to go, or go at once."""
        return [what for change in changes if (what := self._told(change))]

    def place_of(self, pod: Object) -> str:
        """Return what a pod is called in `told`."""
        return name_of(pod)

    def _told(self, change: Change) -> str:
        match change:
            case Create(obj) if obj["kind"] == "Pod":
                return f"+{self.place_of(obj)}"
            case Delete(old) if old["kind"] == "Pod":
                return f"-{self.place_of(old)}"
            case Replace(old, new) if old["kind"] == "Pod" and leaves(new) and not leaves(old):
                return f"-{self.place_of(old)}"
        return ""

    # People

    def change(self, obj: Object, **fields: Any) -> None:
        self.world.commit(Replace(obj, with_fields(obj, **fields)))

    def remove(self, obj: Object) -> None:
        self.world.commit(Delete(obj))

    def edit(self, **spec: Any) -> None:
        self.change(self.set, spec={**self.set["spec"], **spec})

    def set_image(self, image: str) -> None:
        self.world.commit(Replace(self.set, with_image(self.set, image)))

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


def leaves(pod: Object) -> bool:
    """True for a pod that is on its way out."""
    return "deletionTimestamp" in pod["metadata"]
