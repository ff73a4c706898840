"""Leaders, the queue's epoch, and heartbeats."""

from __future__ import annotations

import pytest
import redis

from services.broker.keys import Keys
from services.broker.leases import Heartbeats, Lease, queue_epoch, queue_uptime
from tests.servers import Server
from tests.services.broker.workers import eventually


def a_lease(client: redis.Redis, holder: str, ttl_ms: int = 10_000) -> Lease:
    """Return a lease on one name."""
    return Lease(client, Keys("c").lease("dispatcher"), holder, ttl_ms)


def test_of_two_candidates_one_leads(client: redis.Redis) -> None:
    first, second = a_lease(client, "h1:1"), a_lease(client, "h1:2")
    assert (first.acquire(), second.acquire()) == (True, False)
    assert first.acquire()
    assert second.holder() == "h1:1"


def test_a_lease_that_is_not_renewed_is_taken_over(client: redis.Redis) -> None:
    dead, standby = a_lease(client, "dead", ttl_ms=100), a_lease(client, "standby")
    assert dead.acquire()
    eventually(standby.acquire, seconds=2)
    assert not dead.renew()
    assert not dead.release()
    assert standby.holder() == "standby"


def test_a_lease_renewed_lasts_longer(client: redis.Redis) -> None:
    short, standby = a_lease(client, "h", ttl_ms=10_000), a_lease(client, "standby")
    assert short.acquire()
    client.pexpire(Keys("c").lease("dispatcher"), 50)
    assert short.renew()
    remaining = client.pttl(Keys("c").lease("dispatcher"))
    assert isinstance(remaining, int) and remaining > 5_000
    assert not standby.acquire()


def test_a_lease_given_up_is_free_at_once(client: redis.Redis) -> None:
    first, second = a_lease(client, "h"), a_lease(client, "h")
    assert first.acquire()
    assert first.release()
    assert first.holder() is None
    assert second.acquire()
    assert not first.renew()


def test_the_epoch_stays_until_the_queue_is_emptied(client: redis.Redis, keys: Keys) -> None:
    epoch = queue_epoch(client, keys)
    assert queue_epoch(client, keys) == epoch
    client.flushall()
    assert queue_epoch(client, keys) != epoch


def test_heartbeats_tell_when_and_vanish_with_time(client: redis.Redis, keys: Keys) -> None:
    heartbeats = Heartbeats(client, keys, ttl_ms=200)
    heartbeats.write(["n1", "n2"], 1_000)
    assert heartbeats.read(["n1", "n2", "n3"]) == {"n1": 1_000, "n2": 1_000}
    assert heartbeats.read([]) == {}
    eventually(lambda: heartbeats.read(["n1", "n2"]) == {}, seconds=2)


@pytest.mark.server
def test_the_uptime_of_a_server_just_started_is_short(shared_server: Server) -> None:
    with shared_server.client() as client:
        assert 0 <= queue_uptime(client) < 600_000
