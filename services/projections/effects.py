"""What one event does to the projections, as Redis commands. Pure.

A command is (name, key inside the generation, arguments). Most may be repeated, LPUSH may not: the script that applies
them moves the checkpoint with them, so each event's are applied once.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from schemas.envelopes import CREATE, DELETE, EPOCH, GENESIS, Actor, Event
from schemas.kinds import CONTROLLER_REVISION, POD, WORKLOADS
from schemas.objects import Key, Object, controller_of, name_of, split_key, uid_of, version_of
from schemas.positions import stream_id_of, time_of
from schemas.times import Milliseconds, rfc3339
from services.projections import keys
from services.projections.rollouts import rollout_fields

CHANGES_KEPT = 100
"""Changes kept of each object."""
KEPT_AFTER_DELETION: Milliseconds = 7 * 24 * 3_600_000
"""How long a deleted object's changes, and a deleted workload's revisions, are kept; from the event's time on."""

Command = tuple[str | bytes | int, ...]
_WORKLOADS = tuple(kind.resource for kind in WORKLOADS)


def effects_of(event: Event, old: Object | None, new: Object | None) -> list[Command]:
    """Return the commands that project an event; `old` and `new` are its object before and after."""
    return object_effects(event, new) + effects_beside(event, old, new)


def effects_beside(event: Event, old: Object | None, new: Object | None) -> list[Command]:
    """Return what an event does besides setting or removing the object itself: indexes, rollouts, changes."""
    if event.op in (GENESIS, EPOCH):
        return _changes(event)
    resource = split_key(event.key)[0]
    commands = _owners(event, old, new)
    if resource == POD.resource:
        commands += _node(event, old, new)
    elif resource == CONTROLLER_REVISION.resource and new is not None:
        commands += _revision(new)
    elif resource in _WORKLOADS:
        commands += _workload(event, old, new)
    return commands + _changes(event)


def object_effects(event: Event, new: Object | None) -> list[Command]:
    """Return the commands that set or remove the object itself, and nothing else. What concerns the log has none."""
    if event.op in (GENESIS, EPOCH):
        return []
    resource, field = split_key(event.key)[0], keys.field_of(event.key)
    if new is None:
        return [("HDEL", keys.objects(resource), field)]
    row: Command = ("HSET", keys.objects(resource), field, orjson.dumps(new))
    return [row] if event.op != CREATE else [row, ("SADD", keys.RESOURCES, resource)]


def standing_event(key: Key, obj: Object) -> Event:
    """Return what stands for all events of an object, where no more is known than what they came to."""
    version, uid = version_of(obj), uid_of(obj)
    return Event(version, key, "", 0, 1, 1, CREATE, uid, obj, 0, 0, Actor(""), 0, "", 0, 1, "", 0)


def parked_effects(event: Event, error: Exception) -> list[Command]:
    """Return the command that says why an object's projection stands still from this event on."""
    row = {
        "position": stream_id_of(event.position),
        "type": event.type,
        "error": f"{type(error).__name__}: {error}",
    }
    return [("HSET", keys.PARKED, event.key, orjson.dumps(row))]


def check_types(commands: Iterable[Command]) -> None:
    """Raise TypeError for what Redis cannot be given."""
    for command in commands:
        for part in command:
            if type(part) not in (bytes, str, int):
                raise TypeError(f"{command[0]!r} {command[1]!r}: {part!r} cannot be written")


def _owners(event: Event, old: Object | None, new: Object | None) -> list[Command]:
    before, after = _owner_uids(old), _owner_uids(new)
    if before == after:
        return []
    return [
        *(("SREM", keys.owned_by(uid), event.key) for uid in sorted(before - after)),
        *(("SADD", keys.owned_by(uid), event.key) for uid in sorted(after - before)),
    ]


def _owner_uids(obj: Object | None) -> set[str]:
    return {reference["uid"] for reference in obj["metadata"].get("ownerReferences", ())} if obj else set()


def _node(event: Event, old: Object | None, new: Object | None) -> list[Command]:
    before = None if old is None else old["spec"].get("nodeName", "")
    after = None if new is None else new["spec"].get("nodeName", "")
    if before == after:
        return []
    field = keys.field_of(event.key)
    left: Iterable[Command] = () if before is None else (("SREM", keys.pods_on(before), field),)
    joined: Iterable[Command] = () if after is None else (("SADD", keys.pods_on(after), field),)
    return [*left, *joined]


def _revision(new: Object) -> list[Command]:
    owner = controller_of(new)
    if owner is None:
        return []
    name = name_of(new)
    return [
        ("HSET", keys.revisions(owner["uid"]), name, orjson.dumps(new)),
        ("HSET", keys.revision_numbers(owner["uid"]), new["revision"], name),
    ]


def _workload(event: Event, old: Object | None, new: Object | None) -> list[Command]:
    name = keys.rollout(event.key)
    if new is None:
        assert old is not None
        kept = (keys.revisions(uid_of(old)), keys.revision_numbers(uid_of(old)))
        return [("DEL", name), *(("PEXPIREAT", each, _forgotten_at(event)) for each in kept)]
    fields = rollout_fields(event, old, new)
    return [("HSET", name, *(part for field in fields.items() for part in field))]


def _changes(event: Event) -> list[Command]:
    name = keys.changes(event.key)
    row = {
        "position": stream_id_of(event.position),
        "time": rfc3339(time_of(event.position)),
        "type": event.type,
        "actor": event.actor.name,
        "claim": event.actor.claim,
        "cause": stream_id_of(event.cause) if event.cause else "",
        "command": event.command,
    }
    commands: list[Command] = [
        ("LPUSH", name, orjson.dumps(row)),
        ("LTRIM", name, 0, CHANGES_KEPT - 1),
    ]
    if event.op == DELETE:
        commands.append(("PEXPIREAT", name, _forgotten_at(event)))
    elif event.op == CREATE:
        commands.append(("PERSIST", name))
    return commands


def _forgotten_at(event: Event) -> Milliseconds:
    return time_of(event.position) + KEPT_AFTER_DELETION
