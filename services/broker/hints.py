"""Dirty keys: which (controller, key) wants to be looked at, each at most once in the queue and once at work.

The semantics are those of client-go's workqueue, over Redis: marking a key that already waits does nothing; marking one
that runs makes it run once more afterwards; it never runs twice at a time.

Why no wake-up is lost, and no key is wedged, whatever dies:

* A waiting mark is the stream id of the key's message, and the newest position that it was set for. It counts only
  while that message is in the stream. If the message was flushed, given up as a dead letter or lost with the server,
  the next mark enqueues a new one. (An expiry would do the same later, and would duplicate messages in a backlog.)
* Whoever runs a key still holds an unacknowledged message of it, and the run's lease ends before that message can be
  claimed (`RUN_TTL_MS` + a renewal < `CLAIM_AFTER_MS`). So when a worker dies, its message returns after its lease has
  gone, and the key runs; an `again` left by others meanwhile is covered by that run.
* Should the run end without its message (the server was away just then), `due` finds the orphaned `again` and marks it.
* Running twice is harmless anyway (the log's guards), and the dispatcher marks every key dirty now and then.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
import redis
import structlog

from events.ids import random_uid
from events.lines import Line, Part, script_of
from schemas.positions import Position, position_of, stream_id_of
from schemas.times import Milliseconds
from services.broker.errors import reaching_the_queue
from services.broker.keys import Keys
from services.broker.repeaters import Repeater
from services.broker.scripts import NOW

RUN_TTL_MS = 2_000
"""Lease of a running key; renewed every quarter of it. Must end before `streams.CLAIM_AFTER_MS` does."""

_UNKNOWN = b"?"
_UNSAID = "="
"""In the place of a sentence: what is said of a key stays as it is."""
BATCH = 500
"""Keys marked by one Lua call: some 2 ms of the server's time."""

_MARK_ONE = """
local function newest(one, other)
  if one == '?' or other == '?' then return '?' end
  if #one ~= #other then return #one > #other and one or other end
  return one > other and one or other
end
local function mark(stream, marks, hint, payload, position)
  local found = redis.call('HGET', marks, hint)
  local id, known = string.match(found or '', '^(%S+) (%S+)$')
  if id and #redis.call('XRANGE', stream, id, id) > 0 then
    local told = newest(known, position)
    if told ~= known then redis.call('HSET', marks, hint, id .. ' ' .. told) end
    return 0
  end
  redis.call('HSET', marks, hint, redis.call('XADD', stream, '*', 'message', payload) .. ' ' .. position)
  return 1
end
"""

_RUNS = """
local function runs(running, hint, now)
  local holder = redis.call('HGET', running, hint)
  return holder and tonumber(string.match(holder, '%d+$')) > now and string.match(holder, '^%S+')
end
"""

MARK = script_of(
    _MARK_ONE
    + """
local enqueued = 0
for i = 2, #ARGV, 2 do
  enqueued = enqueued + mark(KEYS[1], KEYS[2], ARGV[i], ARGV[i + 1], ARGV[1])
end
return enqueued
"""
)

RENEW = script_of(
    NOW
    + _RUNS
    + """
for i = 2, #ARGV, 2 do
  if runs(KEYS[1], ARGV[i], now) == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. string.format('%.0f', now + ARGV[1]))
  end
end
"""
)

TURN = script_of(
    NOW
    + _RUNS
    + _MARK_ONE
    + """
local first, enqueued = 4 + 5 * ARGV[3], 0
for i = 4, first - 1, 5 do
  local hint, token, payload, sentence, due = unpack(ARGV, i, i + 4)
  if sentence == '' then
    redis.call('HDEL', KEYS[5], hint)
  elseif sentence ~= '=' then
    redis.call('HSET', KEYS[5], hint, sentence)
  end
  if due ~= '' then redis.call('ZADD', KEYS[6], 'LT', due, hint) end
  local holder = runs(KEYS[3], hint, now)
  if not holder or holder == token then
    redis.call('HDEL', KEYS[3], hint)
    if redis.call('SREM', KEYS[4], hint) == 1 then
      enqueued = enqueued + mark(KEYS[1], KEYS[2], hint, payload, '?')
    end
  end
end
local lease, answer = ARGV[1] .. ' ' .. string.format('%.0f', now + ARGV[2]), {enqueued}
for i = first, #ARGV do
  local waiting = redis.call('HGET', KEYS[2], ARGV[i])
  redis.call('HDEL', KEYS[2], ARGV[i])
  if runs(KEYS[3], ARGV[i], now) then
    redis.call('SADD', KEYS[4], ARGV[i])
    answer[#answer + 1] = false
  else
    redis.call('HSET', KEYS[3], ARGV[i], lease)
    redis.call('SREM', KEYS[4], ARGV[i])
    answer[#answer + 1] = string.match(waiting or '', ' (%S+)$') or '0'
  end
end
return answer
"""
)
"""Ends some runs, then begins others: a worker goes from one to the next in one round trip."""

LIST_DUE = script_of(
    NOW
    + _RUNS
    + """
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, hint in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  if not runs(KEYS[2], hint, now) then found[#found + 1] = hint end
end
return found
"""
)

MARK_DUE = script_of(
    _MARK_ONE
    + """
for i = 2, #ARGV, 2 do
  local hint, at = ARGV[i], redis.call('ZSCORE', KEYS[3], ARGV[i])
  local is_due = at and tonumber(at) <= tonumber(ARGV[1])
  if is_due then redis.call('ZREM', KEYS[3], hint) end
  if redis.call('SREM', KEYS[4], hint) == 1 or is_due then mark(KEYS[1], KEYS[2], hint, ARGV[i + 1], '?') end
end
local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
return {first[2] or false, redis.call('SCARD', KEYS[4])}
"""
)

_log = structlog.get_logger("chronoset.hints")


class Hint(NamedTuple):
    """A key of a controller that wants to be looked at: `Hint("statefulset", "default/web")`."""

    controller: str
    key: str

    def __str__(self) -> str:
        return f"{self.controller}/{self.key}"


@dataclass(frozen=True, slots=True)
class Run:
    """The right to reconcile one key now. `token` names its holder; hand it back with `Hints.release`.

    Whoever has read the log as far as `position` has seen all that the key was marked for. None: nobody knows how far.
    """

    hint: Hint
    token: str
    position: Position | None


@dataclass(frozen=True, slots=True)
class Due:
    """What `Hints.due` marked, and the millisecond at which to call it again (None: when a timer is set)."""

    marked: tuple[Hint, ...]
    next: Milliseconds | None


@dataclass(frozen=True, slots=True)
class Sentence:
    """What a key waits for, as of a position in the log; at `due` it wants to be looked at whatever happens."""

    text: str
    position: Position
    due: Milliseconds | None = None


NOBODY: Mapping[Run, Sentence | None] = MappingProxyType({})
"""No run that ends."""


class Hints:
    """Marks, takes and releases dirty keys; timers; what each key waits for.

    Messages go to the actor `actor_name` on `queue_name` with the arguments (controller, key); they bypass the broker's
    enqueue middleware, since mark and message are one Lua call. Every method raises `Unavailable` when Redis fails.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        *,
        queue_name: str = "hints",
        actor_name: str = "reconcile",
        run_ttl_ms: int = RUN_TTL_MS,
    ) -> None:
        self._client = client
        self._keys = keys
        self._queue_name = queue_name
        self._actor_name = actor_name
        self._run_ttl_ms = run_ttl_ms
        self._stream = keys.queue(queue_name)
        self._line = Line(client)
        self._renewing = Line(client)
        self._held: set[Run] = set()
        self._lock = threading.Lock()
        self._renewal = Repeater("hints-renewal", run_ttl_ms // 4, self._renew_held)

    def mark(self, controller: str, key: str, position: Position | None = None) -> bool:
        """Say that a key is dirty. Returns whether a message was enqueued (False: it was waiting already)."""
        return self.mark_many([Hint(controller, key)], position) == 1

    @reaching_the_queue()
    def mark_many(self, hints: Iterable[tuple[str, str]], position: Position | None = None) -> int:
        """Mark many (controller, key) dirty, 500 a round trip. Returns how many messages were enqueued.

        `position` is that of the newest event that made them so, where it is known.
        """
        told = _UNKNOWN if position is None else position
        enqueued = 0
        remaining = iter(hints)
        while batch := [Hint(*hint) for hint in islice(remaining, BATCH)]:
            keys = [self._stream, self._keys.waiting_marks]
            enqueued += int(self._line.run(MARK, keys, [told, *self._with_payloads(batch)]))
        return enqueued

    @reaching_the_queue()
    def take(
        self,
        hints: Sequence[tuple[str, str]],
        meanwhile: Callable[[], object] = lambda: None,
        ended: Mapping[Run, Sentence | None] = NOBODY,
    ) -> list[Run]:
        """Begin to work on some keys, each given once: they no longer wait, and run until `release`.

        Returns the runs of those that do not run elsewhere; the others will run once more after that, and their message
        is done. A mark set from now on brings another run; so read the log after this call, or in advance if as far as
        the runs' positions: `meanwhile` is called while the queue's server works, and should not raise. The runs of
        `ended` are released before, in the same round trip.
        """
        wanted, token = [Hint(*hint) for hint in hints], secrets.token_hex(8)
        answer = self._line.begin(TURN, *self._turn(ended, token, wanted))
        try:
            meanwhile()
        finally:
            _enqueued, *positions = answer()
        runs = [
            Run(hint, token, None if position == _UNKNOWN else int(position))
            for hint, position in zip(wanted, positions, strict=True)
            if position is not None
        ]
        with self._lock:
            self._held.update(runs)
        self._renewal.start()
        return runs

    @reaching_the_queue()
    def release(self, said: Mapping[Run, Sentence | None]) -> int:
        """End runs; call it whatever the outcome. Returns how many keys were enqueued again (marked meanwhile).

        A sentence is kept where it has a text, and its time as by `at`; None leaves what was said before.
        """
        return int(self._line.run(TURN, *self._turn(said))[0])

    @reaching_the_queue()
    def at(self, hints: Iterable[tuple[str, str]], ms: Milliseconds) -> None:
        """Ask for a look at some (controller, key) at `ms` (since 1970, the clock that `due` is called with).

        In one round trip; the earliest time of each wins.
        """
        scores = [part for hint in hints for part in (ms, str(Hint(*hint)))]
        if scores:
            self._line.call("ZADD", self._keys.timers, "LT", *scores)

    @reaching_the_queue()
    def due(self, now: Milliseconds) -> Due:
        """Mark the keys whose timer has come; timer and mark change in one Lua call, so a crash loses neither.

        Also marks keys that wait for a run which ended without releasing. At most 500 timers a call (then `next` is not
        later than `now`).
        """
        keys = self._keys
        found = self._line.run(LIST_DUE, [keys.timers, keys.running, keys.again], [now, BATCH])
        hints = [_hint_of(name) for name in dict.fromkeys(found)]
        first, running_again = self._line.run(
            MARK_DUE,
            [self._stream, keys.waiting_marks, keys.timers, keys.again],
            [now, *self._with_payloads(hints)],
        )
        candidates = [] if first is None else [int(float(first))]
        if running_again:
            candidates.append(now + self._run_ttl_ms)
        return Due(tuple(hints), min(candidates, default=None))

    @reaching_the_queue()
    def sentences(self) -> dict[Hint, Sentence]:
        """Return what every key waits for; keys that wait for nothing are absent."""
        stored: Any = self._client.hgetall(self._keys.sentences)
        return {_hint_of(name): _sentence_of(value) for name, value in stored.items()}

    def close(self) -> None:
        """End the thread that renews runs. Runs not released end by themselves within their TTL."""
        self._renewal.stop()
        self._line.close()
        self._renewing.close()

    def _turn(
        self, ended: Mapping[Run, Sentence | None], token: str = "", wanted: Sequence[Hint] = ()
    ) -> tuple[list[Part], list[Part]]:
        """Return the keys and arguments of `TURN`. Runs that end are renewed no more, whatever comes of it."""
        with self._lock:
            self._held.difference_update(ended)
        keys = self._keys
        args: list[Part] = [token, self._run_ttl_ms, len(ended)]
        for run, sentence in ended.items():
            said = _UNSAID if sentence is None else _value_of(sentence)
            due = "" if sentence is None or sentence.due is None else sentence.due
            args += (str(run.hint), run.token, self._payload(run.hint), said, due)
        stores: list[Part] = [self._stream, keys.waiting_marks, keys.running, keys.again, keys.sentences]
        return [*stores, keys.timers], [*args, *map(str, wanted)]

    def _renew_held(self) -> None:
        with self._lock:
            held = [part for run in self._held for part in (str(run.hint), run.token)]
        if not held:
            return
        try:
            self._renewing.run(RENEW, [self._keys.running], [self._run_ttl_ms, *held])
        except redis.RedisError as error:
            _log.warning("running keys could not be renewed", keys=held[::2], error=str(error))

    def _payload(self, hint: Hint) -> bytes:
        """Return a message as dramatiq's encoder writes it; made by that, it would cost a look's take and release."""
        return orjson.dumps(
            {
                "queue_name": self._queue_name,
                "actor_name": self._actor_name,
                "args": [hint.controller, hint.key],
                "kwargs": {},
                "options": {},
                "message_id": random_uid(),
                "message_timestamp": time.time_ns() // 1_000_000,
            }
        )

    def _with_payloads(self, hints: Iterable[Hint]) -> list[str | bytes]:
        return [part for hint in hints for part in (str(hint), self._payload(hint))]


def _hint_of(name: bytes) -> Hint:
    controller, _, key = name.decode().partition("/")
    return Hint(controller, key)


def _value_of(sentence: Sentence) -> str:
    return f"{stream_id_of(sentence.position)} {sentence.text}" if sentence.text else ""


def _sentence_of(value: bytes) -> Sentence:
    stream_id, _, text = value.decode().partition(" ")
    return Sentence(text, position_of(stream_id))
