"""What this machine does at best, by which everything else is to be judged."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import redis

from events.codec import Entry, decode
from services.bench.gates import Floors
from services.connections import connect
from services.loadtest.statistics import percentile
from services.processes import end_child
from services.servers import ServerPlan, find_server, launch, wait_until_loaded
from services.settings import Durability

REPEATS = 5
_BLOCK = b"x" * 600
"""Some bytes that an event takes in the file of the log."""


def measure(place: Path, entries: Sequence[Entry]) -> Floors:
    """Return the floors: with a server without a file, a file in `place`, and these entries."""
    with server(place, None) as client:
        pings = best(lambda: per_second(client.ping, 3000))
    return Floors(pings, fdatasync_p50(place), best(lambda: no_op_folds(entries)))


def best(repeat: Callable[[], float]) -> float:
    """Return the median of some repeats: machines are noisy."""
    return median(repeat() for _ in range(REPEATS))


def per_second(call: Callable[[], object], count: int) -> float:
    """Return how often a second `call` can be called, one at a time."""
    begun = time.perf_counter()
    for _ in range(count):
        call()
    return count / (time.perf_counter() - begun)


def fdatasync_p50(place: Path, pause: float = 0.0) -> float:
    """Return the seconds that half of the fdatasyncs of a growing file take at most, `pause` seconds apart."""
    with tempfile.TemporaryFile(dir=place) as file:
        times = sorted(_fdatasync(file.fileno(), pause) for _ in range(300))
    return percentile(times, 0.5)


@contextmanager
def server(place: Path, durability: Durability | None) -> Iterator[redis.Redis]:
    """Run an embedded server as `up` does, its data in a new directory inside `place`; give a client of it."""
    with (
        tempfile.TemporaryDirectory(prefix=".bench-", dir=place) as data,
        tempfile.TemporaryDirectory() as sockets,
    ):
        directory = Path(data)
        plan = ServerPlan("log", directory, Path(sockets) / "s", directory / "server.log", durability)
        process = launch(plan, find_server())
        try:
            wait_until_loaded(plan, process.poll, lambda _: None)
            client = connect(plan.url, "bench", retries=0)
            yield client
            client.close()
        finally:
            end_child(process, 5.0)


@contextmanager
def without_collection() -> Iterator[None]:
    """Keep the cyclic collector off, as processes that fold do."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _fdatasync(descriptor: int, pause: float) -> float:
    time.sleep(pause)
    begun = time.perf_counter()
    os.write(descriptor, _BLOCK)
    os.fdatasync(descriptor)
    return time.perf_counter() - begun


def no_op_folds(entries: Sequence[Entry]) -> float:
    """Return how many entries a second can be decoded: a fold that does nothing."""
    with without_collection():
        begun = time.process_time()
        for entry in entries:
            decode(entry)
        return len(entries) / (time.process_time() - begun)
