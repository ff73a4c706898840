"""Who leads, who is alive, and how long the queue's data has existed: small keys with a TTL.

Of several dispatchers one is active. It holds a lease of a few seconds; when it dies, another takes over. Two active
ones for a moment are harmless (hints are idempotent), so no fencing is needed here: the log's heads and guards fence.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import redis

from schemas.times import Milliseconds
from services.broker.errors import reaching_the_queue
from services.broker.keys import Keys

LEADER_TTL_MS = 3_000
"""Takeover after a leader's death takes at most this (DESIGN.md: <= 3 s). Renew at least every third of it."""

RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""

RENEW_NODE = """
local held = redis.call('GET', KEYS[2])
if held and held ~= ARGV[3] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
return ''
"""


class Lease:
    """Leadership by name. `holder` is for people (`host:pid`); a random token makes each `Lease` its own owner."""

    def __init__(self, client: redis.Redis, key: str, holder: str, ttl_ms: int = LEADER_TTL_MS) -> None:
        self._client = client
        self._key = key
        self._value = f"{holder} {secrets.token_hex(8)}"
        self._ttl_ms = ttl_ms
        self._renew = client.register_script(RENEW)
        self._release = client.register_script(RELEASE)

    @reaching_the_queue()
    def acquire(self) -> bool:
        """Take the lease if it is free, or renew it if it is ours. Returns whether we hold it now."""
        if self._client.set(self._key, self._value, nx=True, px=self._ttl_ms):
            return True
        return self.renew()

    @reaching_the_queue()
    def renew(self) -> bool:
        """Extend the lease by its TTL from now. False when it has expired or is another's: stop leading."""
        return bool(self._renew(keys=[self._key], args=[self._value, self._ttl_ms]))

    @reaching_the_queue()
    def release(self) -> bool:
        """Give the lease up, so that a takeover need not wait for the TTL. False when it was not ours."""
        return bool(self._release(keys=[self._key], args=[self._value]))

    @reaching_the_queue()
    def holder(self) -> str | None:
        """Return who holds the lease now (its `holder` text), or None."""
        value = self._client.get(self._key)
        return None if value is None else _text(value).rpartition(" ")[0]


@reaching_the_queue()
def queue_epoch(client: redis.Redis, keys: Keys) -> str:
    """Return the random value that lives as long as the queue's data; made here when missing.

    A dispatcher that sees another value than before knows that the queue was restarted empty (or flushed): every
    waiting mark, timer and message is lost, so it marks every key dirty.
    """
    while (value := client.get(keys.epoch)) is None:
        client.set(keys.epoch, secrets.token_hex(16), nx=True)
    return _text(value)


@reaching_the_queue()
def queue_uptime(client: redis.Redis) -> Milliseconds:
    """Return how long the queue's server has been up, in milliseconds (whole seconds).

    A missing heartbeat counts only after a whole grace period of it: while the server was down nobody could write one.
    """
    return int(client.info("server")["uptime_in_seconds"]) * 1000


@reaching_the_queue()
def heard_for(client: redis.Redis, keys: Keys) -> Milliseconds:
    """Return how long heartbeats could have been written without a break, in milliseconds.

    Not longer than the server is up, and not longer than its data is there: a queue that was flushed, or replaced by
    an empty replica, is as new as one that was restarted.
    """
    seconds, microseconds = client.time()
    now = int(seconds) * 1000 + int(microseconds) // 1000
    client.set(keys.since, now, nx=True)
    return min(queue_uptime(client), now - int(client.get(keys.since) or now))


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """Liveness of nodes. Not history: a node that stops writing has no key after `ttl_ms`."""

    client: redis.Redis
    keys: Keys
    ttl_ms: int = 40_000

    @reaching_the_queue()
    def write(self, nodes: Sequence[str], now: Milliseconds) -> None:
        """Say that these nodes are alive at `now`; one round trip however many (simulated agents share a process)."""
        with self.client.pipeline(transaction=False) as pipeline:
            for node in nodes:
                pipeline.set(self.keys.heartbeat(node), now, px=self.ttl_ms)
            pipeline.execute()

    @reaching_the_queue()
    def renew(self, node: str, holder: str, now: Milliseconds) -> str:
        """Say that a node is alive at `now`, as `holder`. Returns another that holds it; empty: it is ours."""
        keys = [self.keys.heartbeat(node), self.keys.holder(node)]
        other = self.client.eval(RENEW_NODE, 2, *keys, now, self.ttl_ms, holder)
        return _text(other)

    @reaching_the_queue()
    def holder(self, node: str) -> str:
        """Return which agent is the node; empty where none was heard within the TTL."""
        return _text(self.client.get(self.keys.holder(node)) or "")

    @reaching_the_queue()
    def read(self, nodes: Sequence[str]) -> dict[str, Milliseconds]:
        """Return node -> when it last wrote; a node whose heartbeat is missing is absent."""
        if not nodes:
            return {}
        values = self.client.mget([self.keys.heartbeat(node) for node in nodes])
        return {node: int(value) for node, value in zip(nodes, values, strict=True) if value is not None}

    @reaching_the_queue()
    def sentence(self, controller: str, key: str) -> str:
        """Return what a key waits for, behind the position as of which that is so; empty where for nothing."""
        found = self.client.hget(self.keys.sentences, f"{controller}/{key}")
        return "" if found is None else _text(found)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
