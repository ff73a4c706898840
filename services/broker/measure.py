"""How long a hop takes: from enqueue to the start of the actor, through a real worker. For scripts/bench."""

from __future__ import annotations

import threading
import time

import dramatiq
import redis
from dramatiq import Worker

from services.broker.keys import Keys
from services.broker.streams import StreamsBroker


def hop_seconds(client: redis.Redis, keys: Keys, count: int = 1_000, idle_s: float = 0.005) -> list[float]:
    """Return `count` latencies in seconds, sorted, of a worker thread in this process that is idle before each hop.

    `idle_s`: the pause before each hop, in seconds; 0 measures a busy queue. `keys` should be of a cluster of its own.
    """
    broker = StreamsBroker(client, keys, middleware=[])
    latencies: list[float] = []
    arrived = threading.Semaphore(0)

    @dramatiq.actor(broker=broker, queue_name="hops")
    def hop(sent: float) -> None:
        latencies.append(time.perf_counter() - sent)
        arrived.release()

    worker = Worker(broker, worker_threads=1)
    worker.start()
    try:
        for _ in range(count + 1):
            time.sleep(idle_s)
            hop.send(time.perf_counter())
            arrived.acquire()
    finally:
        worker.stop()
        broker.flush("hops")
    return sorted(latencies[1:])
