"""The disk under a node's own folder: how much its volumes may hold, and whether it is full.

What others on the disk take, volumes may not have; what volumes hold already is theirs. So a node reports what is free
plus what its volumes hold, and says so again when others have taken or given back much.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.agent.folders import size_of

VOLUMES = "volumes"
"""The folder of a node in which its volumes are."""
FULL_BYTES, FULL_SHARE = 1 << 30, 20
"""A disk is full with less than 1 GiB, or a twentieth of it, free: the smaller of the two; and until twice that is."""
NEWS_SHARE = 32
"""What is a change worth an event: this share of the disk."""
STEPS = 64
"""Room is reported in steps of this share of the disk, so that an agent that is started again has no news."""


@dataclass(frozen=True, slots=True)
class Disk:
    """What is known of a disk, in bytes. `room` is what volumes may hold together."""

    total: int
    room: int
    is_full: bool


class Usage(Protocol):
    """What a file system says of itself, in bytes."""

    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int: ...


class Disks:
    """Watches one disk. Measuring what volumes hold may take long, so all but the first time a thread does it."""

    def __init__(self, directory: Path, usage: Callable[[Path], Usage] = shutil.disk_usage) -> None:
        self._directory = directory
        self._usage = usage
        self._thread: threading.Thread | None = None
        self._free = 0
        self._measured = self._reported = self._measure(False)

    @property
    def disk(self) -> Disk:
        """The disk as it is to be reported."""
        return self._reported

    def look(self) -> bool:
        """Return whether there is news. Raises OSError where the disk cannot be asked."""
        usage = self._usage(self._directory)
        before = self._reported
        is_full = _is_full(usage, before.is_full)
        is_moved = abs(usage.free - self._free) > usage.total // NEWS_SHARE
        if (is_moved or is_full != before.is_full) and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self._again, args=(is_full,), name="disk", daemon=True)
            self._thread.start()
        found = self._measured
        if found.is_full == before.is_full and abs(found.room - before.room) <= before.total // NEWS_SHARE:
            return False
        self._reported = found
        return True

    def _again(self, is_full: bool) -> None:
        self._measured = self._measure(is_full)

    def _measure(self, was_full: bool) -> Disk:
        usage = self._usage(self._directory)
        held = size_of(self._directory / VOLUMES)
        self._free = usage.free
        step = max(1, usage.total // STEPS)
        room = min(usage.total, usage.free + held) // step * step
        return Disk(usage.total, room, _is_full(usage, was_full))


def _is_full(usage: Usage, was_full: bool) -> bool:
    least = min(FULL_BYTES, usage.total // FULL_SHARE)
    return usage.free < least * (2 if was_full else 1)
