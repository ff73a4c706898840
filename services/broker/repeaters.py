"""A function called again and again on a thread of its own: how leases stay alive while their holder works."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Repeater:
    """Calls `action` every `interval_ms` on a daemon thread, from `start` to `stop`.

    The thread begins with `start`, never with construction, so that a process may fork after wiring. `action` must
    handle its own errors: one that escapes ends the thread.
    """

    def __init__(self, name: str, interval_ms: int, action: Callable[[], None]) -> None:
        self._name = name
        self._interval = interval_ms / 1000
        self._action = action
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin calling; harmless when begun already."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread and wait until it has gone; harmless when it never began."""
        with self._lock:
            self._stopping.set()
            if self._thread is not None:
                self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._action()
