"""Pods that have ended are kept for those who read of them, up to a number (pkg/controller/podgc, gcTerminated).

Controllers replace the pods of StatefulSets and DaemonSets; a bare pod that has ended stays until somebody deletes
it, or until there are too many.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from events.state import State
from schemas.changes import Decision
from schemas.deletion import deletion_of
from schemas.kinds import POD
from schemas.objects import Key, Object, is_terminating, name_of
from schemas.times import Milliseconds
from services.controllers.controller import Controller

NAME = "finished"
KEY: Key = "all"
MOST_CHANGES = 500


@dataclass(frozen=True, slots=True)
class View:
    """The pods that have ended, in no order, and how many of them may be kept."""

    pods: tuple[Object, ...]
    most: int


def finished(most: int) -> Controller[View]:
    """Return the controller that keeps at most this many pods that have ended; 0: all of them."""

    def has_too_many(state: State) -> bool:
        return 0 < most < len(state.ended)

    def triggers(state: State, _old: Object | None, new: Object | None) -> Iterable[Key]:
        """Cost: a comparison. Nothing else is looked at while there are not too many."""
        return (KEY,) if new is not None and new["kind"] == POD.kind and has_too_many(state) else ()

    def keys(state: State) -> Iterable[Key]:
        return (KEY,) if has_too_many(state) else ()

    def view_of(state: State, _key: Key) -> View | None:
        return View(tuple(state.objects[key] for key in state.ended), most) if has_too_many(state) else None

    return Controller(NAME, triggers, keys, view_of, reconcile)


def reconcile(view: View, now: Milliseconds) -> Decision:
    """Remove what is too many: evicted pods first, then the oldest (byEvictionAndCreationTimestamp)."""
    kept = [pod for pod in view.pods if not is_terminating(pod)]
    surplus = sorted(kept, key=_order)[: max(len(kept) - view.most, 0)]
    changes = tuple(deletion_of(pod, now, grace_seconds=0) for pod in surplus[:MOST_CHANGES])
    return Decision(changes, requeue_at=now if len(surplus) > MOST_CHANGES else None)


def _order(pod: Object) -> tuple[bool, str, str]:
    status = pod.get("status") or {}
    is_evicted = status.get("phase") == "Failed" and status.get("reason") == "Evicted"
    return not is_evicted, pod["metadata"].get("creationTimestamp", ""), name_of(pod)
