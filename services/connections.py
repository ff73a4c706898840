"""Clients of the Redis servers: one way to connect, with timeouts, a name and a bounded patience.

RESP2 is asked for so that answers have one shape under every redis-py from 6.2 on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from schemas.errors import Forbidden, Unavailable
from services.settings import redacted

READ_RETRIES = 8
"""With pauses of 50 ms doubling to 1 s, half jitter: a server that is away for some 3 s goes unnoticed."""
SOCKET_TIMEOUT = 5.0
CONNECT_TIMEOUT = 2.0


def connect(url: str, name: str, retries: int = READ_RETRIES, timeout: float = SOCKET_TIMEOUT) -> redis.Redis:
    """Return a client (bytes in, bytes out) that connects when it is first used.

    `name` is what CLIENT LIST shows, with our pid. `retries` is for commands that may be repeated: a writer passes 0
    and re-sends under its command id itself. `timeout` (seconds) must exceed the longest blocking read.
    """
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True, "health_check_interval": 30}
    return redis.Redis.from_url(
        url,
        protocol=2,
        client_name=f"chronoset-{name}-{os.getpid()}",
        socket_timeout=timeout,
        socket_connect_timeout=CONNECT_TIMEOUT,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries),
        **keepalive,
    )


@contextmanager
def reaching(what: str, url: str) -> Iterator[None]:
    """Raise what goes wrong between us and a server as one of our errors: `the queue (redis://...) ...`."""
    try:
        yield
    except (AuthenticationError, NoPermissionError) as error:
        raise Forbidden(f"{what} ({redacted(url)}) refuses us: {error}") from error
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        raise Unavailable(f"{what} ({redacted(url)}) cannot be reached: {error}") from error
