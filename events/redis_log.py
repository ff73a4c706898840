"""The log on Redis or Valkey: one stream, one script.

The client given must not retry by itself: an append is re-sent here, under its command id, until the server has
answered or the patience is over.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

import redis

from events.appending import APPEND, call_of, result_of
from events.codec import Entry, encode
from events.genesis import GENESIS_TYPE, genesis_event
from events.keys import command_key, heads_key, log_key
from events.lines import Line, Part, script_of
from events.log import Appended, Batch, Gap, Remembered, Sealed, attempted
from events.memory import wall_clock
from events.state import Facts
from schemas.envelopes import LOG_KEY, Actor
from schemas.errors import (
    AlreadyExists,
    BadRequest,
    ChronosetError,
    Forbidden,
    NotFound,
    Unavailable,
)
from schemas.positions import Position, position_of, stream_id_of

T = TypeVar("T")

_CREATE = script_of(files("events").joinpath("create.lua").read_text())
_SWITCH = script_of(files("events").joinpath("switch.lua").read_text())
_TRIM = script_of(files("events").joinpath("trim.lua").read_text())
_TRANSIENT = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError, ConnectionError)


class RedisLog:
    """A Log on a Redis server. `patience` is how many seconds a call tries again while the server is away.

    `heard` is called at every answer of the server, by the thread that got it.
    """

    def __init__(
        self,
        client: redis.Redis,
        cluster: str = "chronoset",
        patience: float = 30.0,
        clock: Callable[[], int] = wall_clock,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self.cluster = cluster
        self._heard = heard
        self._client = client
        self._patience = patience
        self._clock = clock
        self._known = ""
        self._log, self._heads = log_key(cluster), heads_key(cluster)
        self._line = Line(client)
        self._following = Line(client)

    def create(self) -> str:
        log_id = uuid.uuid4().hex
        event = genesis_event(self.cluster, log_id, Actor("system:init"), self._clock())
        answer = self._insist(
            lambda: self._line.run(
                _CREATE, [self._log, self._heads], [log_id, LOG_KEY, GENESIS_TYPE, encode(event)]
            )
        )
        found = log_id if answer[0] == b"created" else answer[1].decode()
        if found != log_id:
            raise AlreadyExists(f"cluster {self.cluster} has a log already: {found or 'a damaged one'}")
        return log_id

    def log_id(self) -> str:
        found = self._insist(lambda: self._line.call("HGET", self._heads, "log"))
        if found is None:
            raise NotFound(f"cluster {self.cluster} has no log on this server")
        return str(found.decode())

    def append(self, batch: Batch) -> Appended:
        call = self._call(batch)
        answer = self._insist(lambda: self._line.run(APPEND, *call))
        return result_of(answer, batch, self._known)

    def append_all(self, batches: Sequence[Batch]) -> list[Appended | ChronosetError]:
        answers: list[Any] = [None] * len(batches)
        if len(batches) > 1:
            with suppress(ChronosetError, redis.RedisError):
                answers = self._line.call_all([APPEND.called(*self._call(batch)) for batch in batches])
        each = zip(batches, answers, strict=True)
        return [attempted(partial(self._came_of, batch, answer)) for batch, answer in each]

    def command(self, command: str) -> Remembered | None:
        found = self._insist(lambda: self._line.call("GET", command_key(self.cluster, command)))
        if found is None:
            return None
        digest, first, last, count = found.decode().split(" ")
        return Remembered(digest, Appended(position_of(first), position_of(last), int(count), True))

    def set_read_only(self, reason: str) -> None:
        self.log_id()
        self._insist(lambda: self._line.call("HSET", self._heads, "readonly", reason))

    def last(self) -> Position:
        tail = self._insist(lambda: self._line.call("HGET", self._heads, "tail"))
        if tail is None:
            raise NotFound(f"cluster {self.cluster} has no log on this server")
        return position_of(tail)

    def heads(self, keys: list[str]) -> dict[str, Position]:
        if not keys:
            return {}
        found = self._insist(lambda: self._line.call("HMGET", self._heads, *keys))
        return {key: position_of(head) if head else 0 for key, head in zip(keys, found, strict=True)}

    def read(self, after: Position, limit: int, until: Position | None = None) -> list[Entry]:
        stop = "+" if until is None else stream_id_of(until)
        if until is not None and until <= after:
            return []
        bounds = f"({stream_id_of(after)}", stop, "COUNT", limit
        return [_entry(each) for each in self._insist(lambda: self._line.call("XRANGE", self._log, *bounds))]

    def follow(self, after: Position, limit: int, timeout: float) -> list[Entry]:
        """As the protocol says; a lost connection is raised at once, since the log may be another one afterwards.

        So is a server that answers with an error: one that becomes a replica breaks off reads that wait (UNBLOCKED).
        """
        milliseconds = max(1, int(timeout * 1000))
        try:
            found = self._following.call(
                "XREAD", "COUNT", limit, "BLOCK", milliseconds, "STREAMS", self._log, stream_id_of(after)
            )
        except _TRANSIENT as error:
            raise Unavailable(f"the log's server cannot be reached: {error}") from error
        except redis.exceptions.ResponseError as error:
            raise Unavailable(f"the log's server refuses: {error}") from error
        self._heard()
        return [_entry(each) for each in found[0][1]] if found else []

    def snapshot(self, until: Position | None = None) -> Facts | None:  # noqa: ARG002 - it has kept none
        return None

    def gap(self, after: Position, until: Position) -> Gap | None:  # noqa: ARG002 - what it has is whole
        return None

    def sealed(self) -> Sealed:
        fields = "log", "archive", "sealed"
        log_id, manifest, end = self._insist(lambda: self._line.call("HMGET", self._heads, *fields))
        if log_id is None:
            raise NotFound(f"cluster {self.cluster} has no log on this server")
        return Sealed(manifest.decode(), position_of(end)) if manifest else Sealed()

    def take_over(self) -> int:
        self.log_id()
        return int(self._insist(lambda: self._line.call("HINCRBY", self._heads, "historian", 1)))

    def switch(self, epoch: int, sealed: Sealed) -> bool:
        args = [str(epoch), sealed.manifest, stream_id_of(sealed.end)]
        return self._is_done(self._insist(lambda: self._line.run(_SWITCH, [self._heads], args)))

    def trim(self, epoch: int, until: Position) -> bool:
        keys, args = [self._log, self._heads], [str(epoch), stream_id_of(until)]
        return self._is_done(self._insist(lambda: self._line.run(_TRIM, keys, args)))

    def held(self) -> tuple[Position, int]:
        first = self._insist(lambda: self._line.call("XRANGE", self._log, "-", "+", "COUNT", 1))
        count = self._insist(lambda: self._line.call("XLEN", self._log))
        return (position_of(first[0][0]) if first else 0), int(count)

    def interrupt(self) -> None:
        self._following.interrupt()

    def close(self) -> None:
        self._line.close()
        self._following.close()
        self._client.close()

    def _is_done(self, answer: list[Any]) -> bool:
        match [part.decode() if isinstance(part, bytes) else part for part in answer]:
            case ["switched" | "trimmed", *_]:
                return True
            case ["outrun", *_]:
                return False
            case other:
                raise BadRequest(f"the log refused its historian: {' '.join(map(str, other))}")

    def _call(self, batch: Batch) -> tuple[list[Part], list[Part]]:
        """Return the keys and arguments of an append. Raises BadRequest, NotFound."""
        self._known = self._known or self.log_id()
        return call_of(batch, self.cluster, self._known)

    def _came_of(self, batch: Batch, answer: Any) -> Appended:
        """Return what an answer says; where it is none, ask again as `append` does: a command happens once."""
        if not isinstance(answer, list):
            return RedisLog.append(self, batch)
        self._heard()
        return result_of(answer, batch, self._known)

    def _insist(self, call: Callable[[], T]) -> T:
        """Call, and again while the server is away, with jitter, until the patience is over."""
        deadline = time.monotonic() + self._patience
        pause = 0.02
        while True:
            try:
                answer = call()
                self._heard()
                return answer
            except redis.exceptions.AuthenticationError as error:
                raise Forbidden(f"the log's server refuses this user: {error}") from error
            except _TRANSIENT as error:
                if time.monotonic() + pause > deadline:
                    raise Unavailable(f"the log's server cannot be reached: {error}") from error
            except redis.exceptions.NoPermissionError as error:
                raise Forbidden(f"the log's server refuses this user: {error}") from error
            except redis.exceptions.ReadOnlyError as error:
                raise Unavailable(f"the log's server is a read-only replica: {error}") from error
            except redis.exceptions.OutOfMemoryError as error:
                raise Forbidden(f"the log's server is out of memory: {error}") from error
            except redis.exceptions.ResponseError as error:
                if "MISCONF" in str(error):
                    raise Forbidden(f"the log's server cannot write to its disk: {error}") from error
                raise Unavailable(f"the log's server refuses: {error}") from error
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 0.5)


def _entry(found: list[Any]) -> Entry:
    identifier, fields = found
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    return Entry(
        position_of(identifier),
        named[b"key"].decode(),
        named[b"type"].decode(),
        position_of(named[b"after"]),
        named[b"data"],
    )
