"""Processes as /proc shows them, and how to end all that one has started."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

CONTAINER = "CHRONOSET_CONTAINER"
"""The variable by which a container's processes are known, whoever their parent has become."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 15, 36, 38


def boot_id() -> str:
    """Return what tells this run of the machine from all others."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_of(pid: int) -> int:
    """Return when the process began (clock ticks since boot): (pid, start) is never used twice. 0: no process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def descendants_of(root: int) -> list[int]:
    """Return the pids of all processes below `root`, zombies left out."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != b"Z":
                children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def kill_all() -> dict[int, int]:
    """Kill every descendant and reap it; return the wait status of each direct child that was reaped.

    It ends only when there is no child left: orphans come to us (subreaper), so nothing can slip away. We lead a
    session of our own, so every process group below us is of our descendants alone.
    """
    ended: dict[int, int] = {}
    pause = 0.001
    while True:
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                ended[pid] = status
        except ChildProcessError:
            return ended
        for pid in descendants_of(os.getpid()):
            _kill_with_group(pid)
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def _kill_with_group(pid: int) -> None:
    """Kill a descendant and its process group, in which none can fork itself away while that is going on."""
    with suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(pid)
        os.kill(pid, signal.SIGKILL)
        if group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)


def kill_marked(containers: Collection[str]) -> None:
    """Kill every process that carries one of these container ids in its environment, until there is none."""
    marks = {f"{CONTAINER}={container}".encode() for container in containers}
    while marks and (marked := [pid for pid in pids() if not marks.isdisjoint(environ_of(pid))]):
        for pid in marked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def pids() -> Iterator[int]:
    """Yield the pids of all processes."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def environ_of(pid: int) -> list[bytes]:
    """Return a process' variables as it was begun; none where they cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def become_parent() -> None:
    """Make this process a session of its own that inherits the orphans among its descendants."""
    os.setsid()
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _LIBC.prctl(_PR_SET_NAME, b"chronoset-shim", 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def die_with_parent() -> None:
    """Have this process killed when its parent dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def take_name(name: bytes) -> None:
    """Show as `name` (at most 15 bytes) in `ps -o comm`."""
    _LIBC.prctl(_PR_SET_NAME, name, 0, 0, 0)


def take_no_privileges() -> None:
    """Gain no privileges by what is executed from now on: set-user-id bits and file capabilities are void."""
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
