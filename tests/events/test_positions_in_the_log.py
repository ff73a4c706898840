"""Positions when clocks misbehave: time never goes backwards in the log, and a full millisecond carries over."""

from __future__ import annotations

from events.log import Batch, Draft
from events.memory import MemoryLog
from schemas.positions import MAX_SEQUENCE, SEQUENCE_BITS, position_of, stream_id_of, time_of


def test_a_clock_that_steps_back_does_not_take_positions_back() -> None:
    clock = [1_000_000]
    log = MemoryLog(clock=lambda: clock[0])
    log.create()
    first = log.append(Batch((Draft("a", "T", b"x", False),), {}, (), "1", "d", clock[0]))
    clock[0] -= 30_000
    second = log.append(Batch((Draft("b", "T", b"x", False),), {}, (), "2", "d", clock[0]))
    assert second.first == first.last + 1


def test_a_batch_that_would_split_over_a_millisecond_moves_to_the_next() -> None:
    log = MemoryLog(clock=lambda: 1_000_000)
    log.create()
    log._positions[-1] = (1_000_000 << SEQUENCE_BITS) | (MAX_SEQUENCE - 1)
    done = log.append(
        Batch(tuple(Draft(f"k{n}", "T", b"x", False) for n in range(5)), {}, (), "1", "d", 1_000_000)
    )
    assert stream_id_of(done.first) == "1000001-0"
    assert done.last - done.first == 4
    assert time_of(done.last) == 1_000_001


def test_a_position_and_its_stream_id_say_the_same() -> None:
    for text in ("0-0", "1795401564481-3", "1795401564481-1048575"):
        assert stream_id_of(position_of(text)) == text == stream_id_of(position_of(text.encode()))
