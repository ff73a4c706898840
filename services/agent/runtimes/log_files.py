"""The files that a shim writes: records that are whole or not there, and a container's log."""

from __future__ import annotations

import errno
import json
import os
import time
from typing import Any

LOG_LIMIT = 10 << 20
"""A log file larger than this is moved to `<name>.1`, whose predecessor goes (kubelet: containerLogMaxSize)."""
RECORD_ROOM = 8 << 10
"""More than the record of an end takes, whose message has at most 4 KiB."""
LINE_LIMIT = 16 << 10
"""Longer lines are cut into parts tagged P, the last one F (the CRI log format)."""


def write_file(path: str, content: dict[str, Any], sync: bool) -> None:
    """Write JSON so that a reader sees all of it or nothing; with `sync` also after a power failure."""
    partial = f"{path}.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        text = json.dumps(content).encode()
        if os.write(descriptor, text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), partial)
        os.ftruncate(descriptor, len(text))
    except OSError:
        os.close(descriptor)
        raise
    if sync:
        os.fsync(descriptor)
    os.close(descriptor)
    os.rename(partial, path)
    if sync:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)


def reserve_file(path: str) -> None:
    """Take the room now that `write_file` will need: what must be told is told on a full disk too. Raises OSError."""
    descriptor = os.open(f"{path}.partial", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, RECORD_ROOM)
    finally:
        os.close(descriptor)


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""A program runs on without its log when the disk is full."""


class LogFile:
    """A container's log: both streams, one line each, moved aside when it grows too large."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._rest = {"stdout": b"", "stderr": b""}
        self._open()

    def add(self, stream: str, data: bytes) -> None:
        """Add what was read from a stream; what comes after the last newline waits for the rest of its line.

        All lines of a block carry one time, and short ones are put together by one join: a program that floods its
        log costs its node little more than the writing.
        """
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        entries: list[bytes] = []
        prefix = f"{_timestamp()} {stream} ".encode()
        whole = prefix + b"F "
        if lines and max(map(len, lines)) <= LINE_LIMIT:
            entries += (whole, (b"\n" + whole).join(lines), b"\n")
        else:
            for line in lines:
                while len(line) > LINE_LIMIT:
                    entries.append(prefix + b"P " + line[:LINE_LIMIT] + b"\n")
                    line = line[LINE_LIMIT:]
                entries.append(whole + line + b"\n")
        while len(rest) > LINE_LIMIT:
            entries.append(prefix + b"P " + rest[:LINE_LIMIT] + b"\n")
            rest = rest[LINE_LIMIT:]
        self._rest[stream] = rest
        self._write(b"".join(entries))

    def end(self) -> None:
        """Write the lines that never got their newline."""
        for stream, rest in self._rest.items():
            if rest:
                self.add(stream, b"\n")

    def _write(self, data: bytes) -> None:
        try:
            while data:
                written = os.write(self._file, data)
                self._size += written
                data = data[written:]
            if self._size > LOG_LIMIT:
                self._rotate()
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise

    def _rotate(self) -> None:
        """Go on in a new file; where there is none to be had, in the one moved aside."""
        self._size = 0
        os.rename(self.path, f"{self.path}.1")
        full = self._file
        self._open()
        os.close(full)

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size


def _timestamp() -> str:
    seconds, fraction = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z"
