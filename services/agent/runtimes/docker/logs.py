"""Reads a container's log from the daemon, with the time and stream of each line."""

from __future__ import annotations

import queue
import socket
import threading
from calendar import timegm
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from docker.errors import APIError
from docker.errors import NotFound as NoContainer

from schemas.errors import NotFound
from services.agent.runtimes.port import LogLine, LogQuery

IDLE_SECONDS = 0.5
BATCH = 1_000
_LENGTH_OF_AT = len("2026-11-23T05:38:30.146754708Z")
_STREAMS = {1: "stdout", 2: "stderr"}


def read_container_log(client: Any, container: str, query: LogQuery) -> Iterator[list[LogLine]]:
    """Yield the log of a container, see Runtime.log. Raises NotFound."""
    try:
        tty = bool(client.inspect_container(container)["Config"].get("Tty"))
        response = client.get(
            f"{client.base_url}/v{client.api_version}/containers/{container}/logs",
            params=_params_of(query),
            stream=True,
            timeout=None,
        )
        response.raise_for_status()
    except (NoContainer, APIError) as error:
        raise NotFound(f"container {container[:12]} has no log: {error}") from None
    return _batches(response, tty)


def _batches(response: Any, tty: bool) -> Iterator[list[LogLine]]:
    """Yield what a thread reads off the daemon, who says nothing while a program does not."""
    lines: queue.Queue[LogLine | None] = queue.Queue(maxsize=10 * BATCH)
    gone = threading.Event()
    reader = threading.Thread(target=_read, args=(response, tty, lines, gone), name="docker-log", daemon=True)
    reader.start()
    try:
        is_over = False
        while not is_over:
            batch, is_over = _take(lines)
            yield batch
    finally:
        gone.set()
        _shut(response)
        reader.join()
        response.close()


def _take(lines: queue.Queue[LogLine | None]) -> tuple[list[LogLine], bool]:
    """Return the lines that there are, at most a batch of them, and whether they were the last."""
    batch: list[LogLine] = []
    with suppress(queue.Empty):
        line = lines.get(timeout=IDLE_SECONDS)
        while line is not None:
            batch.append(line)
            if len(batch) == BATCH:
                return batch, False
            line = lines.get_nowait()
        return batch, True
    return batch, False


def _read(response: Any, tty: bool, lines: queue.Queue[LogLine | None], gone: threading.Event) -> None:
    frames = _raw_frames(response) if tty else _frames(response)
    with suppress(Exception):  # however the connection ends, the log ends with it
        for stream, data in frames:
            for line in _lines_of(stream, data):
                _put(lines, line, gone)
    _put(lines, None, gone)


def _put(lines: queue.Queue[LogLine | None], line: LogLine | None, gone: threading.Event) -> None:
    while not gone.is_set():
        with suppress(queue.Full):
            lines.put(line, timeout=IDLE_SECONDS)
            return


def _frames(response: Any) -> Iterator[tuple[str, bytes]]:
    """Yield (stream, what the daemon sent at once): a line, or a piece of one."""
    while len(header := response.raw.read(8)) == 8:
        yield _STREAMS.get(header[0], "stdout"), response.raw.read(int.from_bytes(header[4:], "big"))


def _raw_frames(response: Any) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of a terminal, whose log has no frames; all are its stdout."""
    for line in response.raw:
        yield "stdout", line


def _lines_of(stream: str, data: bytes) -> Iterator[LogLine]:
    """Yield the lines of a frame, each after its time; one without a newline goes on in the next frame."""
    *whole, rest = data.split(b"\n")
    for raw, is_whole in (*((line, True) for line in whole), (rest, False)):
        at, _, text = raw.partition(b" ")
        if at:
            yield LogLine(_nanoseconds(at.decode()), stream, text, is_whole)


def _params_of(query: LogQuery) -> dict[str, str]:
    since = _unix_time(query.since) if query.since else "0"
    tail = "all" if query.tail is None else str(query.tail)
    return {
        "stdout": "1",
        "stderr": "1",
        "timestamps": "1",
        "follow": str(int(query.follow)),
        "since": since,
        "tail": tail,
    }


def _nanoseconds(at: str) -> str:
    """Return a time of the daemon's as LogLine.at has it: podman writes whole seconds, in its own zone."""
    if len(at) == _LENGTH_OF_AT and at.endswith("Z"):
        return at
    whole = datetime.fromisoformat(at).astimezone(UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{whole.microsecond:06}000Z"


def _unix_time(at: str) -> str:
    """Return a time as LogLine.at in seconds and nanoseconds since 1970, as the daemon has it."""
    whole, _, fraction = at.removesuffix("Z").partition(".")
    seconds = timegm(datetime.strptime(f"{whole}+0000", "%Y-%m-%dT%H:%M:%S%z").utctimetuple())
    return f"{seconds}.{fraction.ljust(9, '0')}"


def _shut(response: Any) -> None:
    """Let the thread that reads return: closing alone would wait for it."""
    with suppress(AttributeError, OSError):
        response.raw._fp.fp.raw._sock.shutdown(socket.SHUT_RDWR)
