"""Reads a container's log: the lines that its shim wrote, `<RFC 3339 with nanoseconds> <stream> <F|P> <text>`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import NotFound

POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a program's output: when it was read (RFC 3339), from `stdout` or `stderr`, without its newline."""

    at: str
    stream: str
    text: str


def log_path(node_directory: Path, uid: str, container: str, previous: bool = False) -> Path:
    """Return the log file of a container's last run, or of the one before it. Raises NotFound."""
    home = node_directory / "pods" / uid / "containers" / container
    runs = sorted(int(path.name) for path in home.glob("*") if path.name.isdigit() and any(path.glob("log*")))
    if len(runs) < 1 + previous:
        raise NotFound(f"container {container!r} of pod {uid} has no {'previous ' if previous else ''}log")
    return home / str(runs[-1 - previous]) / "log"


def read_log(path: Path, tail: int | None = None) -> list[Line]:
    """Return the lines of a log, the file moved aside before it included; only the last `tail` of them if given."""
    data = b"".join(_read_from(file, 0) for file in (_older(path), path))
    return list(deque(_lines_of(data), maxlen=tail))


def follow_log(path: Path, is_over: Callable[[], bool], tail: int | None = None) -> Iterator[Line]:
    """Yield the last `tail` lines of a log and then each new one, until `is_over` and everything was read."""
    yield from read_log(path, tail)
    inode, offset = _place_of(path)
    while True:
        ending = is_over()
        now_inode, size = _place_of(path)
        if now_inode not in (inode, 0):
            if _place_of(_older(path))[0] == inode:
                yield from _lines_of(_read_from(_older(path), offset))
            inode, offset = now_inode, 0
        if size > offset:
            whole = _read_from(path, offset)
            whole = whole[: whole.rfind(b"\n") + 1]
            offset += len(whole)
            yield from _lines_of(whole)
        if ending:
            return
        time.sleep(POLL_SECONDS)


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _read_from(path: Path, offset: int) -> bytes:
    """Return what a file holds from `offset` on; nothing where it is just being moved aside."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def _place_of(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_size


def _lines_of(data: bytes) -> Iterator[Line]:
    """Yield whole lines; parts tagged P are joined with what follows on their stream."""
    parts: dict[str, str] = {}
    for raw in data.split(b"\n"):
        at, _, rest = raw.decode(errors="replace").partition(" ")
        stream, _, rest = rest.partition(" ")
        tag, _, text = rest.partition(" ")
        if tag == "P":
            parts[stream] = parts.get(stream, "") + text
        elif tag == "F":
            yield Line(at, stream, parts.pop(stream, "") + text)
