"""Dirty keys: at most once in the queue, at most once at work, never lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from dramatiq import Message, actor
from redis.backoff import NoBackoff
from redis.retry import Retry

from schemas.errors import Unavailable
from schemas.positions import position_of
from services.broker.hints import RUN_TTL_MS, Due, Hint, Hints, Run, Sentence
from services.broker.keys import Keys
from services.broker.streams import CLAIM_AFTER_MS, RENEWALS, StreamsBroker
from tests.services.broker.workers import a_broker, eventually, never, working

WEB = Hint("statefulset", "default/web")
DB = Hint("statefulset", "default/db")


@pytest.fixture
def hints(client: redis.Redis, keys: Keys) -> Iterator[Hints]:
    """Hints whose runs outlive a dead worker by 0.2 s only."""
    made = Hints(client, keys, run_ttl_ms=200)
    yield made
    made.close()


def queued(client: redis.Redis, keys: Keys) -> int:
    """Return how many hints are in the queue."""
    length = client.xlen(keys.queue("hints"))
    assert isinstance(length, int)
    return length


def take(hints: Hints, hint: Hint, meanwhile: Callable[[], object] = lambda: None) -> Run | None:
    """Take one key; None where it runs elsewhere."""
    runs = hints.take([hint], meanwhile)
    return runs[0] if runs else None


def forget_to_release(hints: Hints, hint: Hint) -> None:
    """Take a key and die: nothing renews or releases the run."""
    assert take(hints, hint) is not None
    hints.close()


def test_a_key_marked_many_times_is_enqueued_once(client: redis.Redis, keys: Keys, hints: Hints) -> None:
    assert [hints.mark(*WEB) for _ in range(3)] == [True, False, False]
    assert queued(client, keys) == 1


def test_a_run_knows_the_newest_position_that_its_key_was_marked_for(hints: Hints) -> None:
    late, early = 1_900_000_000_000_000_000, 999_999
    for position in (early, late, early):
        hints.mark(*WEB, position)
    run = take(hints, WEB)
    assert run is not None and run.position == late
    hints.release({run: None})
    again = take(hints, WEB)
    assert again is not None and again.position == 0, "what is not marked was marked for nothing"


@pytest.mark.parametrize("marks", [(5, None), (None, 5), (None,)])
def test_a_run_of_a_key_that_was_marked_for_something_unknown_knows_no_position(
    hints: Hints, marks: tuple[int | None, ...]
) -> None:
    for position in marks:
        hints.mark(*WEB, position)
    run = take(hints, WEB)
    assert run is not None and run.position is None


def test_a_key_that_was_marked_while_it_ran_is_taken_with_no_position(hints: Hints) -> None:
    run = take(hints, WEB)
    hints.mark(*WEB, 7)
    assert run is not None and take(hints, WEB) is None
    assert hints.release({run: None})
    again = take(hints, WEB)
    assert again is not None and again.position is None


def test_something_may_be_done_while_a_key_is_taken(hints: Hints) -> None:
    done: list[str] = []
    for _ in range(2):
        run = take(hints, WEB, meanwhile=lambda: done.append("read"))
        assert run is not None
        hints.release({run: None})
    assert done == ["read", "read"]


def test_a_mark_is_a_message_that_dramatiq_itself_might_have_written(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    before = time.time_ns() // 1_000_000
    hints.mark(*WEB)
    ((_, fields),) = client.xrange(keys.queue("hints"))  # type: ignore[misc]
    message: Message[None] = Message.decode(fields[b"message"])
    assert message == Message(
        "hints", "reconcile", WEB, {}, {}, message.message_id, message.message_timestamp
    )
    assert message.encode() == fields[b"message"]
    assert before <= message.message_timestamp <= time.time_ns() // 1_000_000


def test_marking_many_keys_counts_the_new_ones(client: redis.Redis, keys: Keys, hints: Hints) -> None:
    hints.mark("daemonset", "default/agent-7")
    assert hints.mark_many(("daemonset", f"default/agent-{n}") for n in range(1_200)) == 1_199
    assert queued(client, keys) == 1_200


def test_a_key_taken_may_be_marked_again(client: redis.Redis, keys: Keys, hints: Hints) -> None:
    hints.mark(*WEB)
    assert take(hints, WEB) is not None
    assert hints.mark(*WEB)


def test_a_key_that_runs_is_not_taken_twice(hints: Hints) -> None:
    run = take(hints, WEB)
    assert run is not None
    assert take(hints, WEB) is None
    assert take(hints, DB) is not None
    hints.release({run: None})
    assert take(hints, WEB) is not None


def test_keys_are_taken_and_released_together_each_for_itself(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    hints.mark(*WEB, 5)
    elsewhere = take(hints, DB)
    api = Hint("statefulset", "default/api")
    web, other = hints.take([WEB, DB, api])
    assert (web.hint, web.position, other.hint, other.position) == (WEB, 5, api, 0)
    assert elsewhere is not None
    hints.mark(*api, 9)
    assert take(hints, api) is None
    said = {web: Sentence("pod web-0 to become Ready", 7 << 20), other: None}
    assert hints.release(said) == 1, "api was wanted again meanwhile"
    assert hints.sentences() == {WEB: Sentence("pod web-0 to become Ready", 7 << 20)}
    assert hints.release({elsewhere: None}) == 1, "and so was db"
    assert hints.release({web: Sentence("", 8 << 20)}) == 0
    assert hints.sentences() == {}


def test_a_key_marked_while_it_runs_runs_again(client: redis.Redis, keys: Keys, hints: Hints) -> None:
    run = take(hints, WEB)
    assert run is not None
    assert take(hints, WEB) is None
    assert hints.release({run: None})
    assert queued(client, keys) == 1


def test_a_key_that_nobody_wanted_meanwhile_does_not_run_again(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    run = take(hints, WEB)
    assert run is not None
    assert not hints.release({run: None})
    assert queued(client, keys) == 0


def test_a_run_is_kept_alive_while_its_worker_lives(hints: Hints) -> None:
    run = take(hints, WEB)
    assert run is not None
    never(lambda: take(hints, WEB) is not None, seconds=0.6)
    assert hints.release({run: None})


def test_a_key_of_a_dead_worker_can_be_taken_after_its_lease(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    forget_to_release(Hints(client, keys, run_ttl_ms=200), WEB)
    assert take(hints, WEB) is None
    eventually(lambda: take(hints, WEB) is not None, seconds=2)


def test_a_worker_that_slept_through_its_lease_does_not_release_anothers_run(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    sleeper = Hints(client, keys, run_ttl_ms=1)
    late = take(sleeper, WEB)
    assert late is not None
    sleeper.close()
    eventually(lambda: take(hints, WEB) is not None)
    assert take(hints, WEB) is None
    assert not sleeper.release({late: None})
    assert take(hints, WEB) is None


def test_a_waiting_mark_whose_message_was_lost_does_not_wedge_the_key(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    hints.mark(*WEB)
    broker = a_broker(client, keys)
    broker.declare_queue("hints")
    broker.flush("hints")
    assert hints.mark(*WEB)
    assert queued(client, keys) == 1


def test_a_wake_up_left_with_a_run_that_vanished_is_found_by_due(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    forget_to_release(Hints(client, keys, run_ttl_ms=200), WEB)
    assert take(hints, WEB) is None
    assert hints.due(1_000) == Due((), 1_200)
    eventually(lambda: hints.due(1_000).marked == (WEB,), seconds=2)
    assert queued(client, keys) == 1
    assert hints.due(1_000) == Due((), None)


def test_a_dead_workers_message_returns_after_its_run_has_ended() -> None:
    """The order that `hints` argues with: lease and one message renewal end before the claim."""
    assert RUN_TTL_MS + CLAIM_AFTER_MS // RENEWALS < CLAIM_AFTER_MS


def test_timers_are_due_at_their_time_and_only_once(client: redis.Redis, keys: Keys, hints: Hints) -> None:
    hints.at([WEB], 2_000)
    hints.at([DB], 3_000)
    assert hints.due(1_999) == Due((), 2_000)
    assert hints.due(2_000) == Due((WEB,), 3_000)
    assert hints.due(2_500) == Due((), 3_000)
    assert hints.due(9_000) == Due((DB,), None)
    assert queued(client, keys) == 2


def test_of_two_timers_of_a_key_the_earlier_wins(hints: Hints) -> None:
    hints.at([WEB], 2_000)
    hints.at([WEB], 1_000)
    hints.at([WEB], 5_000)
    assert hints.due(0) == Due((), 1_000)
    assert hints.due(9_000) == Due((WEB,), None)


def test_more_timers_than_a_call_takes_are_due_in_the_next(hints: Hints) -> None:
    for number in range(501):
        hints.at([("daemonset", f"default/a{number:03}")], 1_000)
    first = hints.due(1_000)
    assert (len(first.marked), first.next) == (500, 1_000)
    assert hints.due(1_000) == Due((Hint("daemonset", "default/a500"),), None)


def test_a_due_timer_of_a_waiting_key_enqueues_nothing_more(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    hints.mark(*WEB)
    hints.at([WEB], 1)
    assert hints.due(2) == Due((WEB,), None)
    assert queued(client, keys) == 1


def test_what_a_key_waits_for_can_be_read_and_taken_away(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    web, db = hints.take([WEB, DB])
    waits = Sentence("pod web-1 to become Ready", position_of("1700-3"))
    hints.release({web: waits, db: Sentence("pod db-0 to terminate", position_of("1700-4"))})
    assert client.hget("{c}:waiting", "statefulset/default/web") == b"1700-3 pod web-1 to become Ready"
    hints.release(dict.fromkeys(hints.take([DB]), Sentence("", position_of("1701-0"))))
    assert hints.sentences() == {WEB: waits}


def test_a_worker_goes_from_one_key_to_the_next_and_leaves_the_first_to_be_looked_at_in_time(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    (web,) = hints.take([WEB])
    assert take(hints, WEB) is None
    (db,) = hints.take([DB], ended={web: Sentence("pod web-1 to become Ready", 7 << 20, due=2_000)})
    assert queued(client, keys) == 1, "web was wanted meanwhile"
    assert take(hints, WEB) is not None
    assert hints.due(1_999) == Due((), 2_000)
    assert hints.due(2_000) == Due((WEB,), None)
    assert not hints.release({db: None})


def a_reconciler(broker: StreamsBroker, hints: Hints, work: object) -> None:
    """Declare the actor `reconcile`: take, work, release."""

    def reconcile(controller: str, key: str) -> None:
        for run in hints.take([(controller, key)]):
            try:
                work(run.hint)  # type: ignore[operator]
            finally:
                hints.release({run: None})

    actor(reconcile, broker=broker, queue_name="hints")


def test_a_hundred_marks_before_the_worker_comes_are_one_run(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    broker = a_broker(client, keys)
    seen: list[Hint] = []
    a_reconciler(broker, hints, seen.append)
    for _ in range(100):
        hints.mark(*WEB)
    with working(broker):
        broker.join("hints", timeout=5_000)
    assert seen == [WEB]


def test_no_wake_up_is_lost_and_no_key_runs_twice_at_a_time(
    client: redis.Redis, keys: Keys, hints: Hints
) -> None:
    """Every mark is followed by a run that began after it, however marks, two workers and runs interleave."""
    brokers = [a_broker(client, keys), a_broker(client, keys)]
    wanted, seen, at_work, overlaps = [0], [0], [0], [0]

    def observe(hint: Hint) -> None:
        at_work[0] += 1
        overlaps[0] += at_work[0] > 1
        seen[0] = wanted[0]
        threading.Event().wait(0.002)
        at_work[0] -= 1

    for broker in brokers:
        a_reconciler(broker, hints, observe)
    with working(brokers[0]), working(brokers[1]):
        for number in range(1, 201):
            wanted[0] = number
            hints.mark(*WEB)
            if number % 10 == 0:
                eventually(lambda: seen[0] == wanted[0], seconds=5)
        brokers[0].join("hints", timeout=5_000)
    assert (seen[0], overlaps[0]) == (200, 0)


def test_a_queue_that_is_away_is_said_to_be_unavailable(keys: Keys, tmp_path: Path) -> None:
    nowhere = tmp_path / "s"
    client = redis.Redis(unix_socket_path=str(nowhere), retry=Retry(NoBackoff(), 0))
    with pytest.raises(Unavailable, match="the queue cannot be used"):
        Hints(client, keys).mark(*WEB)
