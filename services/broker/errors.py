"""Translates what the Redis client raises into the project's own errors, so that callers need not know redis-py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from schemas.errors import Unavailable


@contextmanager
def reaching_the_queue() -> Iterator[None]:
    """Raise `Unavailable` for any failure of the queue's Redis. A context manager and a decorator."""
    try:
        yield
    except redis.RedisError as error:
        raise Unavailable(f"the queue cannot be used: {type(error).__name__}: {error}") from error
