"""Workers, actors and waiting with a deadline, for the broker's tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dramatiq import Actor, Broker, Worker, actor
from dramatiq.middleware import Retries

from services.broker.keys import Keys
from services.broker.streams import Limits, StreamsBroker

QUICK = Limits(claim_after_ms=400)
"""A dead worker's messages return soon, so that a test need not wait for seconds."""


def quick_retries() -> list[Retries]:
    """Return middleware that retries twice, at once."""
    return [Retries(max_retries=2, min_backoff=5, max_backoff=20)]


def a_broker(client: object, keys: Keys, limits: Limits = QUICK) -> StreamsBroker:
    """Return a broker with quick claims and quick retries."""
    return StreamsBroker(client, keys, middleware=[*quick_retries()], limits=limits)  # type: ignore[arg-type]


def an_actor(broker: Broker, work: Callable[..., None], name: str = "work") -> Actor:
    """Return an actor on the queue `jobs` that calls `work`."""
    return actor(work, broker=broker, queue_name="jobs", actor_name=name)


@contextmanager
def working(broker: Broker, threads: int = 1) -> Iterator[None]:
    """A worker that consumes the broker's queues while the block runs."""
    worker = Worker(broker, worker_threads=threads, worker_timeout=100)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def eventually(is_so: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is so; fail after a deadline."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.002)


def never(is_so: Callable[[], bool], seconds: float) -> None:
    """Watch that something is not so for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert not is_so(), "it came about"
        time.sleep(0.01)
