"""What a controller is: four pure functions and a name.

The dispatcher asks `triggers` which keys an event may concern and enqueues them; a worker folds the log,
takes the view of one key and reconciles it; the commit writes what was decided. A controller never does any
of that itself, so the same value runs in a worker, in a test and in a replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from events.state import State
from schemas.changes import Decision
from schemas.objects import Key, Object
from schemas.times import Milliseconds

View = TypeVar("View")


@dataclass(frozen=True, slots=True)
class Controller(Generic[View]):
    """A controller of one kind of key.

    name        as in `controller:statefulset`, and in the guard of its commits
    triggers    (state after an event, object before, object after; None where absent) -> keys to look at
    keys        every key it is responsible for: what a restart marks dirty
    view_of     what it needs to know of one key, frozen; None where there is nothing to reconcile
    reconcile   (view, now in milliseconds) -> what to change, and what it waits for
    """

    name: str
    triggers: Callable[[State, Object | None, Object | None], Iterable[Key]]
    keys: Callable[[State], Iterable[Key]]
    view_of: Callable[[State, Key], View | None]
    reconcile: Callable[[View, Milliseconds], Decision]


def dirty_keys(
    controllers: Iterable[Controller[Any]],
    state: State,
    changed: Iterable[tuple[Object | None, Object | None]],
) -> list[tuple[str, Key]]:
    """Return (controller, key) of all that some events concern, each once; (None, None) concerns nobody."""
    found = {
        (controller.name, key): None
        for old, new in changed
        if old is not None or new is not None
        for controller in controllers
        for key in controller.triggers(state, old, new)
    }
    return list(found)


def all_keys(controllers: Iterable[Controller[Any]], state: State) -> list[tuple[str, Key]]:
    """Return (controller, key) of everything that any of the controllers is responsible for."""
    return [(controller.name, key) for controller in controllers for key in controller.keys(state)]
