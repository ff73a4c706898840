"""Translates what the Redis client raises into the project's own errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from schemas.errors import Forbidden, LostHistory, Unavailable

_FOR_NOW = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    OSError,
)


@contextmanager
def reaching(what: str = "the views' server") -> Iterator[None]:
    """Raise what goes wrong with a server as Unavailable (it may pass), Forbidden (this user), or LostHistory.

    LostHistory stands for a command that the keys found do not allow: something else has written there.
    """
    try:
        yield
    except (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise Forbidden(f"{what} refuses this user: {error}") from error
    except _FOR_NOW as error:
        raise Unavailable(f"{what} cannot be used: {error}") from error
    except redis.ResponseError as error:
        if str(error).startswith(("MISCONF", "BUSY", "NOREPLICAS", "CLUSTERDOWN")):
            raise Unavailable(f"{what} cannot be used: {error}") from error
        raise LostHistory(f"{what} refused what was asked: {error}") from error
