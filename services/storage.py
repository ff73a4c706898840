"""When the log must refuse writes: before its disk or memory is full, since with `always` a full disk ends Redis.

The verdict stands in the log's meta hash, where the append script reads it: so every writer, on every machine, obeys.
Deletes go on a little longer, because they are how room is made.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import redis

from events.keys import heads_key, log_key
from schemas.positions import Position, position_of

GIB = 1 << 30
DISK_SHARE = 0.05
MEMORY_SHARE = 0.85
DELETES_MEMORY_SHARE = 0.95
MEMORY_REASON = "the log's server is close to its maxmemory"
RELIEF = 1.1
"""Once refused, room must exceed the limit by a tenth before writes are taken again: no flapping."""


@dataclass(frozen=True, slots=True)
class StorageUsage:
    """What a log server has left, in bytes. Free and total disk are None where the disk is not on this machine;
    `max_memory` 0 is Redis' "no limit"."""

    free_disk: int | None
    total_disk: int | None
    used_memory: int
    max_memory: int


def disk_limit(total_disk: int) -> int:
    """Return the free bytes below which only deletes are taken: 5 % of the disk, at most 1 GiB."""
    return min(int(total_disk * DISK_SHARE), GIB)


def verdict(usage: StorageUsage, previous: str = "") -> str:
    """Return what the log refuses: nothing (""), all but deletes ("deletes:<reason>") or all ("all:<reason>").

    Deletes end at half of the disk's limit and at 95 % of the memory. `previous` is the verdict in force.
    """
    relief = RELIEF if previous else 1.0
    reasons = [
        reason for reason in (_disk_verdict(usage, relief), _memory_verdict(usage, relief)) if reason != ""
    ]
    return min(reasons, default="")


def usage_of(client: redis.Redis, directory: Path | None) -> StorageUsage:
    """Return the usage of a log server; `directory` is where its AOF lies, None where that is another machine."""
    memory = client.info("memory")
    used, limit = int(memory["used_memory"]), int(memory["maxmemory"])
    if directory is None:
        return StorageUsage(None, None, used, limit)
    disk = os.statvfs(directory)
    return StorageUsage(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize, used, limit)


@dataclass(slots=True)
class StorageGuard:
    """Keeps the verdict in the log's meta hash up to date: `inspect` is called every second or two.

    `directory` is where the log server's AOF lies, where that server is ours; such a guard owns the field. Where the
    server is another's (None), only its memory can be judged, and only a verdict on its memory is ever lifted.
    """

    client: redis.Redis
    cluster: str
    directory: Path | None

    _end: bytes = field(default=b"", init=False)

    def inspect(self, halted: str = "") -> str:
        """Measure, write the verdict where it has changed, and return what is in force.

        `halted`, where not empty, is the owner's reason to take no write at all: a program found history lost. A log
        that does not exist yet is left alone. Raises redis' errors.
        """
        log_id, refuse = self.client.hmget(heads_key(self.cluster), ["log", "refuse"])
        in_force = refuse.decode() if isinstance(refuse, bytes) else ""
        if log_id is None:
            return in_force
        owner = self.directory is not None
        wanted = verdict(usage_of(self.client, self.directory), in_force)
        wanted = f"all:{halted}" if halted and owner else wanted
        if wanted == in_force or not (owner or wanted or MEMORY_REASON in in_force):
            return in_force
        self.client.hset(heads_key(self.cluster), "refuse", wanted)
        return wanted

    def end(self) -> tuple[str, Position] | None:
        """Return the log's id and its end, of one moment. Raises redis' errors.

        None where there is no log, or one that has lost the end of last time: what was appended since then hides that.
        """
        log_id, tail = self.client.hmget(heads_key(self.cluster), ["log", "tail"])
        if not (isinstance(log_id, bytes) and isinstance(tail, bytes)):
            return None
        if self._end and not self.client.xrange(log_key(self.cluster), self._end, self._end):
            return None
        self._end = tail
        return log_id.decode(), position_of(tail)


def _disk_verdict(usage: StorageUsage, relief: float) -> str:
    if usage.free_disk is None or usage.total_disk is None:
        return ""
    limit = disk_limit(usage.total_disk)
    level = _level(usage.free_disk, limit * relief, limit * relief / 2)
    return f"{level}:the log's disk has less than {limit >> 20} MiB free: make room on it" if level else ""


def _memory_verdict(usage: StorageUsage, relief: float) -> str:
    if not usage.max_memory:
        return ""
    room = usage.max_memory - usage.used_memory
    limits = [(1 - share) * usage.max_memory * relief for share in (MEMORY_SHARE, DELETES_MEMORY_SHARE)]
    level = _level(room, *limits)
    return f"{level}:{MEMORY_REASON} of {usage.max_memory >> 20} MiB: raise it or delete" if level else ""


def _level(room: float, deletes_below: float, all_below: float) -> str:
    return "all" if room < all_below else "deletes" if room < deletes_below else ""
