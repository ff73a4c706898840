"""What is looked at again and again while a run goes on: events, the queue's depth, how far each program is behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import ChronosetError
from services.metrics.gathering import pages

EVERY = 0.5
"""Seconds between two looks: some 3 ms of CPU each, of all programs together."""
MOST = 10_000
_LAGS = ("chronoset_replica_lag_seconds", "chronoset_projector_lag_seconds")


@dataclass(frozen=True, slots=True)
class Sample:
    """A look: seconds since the beginning, events so far, hints that wait or are at work, lag in ms by program."""

    at: float
    events: int
    depth: int
    lags: dict[str, float]


class Sampler:
    """Looks every EVERY seconds from `start` to `stop`."""

    def __init__(self, events: Callable[[], int], depth: Callable[[], int], sockets: Path) -> None:
        self.samples: list[Sample] = []
        self.begun = time.monotonic()
        self._events = events
        self._depth = depth
        self._sockets = sockets
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        self.begun = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while len(self.samples) < MOST and not self._stopping.wait(EVERY):
            with suppress(ChronosetError):  # a server that is away now: the next look tells
                at = time.monotonic() - self.begun
                self.samples.append(Sample(at, self._events(), self._depth(), lags_in(self._sockets)))


def lags_in(sockets: Path) -> dict[str, float]:
    """Return how far each program is behind the log, in milliseconds, as its own metrics say."""
    found = {}
    for program, text in pages(sockets):
        for family in text_string_to_metric_families(text or ""):
            if family.name in _LAGS:
                found[program] = 1000 * family.samples[0].value
    return found
