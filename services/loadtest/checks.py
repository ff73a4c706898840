"""The end of a load test: what the log says, what was projected, and what was followed live are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

import redis

from events.keys import LOG_FIELDS, heads_key
from events.log import Log
from events.replay import replay
from events.state import State
from schemas.kinds import KINDS, NODE
from schemas.objects import Key, Object, key_of_object, name_of
from schemas.patching import strictly_equal
from schemas.positions import stream_id_of
from services.loadtest.watching import Watch
from services.processes import wait_until
from services.projections.reader import Views

_NO_HEADS = {field.encode() for field in LOG_FIELDS}
_SHOWN = 3
CALM_CHECKS = 30
"""Looks, 10 ms apart, during which the log must not move and nobody may have anything to do."""


def wait_until_calm(log: Log, is_idle: Callable[[], bool], seconds: float) -> bool:
    """Wait until nothing is queued and the log stands still; False where it does not within `seconds`."""
    seen, looks = 0, 0

    def is_calm() -> bool:
        nonlocal seen, looks
        end = log.last()
        looks = looks + 1 if end == seen and is_idle() else 0
        seen = end
        return looks >= CALM_CHECKS

    return wait_until(is_calm, seconds)


def differences(log: Log, client: redis.Redis, views: Views, watch: Watch) -> list[str]:
    """Return, a sentence each, how a replay of the whole log differs from the projections, replica and heads.

    The log must be at rest. `client` is of the log's server.
    """
    end = log.last()
    replayed = replay(log, end, State())
    if not watch.replica.wait_for(end, 10) or not views.wait_for(end, 10):
        return [f"the live replica or the projections do not reach the log's end {stream_id_of(end)}"]
    with watch.replica.reading() as live:
        found = list(_unlike("the live replica", replayed.objects, live.objects))
        if dict(live.heads()) != dict(replayed.heads()):
            found.append("the live replica's heads are not those of the replay")
    found += _unlike("the projection", replayed.objects, _projected(views))
    found += _unlike_nodes(replayed, views)
    heads = {key.decode(): stream_id.decode() for key, stream_id in _heads(client, log.cluster)}
    wanted = {key: stream_id_of(position) for key, position in replayed.heads()}
    return found + list(_unlike("the log's head", wanted, heads))


def _projected(views: Views) -> dict[Key, Object]:
    return {key_of_object(obj): obj for kind in KINDS for obj in views.list(kind.resource)}


def _unlike_nodes(replayed: State, views: Views) -> Iterator[str]:
    for name in ["", *(name_of(node) for node in replayed.list(NODE.resource))]:
        wanted = {key_of_object(pod) for pod in replayed.pods_on(name)}
        if wanted != {key_of_object(pod) for pod in views.pods_on(name)}:
            yield f"the projected pods on node {name!r} are not those of the replay"


def _heads(client: redis.Redis, cluster: str) -> Iterable[tuple[bytes, bytes]]:
    return ((key, head) for key, head in client.hscan_iter(heads_key(cluster)) if key not in _NO_HEADS)


def _unlike(what: str, wanted: Mapping[Key, object], found: Mapping[Key, object]) -> Iterator[str]:
    """Yield the first few keys under which two mappings differ, and how many more there are."""
    keys = [
        key
        for key in sorted(wanted.keys() | found.keys())
        if key not in wanted or key not in found or not strictly_equal(wanted[key], found[key])
    ]
    for key in islice(keys, _SHOWN):
        how = "is missing" if key not in found else "should not be there" if key not in wanted else "differs"
        yield f"{what} of {key} {how}"
    if len(keys) > _SHOWN:
        yield f"{what}: {len(keys) - _SHOWN} more differ"
