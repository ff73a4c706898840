"""What processes (Linux: /proc) and Redis servers have used so far."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import redis

_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Of one process: CPU seconds, how often it was woken, and its share of memory (PSS, bytes)."""

    cpu: float
    wakes: int
    pss: int


class Server(NamedTuple):
    """Of one Redis server: bytes of memory, and commands processed."""

    memory: int
    commands: int


def usage_of(pid: int) -> Usage:
    """Return what a process has used. Raises ProcessLookupError or FileNotFoundError where it has ended."""
    process = Path(f"/proc/{pid}")
    stat = (process / "stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, _wakes(process), _pss(process))


def used_between(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, Usage]:
    """Return by name what was used in between; memory is that of the end."""
    return {
        name: Usage(end.cpu - before[name].cpu, end.wakes - before[name].wakes, end.pss)
        for name, end in after.items()
        if name in before
    }


def server_of(client: redis.Redis) -> Server:
    """Return what a server holds and has done."""
    info: Any = client.info()
    return Server(info["used_memory"], info["total_commands_processed"])


def load_average() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def interpreter() -> str:
    """Return which Python this is: builds of one version differ by a quarter in speed."""
    return f"Python {platform.python_version()} ({os.path.realpath(sys.executable)})"


def _wakes(process: Path) -> int:
    count = 0
    for task in (process / "task").iterdir():
        with suppress(OSError):
            for line in (task / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    count += int(line.split()[1])
    return count


def _pss(process: Path) -> int:
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    return 0
