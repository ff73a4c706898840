"""The scheduler as a controller: which events may give a waiting pod a node, or a waiting claim room.

All others must cost next to nothing, for most of a log is status.
"""

from __future__ import annotations

from collections.abc import Iterable

from events.state import State
from schemas.objects import Key, Object, has_ended, is_terminating, labels_of
from schemas.taints import has_disk_pressure, ready_status_of
from services.controllers.controller import Controller
from services.scheduler.census import Census, ClusterView, is_anyone_waiting, is_pending
from services.scheduler.scheduling import schedule

KEY: Key = "all"
"""The scheduler's only key: one guard serialises its decisions."""


def scheduler() -> Controller[ClusterView]:
    """Return the scheduler. Each has a census of its own, so a process that folds two logs wants two of them."""
    return Controller("scheduler", triggers, keys, Census().view_of, schedule)


def triggers(state: State, old: Object | None, new: Object | None) -> Iterable[Key]:
    """Return the scheduler's key if the event makes a pod schedulable, or frees or adds room while one waits."""
    obj = new or old
    assert obj is not None
    match obj["kind"]:
        case "Pod":
            hit = _is_new_wish(old, new) or (_frees_room(old, new) and is_anyone_waiting(state))
        case "Node":
            hit = _is_new_offer(old, new) and is_anyone_waiting(state)
        case "PersistentVolumeClaim" | "PersistentVolume":
            hit = _is_storage_changed(old, new) and is_anyone_waiting(state)
        case "StorageClass":
            hit = is_anyone_waiting(state)
        case _:
            hit = False
    return (KEY,) if hit else ()


def keys(_state: State) -> Iterable[Key]:
    """Return all keys the scheduler owns."""
    return (KEY,)


def _is_new_wish(old: Object | None, new: Object | None) -> bool:
    if new is None or not is_pending(new):
        return False
    return old is None or (old["spec"] is not new["spec"] and old["spec"] != new["spec"])


def _frees_room(old: Object | None, new: Object | None) -> bool:
    if old is None or not old["spec"].get("nodeName") or has_ended(old):
        return False
    return new is None or has_ended(new)


def _is_new_offer(old: Object | None, new: Object | None) -> bool:
    return new is not None and (old is None or _offer_of(old) != _offer_of(new))


def _offer_of(node: Object) -> tuple[object, ...]:
    spec, status = node.get("spec", {}), node.get("status", {})
    return (
        labels_of(node),
        spec.get("taints"),
        spec.get("unschedulable"),
        status.get("allocatable"),
        ready_status_of(node),
        has_disk_pressure(node),
    )


def _is_storage_changed(old: Object | None, new: Object | None) -> bool:
    if old is None or new is None:
        return True
    return (
        old["spec"] != new["spec"]
        or old.get("status", {}).get("phase") != new.get("status", {}).get("phase")
        or is_terminating(old) != is_terminating(new)
    )
