"""The historian: seals the log's older part, trims the stream behind it, takes snapshots, and thins what is old.

Of several, one holds the lease and works; the log's server knows its epoch, so that one that was paused for longer
than its lease can do no harm. It keeps no state of the cluster, and looks only every few seconds. A full disk, an
archive that cannot be reached or that is damaged stops it, and nothing else: the log grows until it can go on.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from events.sealing import Outrun, Sealer
from schemas.errors import LostHistory, Unavailable
from schemas.positions import stream_id_of
from schemas.retention import Retention
from schemas.times import Milliseconds
from services.broker.leases import Lease

PAUSE = 5.0
"""Seconds between two looks."""
LONGEST_PAUSE = 60.0
THINNING_PAUSE: Milliseconds = 600_000
"""Between two looks at what a retention policy does not keep any more."""
LEASE_TTL_MS = 30_000
"""A segment is sealed in well under this, and the lease renewed before each."""

_log = structlog.get_logger("chronoset.historian")


@dataclass(slots=True)
class Historian:
    """Looks at the log until `stopping`. `open_sealer` returns a new sealer, whose `open` takes over."""

    open_sealer: Callable[[], Sealer]
    lease: Lease
    clock: Callable[[], Milliseconds]
    stopping: threading.Event
    retention: Callable[[], Retention] = lambda: Retention(0, {})
    """The policy as the log has it now."""
    _sealer: Sealer | None = None
    _failure: str = ""
    _pause: float = PAUSE
    _thin_at: Milliseconds = 0

    def run(self) -> None:
        """Seal what is due, every few seconds."""
        while not self.stopping.wait(self._pause * random.uniform(0.9, 1.1)):
            self.look()
        self.give_up()

    def look(self) -> None:
        """Seal what is due, if this is the historian. What hinders is logged, once, and tried again."""
        try:
            self._look()
        except Outrun:
            _log.info("another historian took over")
            self._sealer = None
        except (Unavailable, LostHistory) as error:
            self._sealer = None
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if str(error) != self._failure:
                _log.error("nothing can be sealed", error=str(error))
            self._failure = str(error)
        else:
            self._pause, self._failure = PAUSE, ""

    def give_up(self) -> None:
        """Let another one take over at once."""
        if self._sealer is not None:
            self.lease.release()

    def _look(self) -> None:
        if not self.lease.acquire():
            self._sealer = None
            return
        if self._sealer is None:
            sealer = self.open_sealer()
            sealer.open()
            self._sealer = sealer
        count = self._sealer.look(self.clock(), self._may_go_on)
        if count:
            segments = len(self._sealer.manifest.segments)
            _log.info("sealed", events=count, segments=segments, end=self._sealer.manifest.end)
        self._thin(self._sealer)

    def _thin(self, sealer: Sealer) -> None:
        """Drop what the policy does not keep, now and then. What hinders that is logged, and hinders nothing else.

        Nothing is older than both clocks say, ours and the log server's: one that is wrong drops nothing too early.
        """
        now = self.clock()
        if now < self._thin_at:
            return
        self._thin_at = now + THINNING_PAUSE
        try:
            retention, snapshots = self.retention(), len(sealer.manifest.snapshots)
            if count := sealer.thin(retention, min(now, sealer.sealed_time), self._may_go_on):
                _log.info("thinned", events=count, policy=stream_id_of(retention.position))
            if gone := snapshots - len(sealer.manifest.snapshots):
                _log.info("snapshots dropped", count=gone, policy=stream_id_of(retention.position))
        except LostHistory as error:
            _log.error("nothing can be thinned", error=str(error))

    def _may_go_on(self) -> bool:
        return not self.stopping.is_set() and self.lease.renew()
