"""The log in memory: the same protocol, for tests and for deciding what a batch would do."""

from __future__ import annotations

import bisect
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from events.codec import Entry, encode
from events.genesis import GENESIS_TYPE, genesis_event
from events.log import (
    MAX_BYTES,
    MAX_CLOCK_SKEW_MS,
    MAX_EVENTS,
    Appended,
    Batch,
    Gap,
    Remembered,
    Sealed,
    attempted,
)
from events.state import Facts
from schemas.envelopes import LOG_KEY, Actor
from schemas.errors import (
    AlreadyExists,
    BadRequest,
    ChronosetError,
    CommandReused,
    Conflict,
    Forbidden,
    LostHistory,
    NotFound,
)
from schemas.objects import Key
from schemas.positions import MAX_SEQUENCE, SEQUENCE_BITS, Position, stream_id_of


def wall_clock() -> int:
    """Return the milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


class MemoryLog:
    """A Log held in lists. Thread-safe; `clock` gives milliseconds since 1970."""

    def __init__(self, cluster: str = "chronoset", clock: Callable[[], int] = wall_clock) -> None:
        self.cluster = cluster
        self.refuse = ""
        self._read_only = ""
        self._clock = clock
        self._entries: list[Entry] = []
        self._positions: list[Position] = []
        self._heads: dict[Key, Position] = {}
        self._commands: dict[str, tuple[int, Remembered]] = {}
        self._log_id = ""
        self._known = ""
        self._grown = threading.Condition()
        self._interruptions = 0
        self._epoch = 0
        self._sealed = Sealed()

    def create(self) -> str:
        with self._grown:
            if self._log_id:
                raise AlreadyExists(f"cluster {self.cluster} has a log already: {self._log_id}")
            self._log_id = uuid.uuid4().hex
            now = self._clock()
            event = genesis_event(self.cluster, self._log_id, Actor("system:init"), now)
            self._push(Entry(now << SEQUENCE_BITS, LOG_KEY, GENESIS_TYPE, 0, encode(event)))
            return self._log_id

    def log_id(self) -> str:
        if not self._log_id:
            raise NotFound(f"cluster {self.cluster} has no log")
        return self._log_id

    def append(self, batch: Batch) -> Appended:
        with self._grown:
            self._known = self._known or self.log_id()
            if self._known != self._log_id:
                raise LostHistory(f"the log is {self._log_id or 'gone'}, not {self._known}")
            now = self._clock()
            remembered = self._commands.get(batch.command)
            if remembered and remembered[0] > now:
                if remembered[1].digest != batch.digest:
                    raise CommandReused(f"command id {batch.command} was used before with other content")
                return replace(remembered[1].result, repeated=True)
            self._check(batch, now)
            result = self._write(batch, now)
            self._commands[batch.command] = (now + batch.remember * 1000, Remembered(batch.digest, result))
            self._grown.notify_all()
            return result

    def append_all(self, batches: Sequence[Batch]) -> list[Appended | ChronosetError]:
        return [attempted(partial(self.append, batch)) for batch in batches]

    def command(self, command: str) -> Remembered | None:
        found = self._commands.get(command)
        return found[1] if found and found[0] > self._clock() else None

    def set_read_only(self, reason: str) -> None:
        self.log_id()
        self._read_only = reason

    def last(self) -> Position:
        self.log_id()
        return self._positions[-1]

    def heads(self, keys: list[str]) -> dict[str, Position]:
        return {key: self._heads.get(key, 0) for key in keys}

    def read(self, after: Position, limit: int, until: Position | None = None) -> list[Entry]:
        start = bisect.bisect_right(self._positions, after)
        stop = len(self._positions) if until is None else bisect.bisect_right(self._positions, until)
        return self._entries[start : min(stop, start + limit)]

    def follow(self, after: Position, limit: int, timeout: float) -> list[Entry]:
        with self._grown:
            before = self._interruptions
            self._grown.wait_for(lambda: self._has_grown(after) or self._interruptions != before, timeout)
        return self.read(after, limit)

    def snapshot(self, until: Position | None = None) -> Facts | None:  # noqa: ARG002 - it has kept none
        return None

    def gap(self, after: Position, until: Position) -> Gap | None:  # noqa: ARG002 - what it has is whole
        return None

    def sealed(self) -> Sealed:
        self.log_id()
        return self._sealed

    def take_over(self) -> int:
        self.log_id()
        with self._grown:
            self._epoch += 1
            return self._epoch

    def switch(self, epoch: int, sealed: Sealed) -> bool:
        with self._grown:
            if epoch == self._epoch and sealed.end < self._sealed.end:
                raise BadRequest(f"the log refused its historian: shorter {stream_id_of(self._sealed.end)}")
            if epoch == self._epoch:
                self._sealed = sealed
            return epoch == self._epoch

    def trim(self, epoch: int, until: Position) -> bool:
        with self._grown:
            if epoch == self._epoch and until > self._sealed.end:
                raise BadRequest("the log refused its historian: malformed not sealed")
            if epoch == self._epoch and until >= self._positions[-1]:
                raise BadRequest("the log refused its historian: malformed nothing would be left")
            if epoch == self._epoch:
                count = bisect.bisect_right(self._positions, until)
                del self._entries[:count], self._positions[:count]
            return epoch == self._epoch

    def held(self) -> tuple[Position, int]:
        return (self._positions[0] if self._positions else 0), len(self._positions)

    def interrupt(self) -> None:
        with self._grown:
            self._interruptions += 1
            self._grown.notify_all()

    def close(self) -> None:
        pass

    def _has_grown(self, after: Position) -> bool:
        return bool(self._positions) and self._positions[-1] > after

    def _check(self, batch: Batch, now: int) -> None:
        check_limits(batch)
        if abs(now - batch.clock) > MAX_CLOCK_SKEW_MS:
            raise clock_skew(batch.clock, now)
        if self._read_only and batch.drafts:
            raise Forbidden(f"the log refuses writes: {self._read_only}")
        if self.refuse and batch.drafts:
            level, _, reason = self.refuse.partition(":")
            if level != "deletes" or not all(draft.ends for draft in batch.drafts):
                raise Forbidden(f"the log refuses writes: {reason}")
        for key, expected in batch.expected.items():
            actual = self._heads.get(key, 0)
            if actual != expected:
                raise Conflict(key, expected, actual)

    def _write(self, batch: Batch, now: int) -> Appended:
        tail = self._positions[-1]
        if not batch.drafts:
            return Appended(tail, tail, 0, False)
        base = max(now << SEQUENCE_BITS, tail + 1)
        if (base & MAX_SEQUENCE) + len(batch.drafts) - 1 > MAX_SEQUENCE:
            base = (base >> SEQUENCE_BITS) + 1 << SEQUENCE_BITS
        last = base + len(batch.drafts) - 1
        for position, draft in enumerate(batch.drafts, base):
            self._push(Entry(position, draft.key, draft.type, self._positions[-1], draft.data))
            if draft.ends:
                self._heads.pop(draft.key, None)
            else:
                self._heads[draft.key] = last
        self._heads.update(dict.fromkeys(batch.guards, last))
        return Appended(base, last, len(batch.drafts), False)

    def _push(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._positions.append(entry.position)


def check_limits(batch: Batch) -> None:
    """Raise BadRequest where a batch exceeds the limits of events.log."""
    if len(batch.drafts) > MAX_EVENTS:
        raise BadRequest(f"a batch of {len(batch.drafts)} events is too large: at most {MAX_EVENTS}")
    size = sum(len(draft.data) for draft in batch.drafts)
    if size > MAX_BYTES:
        raise BadRequest(f"a batch of {size} bytes is too large: at most {MAX_BYTES}")


def clock_skew(ours: int, theirs: int) -> BadRequest:
    """Return the error for a writer whose clock and the log server's are too far apart."""
    return BadRequest(
        f"this machine's clock and the log server's differ by {abs(ours - theirs) / 1000:.0f} s, "
        f"at most {MAX_CLOCK_SKEW_MS // 1000} s are accepted: set the clock"
    )
