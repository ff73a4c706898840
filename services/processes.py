"""Processes: who one is for sure, and how a child is tied to its parent (Linux: /proc and prctl).

A pid alone names nobody, since the kernel gives it out again; a pid with its start time does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from a later one of the same number by its start (clock ticks since boot)."""

    pid: int
    started: int


class Running(Protocol):
    """A child process; `poll` returns its exit code, negative for a signal, once it has ended."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...


@dataclass(slots=True)
class Forked:
    """A child made by `os.fork`."""

    pid: int
    code: int | None = None

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code


def process_id_of(pid: int) -> ProcessId | None:
    """Return the identity of a running process; None where it does not exist or is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat[stat.rindex(b")") + 2 :].split()
    return None if state in (b"Z", b"X") else ProcessId(pid, int(fields[18]))


def is_alive(process: ProcessId) -> bool:
    """Say whether this very process still runs."""
    return process_id_of(process.pid) == process


def send_signal(process: ProcessId, number: int) -> bool:
    """Send a signal to this very process; False where it has ended."""
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask every 10 ms until it holds; False where it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def end_child(process: Running, grace: float) -> None:
    """End a child and reap it: SIGTERM unless it ended already, SIGKILL after `grace` seconds."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        if process.poll() is None:
            os.kill(process.pid, number)
        if wait_until(lambda: process.poll() is not None, patience):
            return


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """In a new child: have the kernel send `number` when the parent dies, however it dies.

    `parent` is the pid that forked, noted before the fork: it may have died before this call. The kernel counts the
    death of the thread that forked, so the parent must fork from its main thread.
    """
    _libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
