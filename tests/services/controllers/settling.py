"""Runs one controller over a state until it is quiet: commit, fold and dispatcher in a few lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from events.state import State
from schemas.changes import Change, Create, Delete, Replace
from schemas.objects import Key, Object, key_of_object
from services.controllers.controller import Controller

NOW = 1_767_225_600_000


class Settling:
    """A state, the controller at work on it, and how many batches it has committed."""

    def __init__(self, controller: Controller[Any], state: State) -> None:
        self.controller = controller
        self.state = state
        self.batches = 0
        self.waiting_for: dict[Key, str] = {}
        self.time = NOW
        self._dirty: dict[Key, None] = {}
        self._timers: dict[Key, int] = {}

    def change(self, *changes: Change) -> Settling:
        """Fold changes as one batch, each of which must start from the object that is there."""
        events = []
        for change in changes:
            match change:
                case Create(new):
                    old = None
                case Replace(old, new):
                    pass
                case Delete(old):
                    new = None
            assert self.state.get(change.key) is old
            if new is None:
                assert old is not None
                self.state.remove(change.key, old)
            elif new != old:
                self.state.put(change.key, old, new)
            if new != old:
                events.append((old, new))
        for old, new in events:
            self._dirty.update((key, None) for key in self.controller.triggers(self.state, old, new))
        self.batches += bool(events)
        return self

    def edit(self, obj: Object, edit: Callable[[Object], Object]) -> Settling:
        """Replace an object by what `edit` makes of it as it is now."""
        now = self.state.get(key_of_object(obj))
        assert now is not None
        return self.change(Replace(now, edit(now)))

    def remove(self, obj: Object) -> Settling:
        """Remove an object for good, as it is now."""
        return self.change(Delete(self.now(obj)))

    def settle(self) -> Settling:
        """Let the controller work off what is dirty."""
        self.batches = 0
        for _ in range(1000):
            if not self._dirty:
                return self
            key = next(iter(self._dirty))
            del self._dirty[key]
            view = self.controller.view_of(self.state, key)
            if view is None:
                self.waiting_for.pop(key, None)
                continue
            decision = self.controller.reconcile(view, self.time)
            assert len({change.key for change in decision.changes}) == len(decision.changes) <= 1000
            self.waiting_for[key] = decision.waiting_for
            self._timers.pop(key, None)
            if decision.requeue_at is not None:
                if decision.requeue_at <= self.time:
                    self._dirty[key] = None
                else:
                    self._timers[key] = decision.requeue_at
            self.change(*decision.changes)
        raise AssertionError("the controller does not come to rest")

    def pass_time(self, milliseconds: int) -> Settling:
        """Let time pass, and what is due then be looked at again."""
        self.time += milliseconds
        self._dirty.update((key, None) for key, due in self._timers.items() if due <= self.time)
        return self

    def resync(self) -> Settling:
        """Mark every key dirty and settle."""
        self._dirty.update((key, None) for key in self.controller.keys(self.state))
        return self.settle()

    def has(self, obj: Object) -> bool:
        """True if this very object (by uid) is there."""
        now = self.state.get(key_of_object(obj))
        return now is not None and now["metadata"]["uid"] == obj["metadata"]["uid"]

    def now(self, obj: Object) -> Object:
        """The object as it is now."""
        found = self.state.get(key_of_object(obj))
        assert found is not None
        return found
