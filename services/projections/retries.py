"""Taking up again an object whose projection stands still, with all that it missed, beside a projector that runs."""

from __future__ import annotations

from typing import NamedTuple

import redis

from events.history import History
from events.replay import check_whole
from schemas.errors import ChronosetError, NotFound, Unavailable
from schemas.objects import Key, resource_of
from services.projections import keys
from services.projections.effects import Command, check_types, effects_of
from services.projections.generations import Checkpoint, Generations
from services.projections.reader import Parked, Views

_ATTEMPTS = 20
_EVERY = 10**9


class Retried(NamedTuple):
    """How many events of an object were projected that it had missed."""

    events: int


class StillParked(ChronosetError):
    """The event that could not be projected still cannot be."""


def retry(history: History, client: redis.Redis, key: Key) -> Retried:
    """Project the events that a parked object has missed, up to where the projections are, and have it go on with them.

    All of it in one step, as the projector's own are; a projector that runs learns of it at its next write. Raises
    NotFound where the object is not parked, StillParked, Thinned where its events are kept no more, Unavailable.
    """
    cluster = history.log.cluster
    generations, views = Generations(client, cluster), Views(client, cluster)
    for _ in range(_ATTEMPTS):
        checkpoint = generations.current()
        if checkpoint is None:
            raise Unavailable("the projections are not built yet: is the projector running?")
        parked = views.parked()
        if key not in parked:
            known = f"parked are {', '.join(sorted(parked))}" if parked else "nothing is"
            raise NotFound(f"KEY: {key!r} is not parked; {known}")
        missed, commands = _missed(history, key, parked[key], checkpoint)
        commands.append(("HDEL", keys.PARKED, key))
        if generations.retry(checkpoint, commands):
            return Retried(missed)
    raise Unavailable(f"{key}: the projector was faster each time; try again")


def _missed(history: History, key: Key, row: Parked, checkpoint: Checkpoint) -> tuple[int, list[Command]]:
    """Return how many events an object has missed, and their effects."""
    check_whole(history.log, row.position - 1, checkpoint.position, frozenset((resource_of(key),)))
    versions = history.versions_of(key, _EVERY, checkpoint.position)
    missed = [each for each in versions if each.event.position >= row.position]
    commands: list[Command] = []
    try:
        for event, old, new in missed:
            commands += effects_of(event, old, new)
        check_types(commands)
    except Exception as error:
        raise StillParked(f"{key}: is still parked: {type(error).__name__}: {error}") from error
    return len(missed), commands
