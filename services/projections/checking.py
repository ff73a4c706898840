"""Whether the projections are what a replay says they must be. What moved while they were read is not compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import redis

from events.state import State
from schemas.envelopes import Actor, Event
from schemas.errors import Unavailable
from schemas.kinds import CONTROLLER_REVISION, DAEMON_SET, POD, STATEFUL_SET
from schemas.objects import Key, controller_of, name_of, split_key
from schemas.patching import strictly_equal
from services.projections import keys
from services.projections.errors import reaching
from services.projections.generations import Checkpoint, Generations
from services.projections.keys import in_generation
from services.projections.rollouts import rollout_fields

_ATTEMPTS = 5
_CHUNK = 1000
_NO_EVENT = Event(0, "", "", 0, 1, 1, "", "", None, 0, 0, Actor(""), 0, "", 0, 1, "", 0)
_OF_HISTORY = ("started", "doneSince")
"""Fields of a rollout that its workload alone does not tell."""


@dataclass(slots=True)
class Projected:
    """The projections as they were read, while they may have moved from `begin` to `end`."""

    begin: Checkpoint
    end: Checkpoint
    objects: dict[Key, bytes] = field(default_factory=dict)
    sets: dict[str, set[str]] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    parked: set[Key] = field(default_factory=set)


def read_projections(client: redis.Redis, cluster: str) -> Projected:
    """Read all projections that a state can be compared with. Raises Unavailable where there are none."""
    generations = Generations(client, cluster)
    for _ in range(_ATTEMPTS):
        begin = generations.current()
        if begin is None:
            raise Unavailable("the projections are not built yet: is the projector running?")
        with reaching():
            found = _read(client, cluster, begin)
        end = generations.current()
        if end is not None and end.generation == begin.generation:
            found.end, found.parked = end, generations.parked(end.generation)
            return found
    raise Unavailable("the projections are being rebuilt again and again: what does the projector say?")


def projection_differences(
    state: State, found: Projected, touched: Iterable[Event]
) -> Iterator[tuple[Key, str]]:
    """Yield (object's key, what is wrong) where projections are not those of a state.

    `state` is of `found.end` or later, `touched` are the events behind `found.begin` up to there: their objects are
    left out, since nobody knows as of when they were read.
    """
    moved = {event.key for event in touched} | found.parked
    for key in sorted({*state.objects, *found.objects} - moved):
        obj, text = state.get(key), found.objects.get(key)
        if obj is None or text is None:
            yield key, "is projected, but does not exist" if obj is None else "is not projected"
        elif not strictly_equal(orjson.loads(text), obj):
            yield key, "is projected as something else"
    yield from _set_differences(state, found, moved)
    for key in sorted(set(state.objects) - moved):
        yield from _hash_differences(state, found, key)


def _read(client: Any, cluster: str, checkpoint: Checkpoint) -> Projected:
    found = Projected(checkpoint, checkpoint)
    prefix = in_generation(cluster, checkpoint.generation, "")
    for resource in map(bytes.decode, client.smembers(prefix + keys.RESOURCES)):
        for name, text in client.hscan_iter(prefix + keys.objects(resource), count=_CHUNK):
            found.objects[f"{resource}/{name.decode()}"] = text
    for pattern in (keys.pods_on("*"), keys.owned_by("*")):
        for name in client.scan_iter(match=prefix + pattern, count=_CHUNK):
            found.sets[name.decode().removeprefix(prefix)] = set(map(bytes.decode, client.smembers(name)))
    found.sets[keys.pods_on("")] = set(map(bytes.decode, client.smembers(prefix + keys.pods_on(""))))
    for pattern in (keys.rollout("*"), keys.revisions("*")):
        for name in client.scan_iter(match=prefix + pattern, count=_CHUNK):
            rows = client.hgetall(name).items()
            found.hashes[name.decode().removeprefix(prefix)] = {
                one.decode(): other.decode() for one, other in rows
            }
    return found


def _set_differences(state: State, found: Projected, moved: set[Key]) -> Iterator[tuple[Key, str]]:
    """Compare the pods of nodes and the objects of owners, member by member."""
    expected: dict[str, set[Key]] = {}
    for key, obj in state.objects.items():
        if key.startswith(f"{POD.resource}/"):
            expected.setdefault(keys.pods_on(obj["spec"].get("nodeName", "")), set()).add(key)
        for reference in obj["metadata"].get("ownerReferences", ()):
            expected.setdefault(keys.owned_by(reference["uid"]), set()).add(key)
    for name in sorted({*expected, *found.sets}):
        key_of: Callable[[str], Key] = str if name.startswith(keys.owned_by("")) else _pod_key
        there = set(map(key_of, found.sets.get(name, ())))
        for key in sorted((expected.get(name, set()) ^ there) - moved):
            yield key, f"is in {name}, where it does not belong" if key in there else f"is missing in {name}"


def _hash_differences(state: State, found: Projected, key: Key) -> Iterator[tuple[Key, str]]:
    obj, resource = state.objects[key], split_key(key)[0]
    if resource in (STATEFUL_SET.resource, DAEMON_SET.resource):
        row = found.hashes.get(keys.rollout(key), {})
        fields = rollout_fields(_NO_EVENT, obj, obj)
        for name in fields.keys() - set(_OF_HISTORY):
            if row.get(name) != str(fields[name]):
                yield key, f"has {name} {row.get(name)} in {keys.rollout(key)}, not {fields[name]}"
    elif resource == CONTROLLER_REVISION.resource and (owner := controller_of(obj)):
        text = found.hashes.get(keys.revisions(owner["uid"]), {}).get(name_of(obj))
        if text is None or not strictly_equal(orjson.loads(text), obj):
            yield key, f"is not what {keys.revisions(owner['uid'])} says"


def _pod_key(member: str) -> Key:
    return f"{POD.resource}/{member}"
