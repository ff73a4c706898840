"""The fold: the only definition of "current".

The worker's replica, the projections, the API's cache and a replay of last Tuesday are this function over the same
events. It never skips and never guesses: an event that does not fit raises LostHistory and names its position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from events.codec import Entry, decode
from events.state import Facts, Failure, daemon_place
from schemas.daemon_pods import FORGET_FAILURES_AFTER, target_node_of
from schemas.envelopes import CREATE, DELETE, EPOCH, GENESIS, LOG_KEY, READER_VERSION, REPLACE, UPDATE, Event
from schemas.errors import LostHistory
from schemas.kinds import DAEMON_SET, NODE
from schemas.objects import Object, controller_of, key_of, namespace_of
from schemas.patching import apply_merge_patch
from schemas.positions import stream_id_of

_POD_PREFIX = "core/pods/"
_LOG_OPS = (GENESIS, EPOCH)


def apply(state: Facts, event: Event) -> None:
    """Move `state` forward by one event. Raises LostHistory where the event does not follow from the state.

    After that the state is not to be used any more: the event may have been applied in part.
    """
    try:
        _apply(state, event)
    except LostHistory:
        raise
    except Exception as error:
        raise _lost(event, repr(error)) from error


def _apply(state: Facts, event: Event) -> None:
    if event.after != state.position or event.position <= state.position:
        raise _lost(event, f"it follows {stream_id_of(event.after)}, not {stream_id_of(state.position)}")
    if event.min_reader > READER_VERSION:
        raise _lost(event, f"it needs a reader of version {event.min_reader}, this one has {READER_VERSION}")
    op, key = event.op, event.key
    if op in _LOG_OPS:
        _apply_log_event(state, event)
    else:
        old = state.objects.get(key)
        _check(event, old)
        if op == DELETE:
            assert old is not None
            state.remove(key, old)
            if key.startswith(_POD_PREFIX):
                _forget_pod(state, old, event)
            elif state.failures:
                _forget_owner(state, old)
        else:
            new = folded(event, old)
            state.put(key, old, new)
            if key.startswith(_POD_PREFIX):
                _remember_pod(state, old, new)
    if event.guard:
        state.guards[event.guard] = event.resource_version
    state.position = event.position


def apply_entries(state: Facts, entries: Iterable[Entry]) -> None:
    """Fold entries as they come from the log. The last one should end a batch (`whole_batches`)."""
    for entry in entries:
        apply(state, decode(entry))


def whole_batches(events: Sequence[Event]) -> int:
    """Return how many of the events, from the first, are whole batches: a reader stands only on batch ends."""
    count = len(events)
    while count and events[count - 1].offset != events[count - 1].size - 1:
        count -= 1
    return count


def _check(event: Event, old: Object | None) -> None:
    if event.op == CREATE:
        if old is not None:
            raise _lost(event, "the object exists already")
        if event.previous:
            raise _lost(event, "a created object has no previous position")
        return
    if old is None:
        raise _lost(event, "the object does not exist")
    metadata = old["metadata"]
    if metadata["uid"] != event.uid:
        raise _lost(event, f"the object has uid {metadata['uid']}, not {event.uid}")
    if metadata["resourceVersion"] != str(event.previous):
        found = stream_id_of(int(metadata["resourceVersion"]))
        raise _lost(event, f"the object was last changed at {found}, not {stream_id_of(event.previous)}")


def folded(event: Event, old: Object | None) -> Object:
    """Return the object after an event that does not delete it; raises LostHistory where the event says none."""
    body = event.body
    if body is None:
        raise _lost(event, "it has no body")
    if event.op == UPDATE:
        assert old is not None
        new: Object = apply_merge_patch(old, body)
        if new is old:
            new = dict(old)
    elif event.op in (CREATE, REPLACE):
        new = dict(body)
        if new["metadata"].get("uid") != event.uid:
            raise _lost(event, "the object in it has another uid")
    else:
        raise _lost(event, f"its op {event.op!r} is unknown")
    metadata = dict(new["metadata"])
    metadata["resourceVersion"] = str(event.resource_version)
    new["metadata"] = metadata
    return new


def _apply_log_event(state: Facts, event: Event) -> None:
    if event.key != LOG_KEY or (event.op == GENESIS) is not (state.position == 0):
        raise _lost(event, "a log has one genesis, at its beginning")
    if event.op == GENESIS:
        state.log_id = event.uid
    elif event.uid != state.log_id:
        raise _lost(event, f"the epoch belongs to log {event.uid}, not {state.log_id}")


def _remember_pod(state: Facts, old: Object | None, new: Object) -> None:
    status = new.get("status")
    if status is None or (old is not None and old.get("status") is status):
        return
    if _is_ready(status):
        state.ever_ready.add(new["metadata"]["uid"])
        if state.failures:
            owner = controller_of(new)
            if owner:
                state.failures.pop((owner["uid"], new["metadata"]["name"]), None)


def _forget_pod(state: Facts, old: Object, event: Event) -> None:
    state.ever_ready.discard(event.uid)
    if old.get("status", {}).get("phase") != "Failed":
        return
    owner = controller_of(old)
    if owner is None:
        return
    if owner["kind"] == DAEMON_SET.kind:
        _count_daemon(state, owner, old, event)
        return
    which = (owner["uid"], old["metadata"]["name"])
    earlier = state.failures.get(which)
    state.failures[which] = Failure((earlier.count if earlier else 0) + 1, event.at)


def _count_daemon(state: Facts, owner: Object, old: Object, event: Event) -> None:
    """Count a daemon's failure for its node, within one generation (failedPodsBackoffKey, daemon_controller.go)."""
    found = state.objects.get(key_of(DAEMON_SET.resource, namespace_of(old), owner["name"]))
    if found is None or found["metadata"]["uid"] != owner["uid"]:
        return
    generation = int(found["metadata"].get("generation", 0))
    which = (owner["uid"], daemon_place(target_node_of(old)))
    earlier = state.failures.get(which)
    count = 0
    if (
        earlier is not None
        and earlier.generation == generation
        and event.at - earlier.last <= FORGET_FAILURES_AFTER
    ):
        count = earlier.count
    state.failures[which] = Failure(count + 1, event.at, generation)


def _forget_owner(state: Facts, old: Object) -> None:
    """Forget the failures of an owner's pods, or of the daemons on a node, that is gone."""
    metadata = old["metadata"]
    place = daemon_place(metadata["name"]) if old["kind"] == NODE.kind else ""
    for which in [which for which in state.failures if metadata["uid"] == which[0] or place == which[1]]:
        del state.failures[which]


def _is_ready(status: Object) -> bool:
    for condition in status.get("conditions", ()):
        if condition["type"] == "Ready":
            return bool(condition["status"] == "True")
    return False


def _lost(event: Event, why: str) -> LostHistory:
    return LostHistory(
        f"the event at {stream_id_of(event.position)} ({event.type} {event.key}) does not fold: {why}",
        event.position,
    )
