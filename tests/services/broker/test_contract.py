"""What every dramatiq broker promises: the same tests on dramatiq's StubBroker, on a fake and on a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from dramatiq import Broker, Message
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import QueueJoinTimeout, QueueNotFound

from services.broker.keys import Keys
from services.broker.streams import StreamsBroker
from tests.servers import fake_client
from tests.services.broker.workers import a_broker, an_actor, quick_retries, working


@pytest.fixture(params=["stub", "fake", pytest.param("server", marks=pytest.mark.server)])
def broker(request: pytest.FixtureRequest, keys: Keys) -> Iterator[Broker]:
    """One broker after the other, each empty."""
    match request.param:
        case "stub":
            yield StubBroker(middleware=[*quick_retries()], fail_fast_default=False)
        case "fake":
            yield a_broker(fake_client(), keys)
        case _:
            with request.getfixturevalue("shared_server").client() as client:
                client.flushall()
                yield a_broker(client, keys)


def dead_arguments(broker: Broker) -> list[tuple[object, ...]]:
    """Return the arguments of the messages that were given up."""
    if isinstance(broker, StubBroker):
        return [message.args for message in broker.dead_letters]
    assert isinstance(broker, StreamsBroker)
    return [Message.decode(letter.message).args for letter in broker.dead_letters("jobs")]


def test_a_message_reaches_its_actor_once_with_its_arguments(broker: Broker) -> None:
    seen: list[tuple[int, str]] = []
    work = an_actor(broker, lambda number, text: seen.append((number, text)))
    with working(broker):
        work.send(1, "a")
        work.send(2, text="b")
        broker.join("jobs", timeout=5_000)
    assert seen == [(1, "a"), (2, "b")]


def test_messages_sent_before_a_worker_starts_are_delivered_in_order(broker: Broker) -> None:
    seen: list[int] = []
    work = an_actor(broker, seen.append)
    for number in range(20):
        work.send(number)
    with working(broker):
        broker.join("jobs", timeout=5_000)
    assert seen == list(range(20))


def test_an_acknowledged_message_is_not_delivered_again(broker: Broker) -> None:
    seen: list[int] = []
    work = an_actor(broker, seen.append)
    work.send(1)
    with working(broker):
        broker.join("jobs", timeout=5_000)
    work.send(2)
    with working(broker):
        broker.join("jobs", timeout=5_000)
    assert seen == [1, 2]


def test_an_actor_that_fails_is_retried_until_it_succeeds(broker: Broker) -> None:
    attempts: list[int] = []

    def fails_twice(number: int) -> None:
        attempts.append(number)
        if len(attempts) < 3:
            raise ValueError("not yet")

    work = an_actor(broker, fails_twice)
    with working(broker):
        work.send(7)
        broker.join("jobs", timeout=5_000)
    assert attempts == [7, 7, 7]
    assert dead_arguments(broker) == []


def test_an_actor_that_always_fails_leaves_a_dead_letter(broker: Broker) -> None:
    attempts: list[int] = []

    def fails(number: int) -> None:
        attempts.append(number)
        raise ValueError("never")

    work = an_actor(broker, fails)
    with working(broker):
        work.send(7)
        broker.join("jobs", timeout=5_000)
    assert attempts == [7, 7, 7]
    assert dead_arguments(broker) == [(7,)]


def test_a_message_for_an_unknown_actor_is_a_dead_letter_and_stops_nobody(broker: Broker) -> None:
    seen: list[int] = []
    work = an_actor(broker, seen.append)
    broker.enqueue(Message("jobs", "nobody", (1,), {}, {}))
    work.send(2)
    with working(broker):
        broker.join("jobs", timeout=5_000)
    assert dead_arguments(broker) == [(1,)]
    assert seen == [2]


def test_a_delayed_message_is_not_delivered_early(broker: Broker) -> None:
    seen: list[float] = []
    work = an_actor(broker, lambda: seen.append(time.monotonic()))
    with working(broker):
        sent = time.monotonic()
        work.send_with_options(delay=150)
        broker.join("jobs", timeout=5_000)
    assert len(seen) == 1
    assert 0.149 <= seen[0] - sent < 2


def test_two_workers_threads_share_the_messages_and_none_is_lost(broker: Broker) -> None:
    seen: list[int] = []
    work = an_actor(broker, seen.append)
    for number in range(100):
        work.send(number)
    with working(broker, threads=2):
        broker.join("jobs", timeout=10_000)
    assert sorted(seen) == list(range(100))


def test_a_message_sent_by_an_actor_is_delivered_too(broker: Broker) -> None:
    seen: list[int] = []

    def count_down(number: int) -> None:
        seen.append(number)
        if number:
            broker.enqueue(Message("jobs", "work", (number - 1,), {}, {}))

    work = an_actor(broker, count_down)
    with working(broker):
        work.send(3)
        broker.join("jobs", timeout=5_000)
    assert seen == [3, 2, 1, 0]


def test_flush_drops_what_waits(broker: Broker) -> None:
    seen: list[int] = []
    work = an_actor(broker, seen.append)
    work.send(1)
    broker.flush("jobs")
    work.send(2)
    with working(broker):
        broker.join("jobs", timeout=5_000)
    assert seen == [2]


def test_join_gives_up_after_its_timeout(broker: Broker) -> None:
    free = threading.Event()
    work = an_actor(broker, lambda: bool(free.wait(10)) and None)
    with working(broker):
        work.send()
        with pytest.raises(QueueJoinTimeout):
            broker.join("jobs", timeout=100)
        free.set()
        broker.join("jobs", timeout=5_000)


def test_an_undeclared_queue_is_refused(broker: Broker) -> None:
    with pytest.raises(QueueNotFound):
        broker.enqueue(Message("nowhere", "work", (), {}, {}))
    with pytest.raises(QueueNotFound):
        broker.consume("nowhere")
