"""A log as it goes over the wire: text, with or without times, up to a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from services.agent.runtimes.port import LogLine
from services.agent.serving.log_options import LogOptions


async def printed(
    batches: Iterator[Sequence[LogLine]],
    options: LogOptions,
    threads: CapacityLimiter,
    is_gone: Callable[[], Awaitable[bool]],
) -> AsyncIterator[bytes]:
    """Yield the text of a log as it comes, until its end, its limit, or until whoever reads it has gone.

    A batch is read in a thread; an empty one is the moment to see whether anybody is still there.
    """
    text = Text(options)
    try:
        while (batch := await run_sync(next, batches, None, limiter=threads)) is not None:
            if data := text.of(batch):
                yield data
            if text.is_over or (not batch and await is_gone()):
                return
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


class Text:
    """Turns lines into the text that the kubelet writes (cri-client/pkg/logs: logWriter).

    A time begins a line, not each piece of a long one; the limit cuts where it falls.
    """

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit
        self._goes_on: set[str] = set()

    @property
    def is_over(self) -> bool:
        """Whether the limit is reached."""
        return self._left is not None and self._left <= 0

    def of(self, lines: Sequence[LogLine]) -> bytes:
        """Return the text of some lines."""
        wanted = self._options.stream
        data = b"".join(self._line(line) for line in lines if not wanted or line.stream == wanted)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return data

    def _line(self, line: LogLine) -> bytes:
        begins = line.stream not in self._goes_on
        (self._goes_on.discard if line.is_whole else self._goes_on.add)(line.stream)
        head = line.at.encode() + b" " if self._options.timestamps and begins else b""
        return head + line.text + b"\n" if line.is_whole else head + line.text
