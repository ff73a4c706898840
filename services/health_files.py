"""The health file: a program that runs on its own tells by its time of change when the log last answered it.

For supervisors that ask by a command, as compose does: a file costs the program nothing, and to look at its age takes
no start of Python (`find FILE -newermt '-15 seconds'` finds it while the program is well). A program that follows the
log hears from it at least every two seconds; one whose log is away, or whose thread has ended, does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from schemas.errors import BadRequest

INTERVAL = 1.0
"""Seconds between two touches, however often the log answers."""


class HealthFile:
    """Touches a file when it is called, at most once a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._touched = float("-inf")

    def __call__(self) -> None:
        """Say that the program is well. Where the disk is full nothing is said, and the program goes on."""
        now = time.monotonic()
        if now - self._touched >= INTERVAL:
            self._touched = now
            with suppress(OSError):
                self._path.touch()


def clear_health_file(path: Path) -> None:
    """Take away what an earlier program has left. Raises BadRequest where no file can be made there."""
    try:
        path.touch()
        path.unlink()
    except OSError as error:
        raise BadRequest(f"CHRONOSET_HEALTH_FILE: {path} cannot be made: {error.strerror}") from error


def telling(path: Path | None) -> Callable[[], None]:
    """Return what is to be called at every answer: it touches the file, or does nothing where there is none."""
    return HealthFile(path) if path else lambda: None
