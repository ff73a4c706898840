"""The composition root: which clients, log, queue and controllers each program gets. Nothing else builds them."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import dramatiq
import structlog

from events.commit import Edges
from events.redis_log import RedisLog
from events.replica import Replica
from events.secrets import Keyring
from services.bootstrap import prepare_log
from services.broker.hints import Hints
from services.broker.keys import Keys
from services.broker.leases import Lease, queue_epoch
from services.broker.streams import StreamsBroker
from services.connections import connect
from services.controllers.controller import Controller
from services.controllers.garbage import GARBAGE
from services.controllers.statefulset import STATEFULSET
from services.controllers.volumes import VOLUMES
from services.dispatcher import Dispatcher, Queue
from services.scheduler import SCHEDULER
from services.settings import Settings
from services.worker import Reconciler

CONTROLLERS: tuple[Controller[Any], ...] = (STATEFULSET, SCHEDULER, GARBAGE, VOLUMES)
WORKERS = 2

_log = structlog.get_logger()


def open_log(settings: Settings, name: str) -> RedisLog:
    """Return the cluster's log. Its client does not retry: the log re-sends under command ids."""
    return RedisLog(connect(settings.log_url, name, retries=0), settings.cluster)


def edges_of(settings: Settings) -> Edges:
    """Return the clock, uids and sealing that commits of this process use."""
    return Edges(seal=Keyring(settings.keys_dir).seal)


def prepare(settings: Settings) -> None:
    """Create the log where there never was one, and the first namespaces."""
    log = open_log(settings, "init")
    try:
        prepare_log(log, settings.data_dir, edges_of(settings))
    finally:
        log.close()


def run_dispatcher(settings: Settings) -> None:
    """Run a dispatcher until SIGTERM."""
    client = connect(settings.queue_url, "dispatcher")
    keys = Keys(settings.cluster)
    queue = Queue(
        Hints(client, keys),
        Lease(client, keys.lease("dispatcher"), f"{socket.gethostname()}:{os.getpid()}"),
        partial(queue_epoch, client, keys),
    )
    dispatcher = Dispatcher(open_log(settings, "dispatcher"), queue, CONTROLLERS)
    on_sigterm(dispatcher.stop)
    dispatcher.run()


def run_worker(settings: Settings) -> None:
    """Run a worker, one dramatiq worker with one thread, until SIGTERM. Raises LostHistory where it finds that."""
    stopping = threading.Event()
    on_sigterm(stopping.set)
    log = open_log(settings, "worker")
    replica = Replica(log)
    replica.load()
    replica.start()
    client, keys = connect(settings.queue_url, "worker"), Keys(settings.cluster)
    hints = Hints(client, keys)
    reconciler = Reconciler(log, replica, hints, CONTROLLERS, edges_of(settings), stopping.set)
    worker = dramatiq_worker(StreamsBroker(client, keys, middleware=[]), reconciler.look)
    worker.start()
    try:
        stopping.wait()
    finally:
        worker.stop()
        hints.close()
        replica.stop()
    if reconciler.failure:
        raise reconciler.failure


def dramatiq_worker(broker: StreamsBroker, look: Callable[[str, str], None]) -> dramatiq.Worker:
    """Return a dramatiq worker of one thread that gives every hint to `look`."""
    dramatiq.actor(look, actor_name="reconcile", queue_name="hints", broker=broker)
    return dramatiq.Worker(broker, queues={"hints"}, worker_threads=1, worker_timeout=2_000)


def on_sigterm(stop: Callable[[], object]) -> None:
    """Call `stop` on SIGTERM, in the main thread."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, handle)
