"""What a container says of its own end: the termination message (kuberuntime_container.go: getTerminationMessage).

A program finds the file at terminationMessagePath, and by its name on the node in $CHRONOSET_TERMINATION_LOG.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from schemas.objects import Object

VARIABLE = "CHRONOSET_TERMINATION_LOG"
MESSAGE_LIMIT = 4096
LOG_LINES, LOG_LIMIT = 80, 2048
"""How much of the log stands in for a message: that many lines, and of those the last bytes."""
_LONGEST_ENTRY = 17 << 10


def termination_file(state: Path) -> Path:
    """Return where a run's termination message is."""
    return state / "termination-log"


def make_termination_file(state: Path) -> Path:
    """Make the file, empty; any user may write to it."""
    path = termination_file(state)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    path.chmod(0o666)
    return path


def message_of(container: Object, state: Path, code: int) -> str:
    """Return the message of a run that ended with `code`: its file's end, or its log's where that is its policy."""
    message = _tail(termination_file(state), MESSAGE_LIMIT)
    if message or code == 0 or container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return message.decode(errors="replace")
    return _log_tail(state / "log").decode(errors="replace")


def _tail(path: Path, limit: int) -> bytes:
    """Return the last bytes of a file; b"" where it is none: a program may have put anything in its place."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            return b""
        return os.pread(handle, limit, max(0, found.st_size - limit))
    finally:
        os.close(handle)


def _log_tail(path: Path) -> bytes:
    """Return the end of what a program has printed, in the order in which it was read."""
    room = LOG_LINES * 128 + LOG_LIMIT + _LONGEST_ENTRY
    data = _tail(path, room)
    if len(data) < room:
        data = _tail(path.with_name("log.1"), room - len(data)) + data
    lines: list[bytes] = []
    for entry in data.split(b"\n"):
        match entry.split(b" ", 3):
            case [_, b"stdout" | b"stderr", b"F", text]:
                lines.append(text + b"\n")
            case [_, b"stdout" | b"stderr", b"P", text]:
                lines.append(text)
    return b"".join(lines[-LOG_LINES:])[-LOG_LIMIT:]
