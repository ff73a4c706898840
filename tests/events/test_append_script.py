"""What the append script must do by itself, whatever the clocks say and whoever calls it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from events.keys import heads_key, log_key
from events.log import MAX_EVENTS, Appended, Batch, Draft
from events.memory import wall_clock
from events.redis_log import RedisLog
from schemas.errors import BadRequest
from schemas.positions import MAX_SEQUENCE, position_of
from tests.servers import fake_client

FUTURE = 4_000_000_000_000


@pytest.fixture(params=["fakeredis", pytest.param("server", marks=pytest.mark.server)])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    client = fake_client() if request.param == "fakeredis" else request.getfixturevalue("server").client()
    client.flushall()
    yield client
    client.close()


def a_log_that_ends_at(stream_id: str, client: redis.Redis) -> RedisLog:
    """A log whose last entry was written when the server's clock was ahead of what it is now."""
    log = RedisLog(client, "test", patience=0.5)
    log.create()
    client.xadd(log_key("test"), {"key": "k", "type": "T", "after": "0-0", "data": b"x"}, id=stream_id)
    client.hset(heads_key("test"), "tail", stream_id)
    return log


def append(log: RedisLog, count: int, data: bytes = b"x") -> Appended:
    drafts = tuple(Draft(f"k{number}", "T", data, False) for number in range(count))
    return log.append(Batch(drafts, {}, (), "c1", "d", wall_clock()))


def test_a_clock_that_has_stepped_back_does_not_take_positions_back(client: redis.Redis) -> None:
    done = append(a_log_that_ends_at(f"{FUTURE}-5", client), 2)
    assert (done.first, done.last) == (position_of(f"{FUTURE}-6"), position_of(f"{FUTURE}-7"))


def test_a_batch_that_would_split_over_a_millisecond_moves_to_the_next(client: redis.Redis) -> None:
    done = append(a_log_that_ends_at(f"{FUTURE}-{MAX_SEQUENCE - 1}", client), 5)
    assert (done.first, done.last) == (position_of(f"{FUTURE + 1}-0"), position_of(f"{FUTURE + 1}-4"))


@pytest.mark.parametrize(("count", "data"), [(MAX_EVENTS + 1, b"x"), (5, b"x" * 1_000_000)])
def test_the_limits_hold_for_callers_that_do_not_check_them(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, count: int, data: bytes
) -> None:
    monkeypatch.setattr("events.appending.check_limits", lambda batch: None)
    log = RedisLog(client, "test", patience=0.5)
    log.create()
    end = log.last()
    with pytest.raises(BadRequest, match="more than"):
        append(log, count, data)
    assert log.last() == end and len(log.read(0, 10)) == 1
