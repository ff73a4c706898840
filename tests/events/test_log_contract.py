"""What every implementation of the log must do, on memory, fakeredis and a real server."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import fakeredis
import pytest

from events.codec import Entry
from events.log import MAX_EVENTS, Batch, Draft, Log
from events.memory import wall_clock
from events.redis_log import RedisLog
from schemas.errors import (
    AlreadyExists,
    BadRequest,
    CommandReused,
    Conflict,
    Forbidden,
    LostHistory,
    NotFound,
    Unavailable,
)


def a_batch(*keys: str, command: str = "c1", **fields: object) -> Batch:
    drafts = tuple(Draft(key, "ThingCreated", b"data", False) for key in keys)
    values = {
        "expected": dict.fromkeys(keys, 0),
        "guards": (),
        "digest": "d",
        "clock": wall_clock(),
        **fields,
    }
    return Batch(drafts, command=command, **values)  # type: ignore[arg-type]


def test_a_log_begins_with_its_genesis_and_is_created_once(log: Log) -> None:
    log_id = log.create()
    (first,) = log.read(0, 10)
    assert (first.key, first.type, first.after) == ("chronoset/log", "LogCreated", 0)
    assert log.log_id() == log_id
    with pytest.raises(AlreadyExists):
        log.create()


def test_a_log_that_was_never_created_is_not_found(log: Log) -> None:
    for ask in (log.log_id, log.last, lambda: log.append(a_batch("a"))):
        with pytest.raises(NotFound):
            ask()


def test_entries_of_a_batch_are_contiguous_and_name_the_one_before(log: Log) -> None:
    log.create()
    genesis = log.last()
    first = log.append(a_batch("a", "b", "c"))
    second = log.append(a_batch("d", command="c2"))
    entries = log.read(genesis, 10)
    assert [entry.key for entry in entries] == ["a", "b", "c", "d"]
    assert [entry.position for entry in entries[:3]] == [first.first, first.first + 1, first.last]
    assert [entry.after for entry in entries] == [genesis, *(entry.position for entry in entries[:3])]
    assert second.first == second.last == log.last() == entries[3].position


def test_heads_move_to_the_end_of_the_batch_and_vanish_with_the_object(log: Log) -> None:
    log.create()
    done = log.append(a_batch("a", "b", guards=("guard/x",)))
    assert log.heads(["a", "b", "guard/x", "c"]) == {
        "a": done.last,
        "b": done.last,
        "guard/x": done.last,
        "c": 0,
    }
    log.append(
        Batch((Draft("a", "ThingDeleted", b"x", True),), {"a": done.last}, (), "c2", "d", wall_clock())
    )
    assert log.heads(["a", "b"]) == {"a": 0, "b": done.last}


@pytest.mark.parametrize(("key", "expected"), [("a", 0), ("b", 5), ("guard/x", 7)])
def test_a_moved_head_refuses_the_whole_batch(log: Log, key: str, expected: int) -> None:
    log.create()
    end = log.append(a_batch("a")).last
    with pytest.raises(Conflict) as caught:
        log.append(a_batch("z", command="c2", expected={"z": 0, key: expected}))
    assert (caught.value.key, caught.value.expected) == (key, expected)
    assert caught.value.actual == (end if key == "a" else 0)
    assert log.last() == end
    assert log.heads(["z"]) == {"z": 0}


def test_a_repeated_command_returns_its_first_result_and_appends_nothing(log: Log) -> None:
    log.create()
    first = log.append(a_batch("a"))
    log.append(a_batch("b", command="c2"))
    again = log.append(a_batch("a"))
    assert (again.first, again.last, again.count, again.repeated) == (first.first, first.last, 1, True)
    assert len(log.read(0, 10)) == 3
    found = log.command("c1")
    assert found is not None and found.result.first == first.first and found.digest == "d"


def test_a_command_that_had_nothing_to_do_is_remembered_too(log: Log) -> None:
    log.create()
    end = log.last()
    assert log.append(a_batch()).count == 0
    log.append(a_batch("b", command="c2"))
    again = log.append(a_batch())
    assert (again.last, again.count, again.repeated) == (end, 0, True)


def test_a_command_id_with_other_content_is_refused(log: Log) -> None:
    log.create()
    log.append(a_batch("a"))
    with pytest.raises(CommandReused):
        log.append(a_batch("b", digest="other"))
    assert log.heads(["b"]) == {"b": 0}


def test_a_command_is_forgotten_after_its_time(log: Log) -> None:
    log.create()
    log.append(a_batch("a", remember=1))
    deadline = time.monotonic() + 5
    while log.command("c1") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(Conflict):
        log.append(a_batch("a"))


def test_a_writer_with_a_clock_far_off_is_refused(log: Log) -> None:
    log.create()
    for offset in (-61_000, 61_000):
        with pytest.raises(BadRequest, match="clock"):
            log.append(a_batch("a", clock=wall_clock() + offset))
    assert len(log.read(0, 10)) == 1


def test_a_batch_beyond_the_limits_is_refused(log: Log) -> None:
    log.create()
    with pytest.raises(BadRequest, match="at most 1000"):
        log.append(a_batch(*(f"k{n}" for n in range(MAX_EVENTS + 1))))
    big = tuple(Draft(f"k{n}", "T", b"x" * 1_000_000, False) for n in range(5))
    with pytest.raises(BadRequest, match="bytes"):
        log.append(Batch(big, {}, (), "c2", "d", wall_clock()))


def test_a_full_batch_of_a_thousand_events_goes_in(log: Log) -> None:
    log.create()
    done = log.append(a_batch(*(f"k{n}" for n in range(MAX_EVENTS))))
    assert done.last - done.first == MAX_EVENTS - 1
    assert len(log.read(done.first - 1, 2000)) == MAX_EVENTS


def test_every_head_of_a_large_batch_is_compared(log: Log) -> None:
    log.create()
    moved = log.append(a_batch("k550")).last
    expected = {f"k{n}": 0 for n in range(600)}
    with pytest.raises(Conflict):
        log.append(a_batch("new", command="c2", expected=expected))
    log.append(a_batch("new", command="c3", expected={**expected, "k550": moved}))


def test_reading_is_bounded_by_limit_and_until(log: Log) -> None:
    log.create()
    done = log.append(a_batch("a", "b", "c", "d"))
    keys = [entry.key for entry in log.read(done.first - 1, 2)]
    assert keys == ["a", "b"]
    assert [entry.key for entry in log.read(done.first, 10, done.first + 2)] == ["b", "c"]
    assert log.read(done.last, 10) == []
    assert log.read(done.last, 10, done.first) == []


def test_following_waits_for_the_next_entry(log: Log) -> None:
    log.create()
    end = log.last()
    assert log.follow(end, 10, 0.01) == []
    found: list[Entry] = []

    def follow() -> None:
        deadline = time.monotonic() + 5
        while not found and time.monotonic() < deadline:
            found.extend(log.follow(end, 10, 0.5))

    reader = threading.Thread(target=follow)
    reader.start()
    log.append(a_batch("a"))
    reader.join(6)
    assert [entry.key for entry in found] == ["a"]


def test_a_reader_that_waits_can_be_interrupted(log: Log) -> None:
    """A program that is told to end need not sit out its blocking read."""
    if isinstance(log, RedisLog) and isinstance(log._client, fakeredis.FakeRedis):
        pytest.skip("a fake server has no socket to break off")
    log.create()
    end, ended = log.last(), threading.Event()

    def follow() -> None:
        with suppress(Unavailable):
            log.follow(end, 10, 5.0)
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    deadline = time.monotonic() + 2
    while not ended.wait(0.01) and time.monotonic() < deadline:
        log.interrupt()
    assert ended.is_set()


def refuse(log: Log, reason: str) -> None:
    """Write what the storage guard would: why writes are refused."""
    if hasattr(log, "refuse"):
        log.refuse = reason
    else:
        log._client.hset("{test}:heads", "refuse", reason)  # type: ignore[attr-defined]


def test_a_log_short_of_room_takes_deletes_only_and_one_without_room_nothing(log: Log) -> None:
    log.create()
    end = log.append(a_batch("a", "b")).last
    delete = Batch((Draft("a", "ThingDeleted", b"x", True),), {"a": end}, (), "c3", "d", wall_clock())
    refuse(log, "deletes:the disk is nearly full")
    with pytest.raises(Forbidden, match="the disk is nearly full"):
        log.append(a_batch("c", command="c2"))
    log.append(delete)
    refuse(log, "all:the disk is full")
    with pytest.raises(Forbidden, match="the disk is full"):
        log.append(Batch((Draft("b", "T", b"x", True),), {"b": end}, (), "c4", "d", wall_clock()))
    refuse(log, "")
    log.append(a_batch("c", command="c5"))


def test_a_read_only_log_takes_nothing_until_it_is_released(log: Log) -> None:
    with pytest.raises(NotFound):
        log.set_read_only("too early")
    log.create()
    end = log.append(a_batch("a")).last
    log.set_read_only("alice looks for a culprit")
    delete = Batch((Draft("a", "ThingDeleted", b"x", True),), {"a": end}, (), "c2", "d", wall_clock())
    for batch in (a_batch("b", command="c3"), delete):
        with pytest.raises(Forbidden, match="alice looks for a culprit"):
            log.append(batch)
    assert log.last() == end
    assert log.append(a_batch(command="c4")).count == 0
    log.set_read_only("")
    log.append(a_batch("b", command="c3"))


def test_another_log_under_the_same_name_is_never_written_to(log: Log) -> None:
    log.create()
    log.append(a_batch("a"))
    if hasattr(log, "_log_id"):
        log._log_id = "another"
    else:
        log._client.hset("{test}:heads", "log", "another")  # type: ignore[attr-defined]
    with pytest.raises(LostHistory, match="another"):
        log.append(a_batch("b", command="c2"))


@pytest.mark.parametrize("writers", [4])
def test_of_writers_that_expect_the_same_head_exactly_one_wins(log: Log, writers: int) -> None:
    log.create()
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            log.append(a_batch("one", command=f"w{number}"))
            outcomes.append("won")
        except Conflict:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["lost"] * (writers - 1) + ["won"]
