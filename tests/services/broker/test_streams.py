"""What the streams broker promises beyond dramatiq's contract: claims, renewals, dead letters that tell why."""

from __future__ import annotations

import threading
import time

import redis
from dramatiq import Message

from services.broker.keys import Keys
from services.broker.scripts import GROUP
from services.broker.streams import Depth, Limits, StreamsBroker
from tests.services.broker.workers import a_broker, an_actor, eventually, working

VERY_QUICK = Limits(claim_after_ms=100)


def a_message(number: int) -> Message[None]:
    """Return a message for the actor `work` on the queue `jobs`."""
    return Message("jobs", "work", (number,), {}, {})


def a_declared_broker(client: redis.Redis, keys: Keys, limits: Limits = VERY_QUICK) -> StreamsBroker:
    """Return a broker that knows the queue `jobs` and claims very soon."""
    broker = a_broker(client, keys, limits)
    broker.declare_queue("jobs")
    return broker


def next_message(broker: StreamsBroker, seconds: float = 5) -> Message[None] | None:
    """Return the next message that a new consumer gets, as a worker would that dies at once: never settled."""
    consumer = broker.consume("jobs", timeout=20)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if (proxy := next(consumer)) is not None:
                return proxy.copy()
        return None
    finally:
        consumer.close()


def test_a_message_of_a_worker_that_went_silent_is_claimed_by_another(
    client: redis.Redis, keys: Keys
) -> None:
    broker = a_declared_broker(client, keys)
    broker.enqueue(a_message(1))
    assert (first := next_message(broker)) is not None
    assert broker.depth("jobs") == Depth(ready=0, pending=1, delayed=0, dead=0)
    assert next_message(broker) == first


def test_a_message_that_takes_long_is_not_claimed_while_its_worker_lives(
    client: redis.Redis, keys: Keys
) -> None:
    broker = a_declared_broker(client, keys, Limits(claim_after_ms=400))
    broker.enqueue(a_message(1))
    holder = broker.consume("jobs", timeout=20)
    while (held := next(holder)) is None:
        pass
    assert next_message(broker, seconds=1.2) is None
    holder.ack(held)
    holder.close()
    assert broker.depth("jobs") == Depth(0, 0, 0, 0)


def test_a_message_whose_workers_die_ends_as_a_dead_letter(client: redis.Redis, keys: Keys) -> None:
    """Three deliveries without an acknowledgement are enough: poison is never tried for ever."""
    broker = a_declared_broker(client, keys)
    broker.enqueue(poison := a_message(1))
    assert [next_message(broker) for _ in range(3)] == [poison] * 3
    assert next_message(broker, seconds=0.5) is None
    (letter,) = broker.dead_letters("jobs")
    assert Message.decode(letter.message) == poison
    assert letter.error == "delivered 3 times and never acknowledged: each of its workers died"
    assert broker.depth("jobs") == Depth(ready=0, pending=0, delayed=0, dead=1)


def test_a_dead_letter_tells_the_error_and_where_it_was_raised(client: redis.Redis, keys: Keys) -> None:
    broker = a_broker(client, keys)

    def divides_by_zero(number: int) -> None:
        raise ZeroDivisionError(f"{number} by nothing")

    work = an_actor(broker, divides_by_zero)
    with working(broker):
        work.send(7)
        broker.join("jobs", timeout=5_000)
    (letter,) = broker.dead_letters("jobs")
    assert letter.error == "ZeroDivisionError: 7 by nothing"
    assert "in divides_by_zero" in letter.traceback


def test_what_is_no_message_at_all_is_a_dead_letter_and_stops_nobody(client: redis.Redis, keys: Keys) -> None:
    broker = a_broker(client, keys)
    seen: list[int] = []
    work = an_actor(broker, seen.append)
    client.xadd(keys.queue("jobs"), {"message": b"\xff not json"})
    client.xadd(keys.queue("jobs"), {"other": b"fields"})
    work.send(1)
    with working(broker):
        broker.join("jobs", timeout=5_000)
    assert seen == [1]
    assert sorted(letter.message for letter in broker.dead_letters("jobs")) == [b"", b"\xff not json"]


def test_only_the_newest_dead_letters_are_kept(client: redis.Redis, keys: Keys) -> None:
    broker = a_broker(client, keys, Limits(claim_after_ms=400, max_dead=3))
    broker.declare_queue("jobs")
    for number in range(5):
        client.xadd(keys.queue("jobs"), {"message": str(number)})
    with working(broker):
        broker.join("jobs", timeout=5_000)
    assert [letter.message for letter in broker.dead_letters("jobs")] == [b"4", b"3", b"2"]


def test_a_consumer_holds_no_more_than_its_prefetch(client: redis.Redis, keys: Keys) -> None:
    broker = a_declared_broker(client, keys, Limits(prefetch=1))
    broker.enqueue(a_message(1))
    broker.enqueue(a_message(2))
    consumer = broker.consume("jobs", prefetch=16, timeout=20)
    while (held := next(consumer)) is None:
        pass
    assert next(consumer) is None
    assert broker.depth("jobs") == Depth(ready=1, pending=1, delayed=0, dead=0)
    consumer.ack(held)
    second = next(consumer)
    assert second is not None
    assert second.args == (2,)
    consumer.ack(second)
    consumer.close()


def test_messages_requeued_are_delivered_to_others_at_once(client: redis.Redis, keys: Keys) -> None:
    broker = a_declared_broker(client, keys, Limits(claim_after_ms=60_000))
    broker.enqueue(a_message(1))
    leaving = broker.consume("jobs", timeout=20)
    while (held := next(leaving)) is None:
        pass
    leaving.requeue([held])
    leaving.close()
    again = next_message(broker)
    assert again is not None and again.args == (1,)


def test_two_workers_never_get_the_same_message(client: redis.Redis, keys: Keys) -> None:
    seen: list[int] = []
    first, second = a_broker(client, keys), a_broker(client, keys)
    work = an_actor(first, seen.append)
    an_actor(second, seen.append)
    for number in range(200):
        work.send(number)
    with working(first), working(second):
        first.join("jobs", timeout=10_000)
    assert sorted(seen) == list(range(200))


def test_a_blocked_reader_learns_of_a_message_delayed_to_earlier(client: redis.Redis, keys: Keys) -> None:
    """A read that blocks for seconds does not keep a message back that was delayed by 50 ms: it is woken."""
    broker = a_declared_broker(client, keys)
    consumer = broker.consume("jobs", timeout=10_000)
    delivered: list[tuple[object, ...]] = []

    def read_on() -> None:
        while not delivered:
            if (proxy := next(consumer)) is not None:
                delivered.append(proxy.args)
                consumer.ack(proxy)

    reader = threading.Thread(target=read_on, daemon=True)
    reader.start()
    eventually(lambda: client.exists(keys.queue("jobs")) == 1)
    broker.enqueue(a_message(2), delay=60_000)
    broker.enqueue(a_message(1), delay=50)
    reader.join(timeout=2)
    assert delivered == [(1,)]
    consumer.close()
    assert broker.depth("jobs") == Depth(ready=0, pending=0, delayed=1, dead=0)


def test_a_worker_that_leaves_is_forgotten_by_the_group(client: redis.Redis, keys: Keys) -> None:
    broker = a_broker(client, keys)
    work = an_actor(broker, lambda: None)
    with working(broker):
        work.send()
        broker.join("jobs", timeout=5_000)
    assert client.xinfo_consumers(keys.queue("jobs"), GROUP) == []


def deliveries(broker: StreamsBroker, count: int, to_settle: str = "ack") -> list[tuple[object, ...]]:
    """Return the arguments of so many deliveries to one consumer, each settled at once."""
    consumer = broker.consume("jobs", timeout=20)
    found: list[tuple[object, ...]] = []
    deadline = time.monotonic() + 5
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {found}"
        if (proxy := next(consumer)) is not None:
            found.append(proxy.args)
            if to_settle == "requeue":
                consumer.requeue([proxy])
            else:
                getattr(consumer, to_settle)(proxy)
    consumer.close()
    return found


def test_messages_that_wait_in_line_are_taken_together_ever_more_up_to_the_limit(
    client: redis.Redis, keys: Keys
) -> None:
    broker = a_declared_broker(client, keys, Limits(claim_after_ms=2_000, together=4))
    for number in range(12):
        broker.enqueue(a_message(number))
    assert deliveries(broker, 5) == [(0,), (1, 2), (3, 4, 5, 6), (7, 8, 9, 10), (11,)]
    assert broker.depth("jobs") == Depth(0, 0, 0, 0)


def test_a_consumer_that_finds_few_leaves_the_next_ones_to_others(client: redis.Redis, keys: Keys) -> None:
    broker = a_declared_broker(client, keys, Limits(claim_after_ms=2_000, together=8))
    one, other = broker.consume("jobs", timeout=20), broker.consume("jobs", timeout=20)
    found = []
    for consumer in (one, other, one, other):
        broker.enqueue(a_message(len(found)))
        while (proxy := next(consumer)) is None:
            pass
        found.append(proxy.args)
        consumer.ack(proxy)
    assert found == [(0,), (1,), (2,), (3,)]
    one.close()
    other.close()


def test_only_messages_of_one_actor_and_without_options_are_one_call(client: redis.Redis, keys: Keys) -> None:
    broker = a_declared_broker(client, keys, Limits(claim_after_ms=2_000, together=8))
    for message in (
        a_message(0),
        a_message(1),
        Message("jobs", "other", (2,), {}, {}),
        Message("jobs", "work", (3,), {"how": "well"}, {}),
        Message("jobs", "work", (4,), {}, {"max_retries": 1}),
        a_message(5),
        a_message(6),
    ):
        broker.enqueue(message)
    assert deliveries(broker, 6) == [(0,), (1,), (2,), (3,), (4,), (5, 6)]
    assert broker.depth("jobs") == Depth(0, 0, 0, 0)


def test_messages_taken_together_are_given_back_and_buried_each_for_itself(
    client: redis.Redis, keys: Keys
) -> None:
    broker = a_declared_broker(client, keys, Limits(claim_after_ms=2_000, together=8))
    for number in range(3):
        broker.enqueue(a_message(number))
    assert deliveries(broker, 2, "requeue") == [(0,), (1, 2)]
    assert broker.depth("jobs") == Depth(ready=3, pending=0, delayed=0, dead=0)
    assert deliveries(broker, 2, "nack") == [(0,), (1, 2)]
    assert [Message.decode(letter.message).args for letter in broker.dead_letters("jobs")] == [
        (2,),
        (1,),
        (0,),
    ]


def test_messages_taken_together_by_a_worker_that_dies_come_back_one_by_one(
    client: redis.Redis, keys: Keys
) -> None:
    """So that one that kills its worker takes no others with it to the dead letters."""
    broker = a_declared_broker(client, keys, Limits(prefetch=2, claim_after_ms=100, together=8))
    for number in range(3):
        broker.enqueue(a_message(number))
    dying = broker.consume("jobs", prefetch=2, timeout=20)
    taken: list[object] = []

    def takes_two() -> bool:
        if (proxy := next(dying)) is not None:
            taken.append(proxy.args)
        return len(taken) == 2

    eventually(takes_two)
    assert taken == [(0,), (1, 2)]
    dying.close()
    assert deliveries(broker, 3) == [(0,), (1,), (2,)]
