"""A dramatiq broker over Redis streams: XREADGROUP BLOCK, so that an idle hop costs under a millisecond.

The stock Redis broker sleeps with back-off when idle, gives a crashed worker's messages back after a minute and
requeues poison for ever. Here a consumer blocks on the server; a message is pending until it is acknowledged (then
deleted); live workers renew theirs, and one not renewed for `CLAIM_AFTER_MS` is taken over by another worker;
delivered too often, it becomes a dead letter, kept in a capped stream with its error.

No time is wasted on waiting: a blocking read ends when the next delayed message is due. A message delayed to earlier
than all others wakes one reader to say so.

Where messages wait in line, those to one actor may be taken together (`Limits.together`): they are one call of it,
whose arguments are theirs, one after the other. Each keeps its own entry, and is settled and renewed by that.

A consumer outlives its server: it reconnects with jittered back-off, and creates the group again on a server that came
back empty. Acknowledgements that could not be sent are sent first after that.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
import structlog
from dramatiq import Broker, Consumer, Message, MessageProxy, Middleware
from dramatiq.common import compute_backoff
from dramatiq.errors import ConnectionClosed, DecodeError, QueueJoinTimeout, QueueNotFound

from events.lines import Line
from services.broker import scripts
from services.broker.keys import Keys
from services.broker.repeaters import Repeater
from services.broker.scripts import GROUP

CLAIM_AFTER_MS = 4_000
"""A message not renewed for this long is another worker's."""

RENEWALS = 4
"""How often in that time live workers renew their messages, and look for those of dead ones."""

FORGET_AFTER_MS = 600_000
"""Consumers that left nothing behind and were not heard of for this long are removed from the group."""

MAX_TRACEBACK = 8_192

_log = structlog.get_logger("chronoset.broker")

Fields = dict[bytes, bytes]
Entry = tuple[str, Fields]


@dataclass(frozen=True, slots=True)
class Limits:
    """How a queue is consumed.

    `prefetch`: deliveries a consumer holds at a time (make it the number of worker threads); `together`: messages that
    may be one delivery; `claim_after_ms`: see `CLAIM_AFTER_MS`; `max_deliveries`: workers that may die with a message;
    `max_dead`: dead letters kept a queue.
    """

    prefetch: int = 1
    together: int = 1
    claim_after_ms: int = CLAIM_AFTER_MS
    max_deliveries: int = 3
    max_dead: int = 1_000


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages of a queue wait for a worker, are with one, are delayed, and were given up."""

    ready: int
    pending: int
    delayed: int
    dead: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message given up: its dead-letter stream id, the encoded message, and why."""

    stream_id: str
    message: bytes
    error: str
    traceback: str


class StreamsBroker(Broker):
    """Messages of one cluster's queues. Constructed in wiring; does no I/O until it is used and starts no thread.

    `client` speaks RESP2 and returns bytes. It is shared: a blocking read has a connection of its pool to itself. Its
    `socket_timeout` bounds how long a read blocks, and should exceed a second.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        *,
        middleware: list[Middleware] | None = None,
        limits: Limits = Limits(),
    ) -> None:
        super().__init__(middleware=middleware)
        self.client = client
        self.keys = keys
        self.limits = limits
        self.queues: dict[str, None] = {}
        self._delay = client.register_script(scripts.DELAY.text)
        self._flush = client.register_script(scripts.FLUSH.text)

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue; harmless when declared. Delays need no queue of their own."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5_000) -> Consumer:
        """Return a consumer that blocks at most `timeout` ms a read. Raises QueueNotFound."""
        self._check(queue_name)
        return _StreamsConsumer(self, queue_name, min(prefetch, self.limits.prefetch), timeout)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Append a message to its queue, or keep it back for `delay` ms first.

        Raises QueueNotFound, and ConnectionClosed when Redis fails (the message may or may not be enqueued then).
        """
        self._check(message.queue_name)
        message = message.copy()
        stream = self.keys.queue(message.queue_name)
        self.emit_before("enqueue", message, delay)
        try:
            if delay:
                delayed = self.keys.delayed(message.queue_name)
                self._delay(keys=[delayed, stream], args=[message.encode(), delay])
            else:
                self.client.xadd(stream, {"message": message.encode()})
        except redis.RedisError as error:
            raise ConnectionClosed(str(error)) from error  # type: ignore[no-untyped-call]
        self.emit_after("enqueue", message, delay)
        return message

    def flush(self, queue_name: str) -> None:
        """Drop all messages of a queue, delayed and pending ones too; dead letters stay."""
        self._check(queue_name)
        keys = [self.keys.queue(queue_name), self.keys.delayed(queue_name)]
        self._flush(keys=keys, args=[GROUP])

    def flush_all(self) -> None:
        """Drop all messages of all declared queues; dead letters stay."""
        for queue_name in self.queues:
            self.flush(queue_name)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until a queue holds nothing (for tests; polls). Raises QueueJoinTimeout after `timeout` ms."""
        self._check(queue_name)
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        while (depth := self.depth(queue_name)).ready + depth.pending + depth.delayed:
            if deadline is not None and time.monotonic() >= deadline:
                raise QueueJoinTimeout(queue_name)  # type: ignore[no-untyped-call]
            time.sleep(0.01)

    def depth(self, queue_name: str) -> Depth:
        """Return how full a queue is, at one moment."""
        stream = self.keys.queue(queue_name)
        with self.client.pipeline(transaction=True) as pipeline:
            pipeline.xlen(stream)
            pipeline.zcard(self.keys.delayed(queue_name))
            pipeline.xlen(self.keys.dead(queue_name))
            pipeline.xpending(stream, GROUP)
            total, delayed, dead, summary = pipeline.execute(raise_on_error=False)
        pending = (
            0 if isinstance(summary, redis.ResponseError) else summary["pending"]
        )  # none: nobody consumed yet
        return Depth(total - pending, pending, delayed, dead)

    def dead_letters(self, queue_name: str, count: int = 100) -> list[DeadLetter]:
        """Return the newest dead letters of a queue, newest first."""
        entries: Any = self.client.xrevrange(self.keys.dead(queue_name), count=count)
        return [
            DeadLetter(
                id_.decode(), fields[b"message"], fields[b"error"].decode(), fields[b"traceback"].decode()
            )
            for id_, fields in entries
        ]

    def _check(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]


class _Delivery(MessageProxy):
    """Messages that are one call, by the ids of their entries, by which they are settled."""

    def __init__(self, parts: dict[str, Message[Any]]) -> None:
        messages = list(parts.values())
        args = tuple(arg for message in messages for arg in message.args)
        super().__init__(messages[0] if len(messages) == 1 else messages[0].copy(args=args))
        self.parts = parts

    def error(self) -> tuple[str, str]:
        """Return what went wrong, in a line and as a traceback; both may be empty."""
        if self._exception is None:
            return "", str(self.options.get("traceback") or "")
        trace = "".join(traceback.format_exception(self._exception))
        return f"{type(self._exception).__name__}: {self._exception}", trace


class _StreamsConsumer(Consumer):
    """One member of the group: its consumer thread reads, worker threads settle, a thread of its own renews."""

    def __init__(self, broker: StreamsBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._limits = broker.limits
        self._timeout = _longest_block_ms(broker.client, timeout)
        self._client = broker.client
        self._stream = broker.keys.queue(queue_name)
        self._delayed = broker.keys.delayed(queue_name)
        self._dead = broker.keys.dead(queue_name)
        self._reading = Line(broker.client)
        self._settling = Line(broker.client)
        self._slots = threading.Semaphore(prefetch)
        self._appetite = 1
        self._left_over: deque[tuple[str, Message[Any]]] = deque()
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._unsettled: deque[Callable[[], object]] = deque()
        self._promote_at = self._claim_at = 0.0
        self._failures = 0
        self._joined = False
        self._renewal = Repeater("broker-renewal", self._limits.claim_after_ms // RENEWALS, self._renew_held)
        self._renewal.start()

    def __next__(self) -> MessageProxy | None:
        """Return the next message, or None after `timeout` ms; never raises for a Redis that is away."""
        try:
            self._settle_again()
            delivery = self._next_delivery()
        except redis.ResponseError as error:
            if not self._rejoin():
                self._back_off(error)
            return None
        except redis.RedisError as error:
            self._back_off(error)
            return None
        if self._failures:
            _log.info("queue reached again", stream=self._stream, attempts=self._failures)
            self._failures = 0
        return delivery

    def ack(self, message: MessageProxy) -> None:
        """Delete a message that is done. While Redis is away the acknowledgement is kept, and sent when it is back."""
        ids = tuple(_delivered(message).parts)
        self._settle(ids, lambda: self._acknowledge(self._settling, ids))

    def nack(self, message: MessageProxy) -> None:
        """Move a message to the dead letters with the error that its actor raised."""
        delivery = _delivered(message)
        error, trace = delivery.error()

        def bury() -> None:
            for stream_id, part in delivery.parts.items():
                self._bury(stream_id, part.encode(), error, trace)

        self._settle(tuple(delivery.parts), bury)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give messages back that were not begun, at the end of the queue, as new deliveries."""
        for message in messages:
            self._settle_as_new(_delivered(message).parts)

    def close(self) -> None:
        """Leave the group. Messages still held stay pending, and are claimed by others when their time is up."""
        self._renewal.stop()
        try:
            self._settle_again()
            if self._left_over:
                self._settle_as_new(dict(self._left_over))
            self._settling.run(scripts.FORGET, [self._stream], [GROUP, self._name, FORGET_AFTER_MS])
        except redis.RedisError as error:
            _log.info("left the queue without a word", stream=self._stream, error=str(error))
        finally:
            self._reading.close()
            self._settling.close()

    def _next_delivery(self) -> MessageProxy | None:
        if time.monotonic() >= self._promote_at:
            self._promote_due()
        if not self._slots.acquire(timeout=self._patience_ms() / 1000):
            return None
        delivery = None
        try:
            if not self._left_over:
                entry = self._claim_stale()
                self._receive([entry] if entry else self._read())
            delivery = self._together()
        finally:
            if delivery is None:
                self._slots.release()
        return delivery

    def _promote_due(self) -> None:
        next_due = int(self._reading.run(scripts.PROMOTE, [self._delayed, self._stream], []))
        wait = self._timeout if next_due < 0 else min(next_due, self._timeout)
        self._promote_at = time.monotonic() + wait / 1000

    def _patience_ms(self) -> int:
        """How long to block: until something may be due. At least 1, since a BLOCK of 0 never ends."""
        return max(1, min(self._timeout, round((self._promote_at - time.monotonic()) * 1000)))

    def _claim_stale(self) -> Entry | None:
        now = time.monotonic()
        if now < self._claim_at:
            return None
        limits = self._limits
        given_up, entry = self._reading.run(
            scripts.CLAIM,
            [self._stream, self._dead],
            [GROUP, self._name, limits.claim_after_ms, limits.max_deliveries, limits.max_dead],
        )
        if given_up:
            _log.error(
                "messages given up, their workers died", stream=self._stream, dead=self._dead, count=given_up
            )
        if entry is None:
            self._claim_at = now + limits.claim_after_ms / 1000 / RENEWALS
            return None
        found = _entry_of(entry)
        _log.warning("took over a message whose worker went silent", stream=self._stream, id=found[0])
        return found

    def _read(self) -> list[Entry]:
        """Wait for messages; of those that wait in line take twice as many as the last time, up to the limit.

        Where few wait this leaves some to the other consumers.
        """
        if not self._joined:
            self._reading.run(scripts.FORGET, [self._stream], [GROUP, "", FORGET_AFTER_MS])
            self._joined = True
        options = ("COUNT", self._appetite, "BLOCK", self._patience_ms(), "STREAMS", self._stream, ">")
        reply = self._reading.call("XREADGROUP", "GROUP", GROUP, self._name, *options)
        entries = [_entry_of(found) for found in reply[0][1]] if reply else []
        had_enough = len(entries) < self._appetite
        self._appetite = 1 if had_enough else min(2 * self._appetite, self._limits.together)
        return entries

    def _receive(self, entries: Iterable[Entry]) -> None:
        """Keep the messages among some entries until they are delivered; what is none is settled at once."""
        for stream_id, fields in entries:
            if b"wake" in fields:
                self._promote_at = 0.0
                self._acknowledge(self._reading, [stream_id])
                continue
            payload = fields.get(b"message", b"")
            try:
                message: Message[Any] = Message.decode(payload)
            except DecodeError as error:
                self._bury(stream_id, payload, f"{error}: {error.error}", "")
                continue
            with self._lock:
                self._held.add(stream_id)
            self._left_over.append((stream_id, message))

    def _together(self) -> _Delivery | None:
        """Return the messages that are next, and may be one call; None where there are none."""
        parts: dict[str, Message[Any]] = {}
        while self._left_over and _may_join(parts, self._left_over[0][1]):
            stream_id, message = self._left_over.popleft()
            parts[stream_id] = message
        return _Delivery(parts) if parts else None

    def _acknowledge(self, line: Line, ids: Sequence[str]) -> None:
        line.run(scripts.ACKNOWLEDGE, [self._stream], [GROUP, *ids])

    def _settle(self, ids: Sequence[str], settlement: Callable[[], object]) -> None:
        """Settle a delivery now, or once Redis is back; either way its slot is free."""
        try:
            settlement()
        except redis.RedisError as error:
            self._unsettled.append(settlement)
            _log.warning("messages will be settled later", stream=self._stream, ids=ids, error=str(error))
        with self._lock:
            self._held.difference_update(ids)
        self._slots.release()

    def _settle_again(self) -> None:
        while self._unsettled:
            self._unsettled[0]()
            self._unsettled.popleft()

    def _settle_as_new(self, parts: dict[str, Message[Any]]) -> None:
        def give_back() -> None:
            with self._client.pipeline(transaction=True) as pipeline:
                for message in parts.values():
                    pipeline.xadd(self._stream, {"message": message.encode()})
                pipeline.xack(self._stream, GROUP, *parts)
                pipeline.xdel(self._stream, *parts)
                pipeline.execute()

        self._settle(tuple(parts), give_back)

    def _bury(self, stream_id: str, payload: bytes, error: str, trace: str) -> None:
        letter: dict[Any, Any] = {"error": error, "traceback": trace[-MAX_TRACEBACK:], "message": payload}
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xadd(self._dead, letter, maxlen=self._limits.max_dead, approximate=False)
            pipeline.xack(self._stream, GROUP, stream_id)
            pipeline.xdel(self._stream, stream_id)
            pipeline.execute()
        _log.error("message given up", stream=self._stream, dead=self._dead, id=stream_id, error=error)

    def _renew_held(self) -> None:
        with self._lock:
            held = tuple(self._held)
        if not held:
            return
        try:
            self._settling.run(scripts.RENEW, [self._stream], [GROUP, self._name, *held])
        except redis.RedisError as error:
            _log.warning("messages could not be renewed", stream=self._stream, ids=held, error=str(error))

    def _rejoin(self) -> bool:
        """Create the group if it is missing (a new queue, or a server that came back empty); says whether it was."""
        try:
            self._client.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except redis.RedisError:
            return False
        if self._joined:
            _log.warning("queue was gone; the server was restarted empty or flushed", stream=self._stream)
        return True

    def _back_off(self, error: redis.RedisError) -> None:
        if not self._failures:
            _log.warning("queue cannot be reached, trying again", stream=self._stream, error=str(error))
        self._failures, pause_ms = compute_backoff(self._failures, factor=20, max_backoff=1_000)
        time.sleep(pause_ms / 1000)


def _entry_of(found: Any) -> Entry:
    stream_id, fields = found
    return stream_id.decode(), dict(zip(fields[::2], fields[1::2], strict=True))


def _may_join(parts: dict[str, Message[Any]], message: Message[Any]) -> bool:
    """Say whether a message and those before it may be one call: of one actor, with arguments by place alone."""
    for first in parts.values():
        return first.actor_name == message.actor_name and not (
            first.kwargs or first.options or message.kwargs or message.options
        )
    return True


def _delivered(message: MessageProxy) -> _Delivery:
    if not isinstance(message, _Delivery):
        raise TypeError(f"{message!r} was not delivered by this broker")
    return message


def _longest_block_ms(client: redis.Redis, timeout_ms: int) -> int:
    """Return how long a read may block without the client taking the silence for a dead server."""
    socket_timeout: float | None = client.connection_pool.connection_kwargs.get("socket_timeout")
    return timeout_ms if socket_timeout is None else min(timeout_ms, round(socket_timeout * 800))
