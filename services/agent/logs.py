"""Reads a container's log: the lines that its shim wrote, `<RFC 3339 with nanoseconds> <stream> <F|P> <text>`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from schemas.errors import NotFound
from services.agent.runtimes.port import LogLine, LogQuery

SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.25
"""Seconds between two looks of one who follows: the longer nothing has come, the longer."""
BEAT_SECONDS = 0.5
"""After so long without news one who follows says so, by an empty batch."""
_BLOCK = 1 << 20


def log_path(node_directory: Path, uid: str, container: str, previous: bool = False) -> Path:
    """Return the log file of a container's last run, or of the one before it. Raises NotFound."""
    home = node_directory / "pods" / uid / "containers" / container
    runs = sorted(int(path.name) for path in home.glob("*") if path.name.isdigit() and any(path.glob("log*")))
    if len(runs) < 1 + previous:
        raise NotFound(f"container {container!r} of pod {uid} has no {'previous ' if previous else ''}log")
    return home / str(runs[-1 - previous]) / "log"


def read_log(path: Path, tail: int | None = None) -> list[LogLine]:
    """Return the lines of a log, the file moved aside before it included; only the last `tail` of them if given."""
    return [line for batch in batches(path, LogQuery(tail=tail), lambda: True) for line in batch]


def batches(path: Path, query: LogQuery, is_over: Callable[[], bool]) -> Iterator[list[LogLine]]:
    """Yield what a query asks for; one who follows is given what comes, until `is_over` and everything was read.

    As the kubelet reads a file of the CRI format (cri-client/pkg/logs): `tail` counts entries, so the pieces of a
    long line one by one.
    """
    older, file = _open_both(path)
    pieces = _Pieces(query.since)
    try:
        if query.tail is None:
            yield from map(pieces.add, _blocks(older))
        else:
            data = _rest(older) + _rest(file)
            yield pieces.add(data[_start_of_tail(data, query.tail) :])
        beat_at, pause = time.monotonic(), SHORTEST_PAUSE
        while file is not None:
            ending = is_over() or not query.follow
            for block in _blocks(file):
                yield pieces.add(block)
                beat_at, pause = time.monotonic(), SHORTEST_PAUSE
            if newer := _successor(path, file):
                yield from map(pieces.add, _blocks(file))
                file.close()
                file = newer
                continue
            if ending:
                return
            if time.monotonic() - beat_at >= BEAT_SECONDS:
                yield []
                beat_at = time.monotonic()
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
    finally:
        for each in (older, file):
            if each:
                each.close()


class _Pieces:
    """Takes a log apart that comes in blocks."""

    def __init__(self, since: str) -> None:
        self._since = since
        self._rest = b""

    def add(self, block: bytes) -> list[LogLine]:
        *entries, self._rest = (self._rest + block).split(b"\n")
        lines = [_line_of(entry) for entry in entries if entry]
        return [line for line in lines if line.at >= self._since] if self._since else lines


def _line_of(entry: bytes) -> LogLine:
    at, stream, tag, text = entry.split(b" ", 3)
    return LogLine(at.decode(), stream.decode(), text, tag == b"F")


def _open_both(path: Path) -> tuple[BinaryIO | None, BinaryIO | None]:
    """Open the file moved aside and the present one; never one file as both, where it is moved just now."""
    while True:
        file, older = _open(path), _open(path.with_name(f"{path.name}.1"))
        if not older or not file or _inode(older) != _inode(file):
            return older, file
        older.close()
        file.close()


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        return None


def _successor(path: Path, file: BinaryIO) -> BinaryIO | None:
    """Return the file that has taken the place of one that was moved aside, if it was."""
    with suppress(FileNotFoundError):
        if path.stat().st_ino != _inode(file):
            return _open(path)
    return None


def _inode(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_ino


def _blocks(file: BinaryIO | None) -> Iterator[bytes]:
    while file and (block := file.read(_BLOCK)):
        yield block


def _rest(file: BinaryIO | None) -> bytes:
    return b"".join(_blocks(file))


def _start_of_tail(data: bytes, count: int) -> int:
    """Return where the last `count` entries begin; what comes after the last newline is no entry yet."""
    end = data.rfind(b"\n") + 1
    for _ in range(count):
        if end == 0:
            return 0
        end = data.rfind(b"\n", 0, end - 1) + 1
    return end
