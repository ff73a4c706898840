"""The dispatcher: follows the log and marks the keys that each event makes dirty.

It holds nothing that matters. Hints carry only a key; at start, on takeover, when a controller is paused or resumed,
when the queue has lost its data or could not be reached, and every few minutes, every key is marked. Several
dispatchers may run: one holds the lease and marks, the others follow and wait; two at once are harmless.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from events.log import Log
from events.memory import wall_clock
from events.replica import Applied, Replica
from schemas.errors import Unavailable
from services.broker.hints import Hints
from services.broker.leases import Lease
from services.controllers.controller import Controller, all_keys, dirty_keys
from services.controllers.switches import KEY as SWITCHES

TICK = 0.1
"""Seconds between two looks at the timers; `requeue_at` is met that closely."""
LEASE_EVERY = 1.0
MARK_ALL_EVERY = 300.0
FOLLOWED_MS = 1_000
"""What a worker's own commit makes dirty that worker looks at itself, right away. Should it have died in between,
the keys are looked at this many milliseconds later; keys that keep changing are looked at once in that time."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Queue:
    """What a dispatcher uses of the queue's Redis."""

    hints: Hints
    lease: Lease
    epoch: Callable[[], str]


class Dispatcher:
    """Marks dirty keys while it holds the lease. `run` returns after `stop`, or raises LostHistory."""

    def __init__(self, log: Log, queue: Queue, controllers: Sequence[Controller[Any]]) -> None:
        self._queue = queue
        self._controllers = controllers
        self.replica = Replica(log, log.snapshot(), on_applied=self._on_applied)
        self._leading = False
        self._owes_all = True
        self._epoch = ""
        self._stopping = threading.Event()

    def run(self) -> None:
        """Follow the log and keep the timers until `stop`."""
        self.replica.load()
        self.replica.start()
        next_lease = next_all = 0.0
        try:
            while not self._stopping.is_set():
                now = time.monotonic()
                try:
                    if now >= next_lease:
                        self._keep_lease()
                        next_lease = now + LEASE_EVERY
                    if now >= next_all:
                        self._owes_all, next_all = True, now + MARK_ALL_EVERY * random.uniform(0.9, 1.1)
                    if self._leading:
                        self._mark_what_is_owed()
                        self._queue.hints.due(wall_clock())
                except Unavailable as error:
                    self._lose_queue(error)
                with self.replica.reading():
                    pass
                self._stopping.wait(TICK)
        finally:
            self.replica.stop()
            if self._leading:
                self._queue.lease.release()

    def stop(self) -> None:
        self._stopping.set()

    def _keep_lease(self) -> None:
        leading = self._queue.lease.acquire()
        if leading and not self._leading:
            self._owes_all = True
            _log.info("took the dispatcher's lease")
        self._leading = leading
        epoch = self._queue.epoch()
        if epoch != self._epoch:
            if self._epoch:
                _log.warning("the queue has lost its data: every key is marked")
            self._epoch, self._owes_all = epoch, True

    def _mark_what_is_owed(self) -> None:
        if not self._owes_all:
            return
        self._owes_all = False
        with self.replica.reading() as state:
            hints, position = all_keys(self._controllers, state), state.position
        try:
            marked = self._queue.hints.mark_many(hints, position)
        except Unavailable:
            self._owes_all = True
            raise
        _log.info("marked every key", keys=len(hints), enqueued=marked)

    def _on_applied(self, applied: Sequence[Applied]) -> None:
        """Called by the replica's thread, the only one that changes its state."""
        if not self._leading:
            return
        if any(change.event.key == SWITCHES for change in applied):
            self._owes_all = True
        followed = [(each.old, each.new) for each in applied if each.event.guard]
        others = [(each.old, each.new) for each in applied if not each.event.guard]
        with self.replica.reading() as state:
            now = dirty_keys(self._controllers, state, others)
            later = dirty_keys(self._controllers, state, followed)
            position = state.position
        try:
            if now:
                self._queue.hints.mark_many(now, position)
            if later:
                self._queue.hints.at(later, wall_clock() + FOLLOWED_MS)
        except Unavailable as error:
            self._lose_queue(error)

    def _lose_queue(self, error: Unavailable) -> None:
        if not self._owes_all:
            _log.warning("hints are lost; every key will be marked when the queue is back", error=str(error))
        self._owes_all = True
