"""Which log a data directory follows, and what it says when that log is not what it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from events.codec import decode
from events.memory import MemoryLog
from events.replay import replay
from schemas.errors import LostHistory, NotFound
from schemas.positions import Position, stream_id_of
from services.bootstrap import check_log, prepare_log, remember_end, remember_log, start_epoch


def a_log(data_dir: Path) -> tuple[MemoryLog, str]:
    log = MemoryLog("test")
    return log, prepare_log(log, data_dir)


def later(position: Position) -> Position:
    return position + 5


def test_a_log_that_ends_before_what_was_seen_is_refused_with_both_positions(tmp_path: Path):
    log, log_id = a_log(tmp_path)
    seen = later(log.last())
    remember_end(tmp_path, log_id, seen)
    with pytest.raises(LostHistory) as refusal:
        prepare_log(log, tmp_path)
    assert stream_id_of(log.last()) in str(refusal.value) and stream_id_of(seen) in str(refusal.value)
    assert "up --accept-loss" in str(refusal.value)
    assert refusal.value.position == log.last()


def test_a_loss_that_is_accepted_is_an_event_and_is_not_asked_about_again(tmp_path: Path):
    log, log_id = a_log(tmp_path)
    end, seen = log.last(), later(log.last())
    remember_log(tmp_path, log_id, seen)
    assert prepare_log(log, tmp_path, accepts_loss=True) == log_id
    (event,) = map(decode, log.read(end, 10))
    assert (event.type, event.body) == (
        "EpochStarted",
        {"end": stream_id_of(end), "seen": stream_id_of(seen)},
    )
    assert replay(log, log.last()).position == log.last()
    assert prepare_log(log, tmp_path) == log_id


def test_a_loss_is_warned_of_and_a_log_that_was_restored_is_none(tmp_path: Path):
    log, log_id = a_log(tmp_path)
    with capture_logs() as warned:
        start_epoch(log, log_id, log.last(), restored_from="prod")
    assert warned == []
    with capture_logs() as warned:
        start_epoch(log, log_id, later(log.last()))
    assert [each["event"] for each in warned] == ["going on without lost events"]


def test_nothing_is_written_where_nothing_was_lost(tmp_path: Path):
    log, _ = a_log(tmp_path)
    end = log.last()
    prepare_log(log, tmp_path, accepts_loss=True)
    assert log.last() == end


@pytest.mark.parametrize("how", ["another log", "an earlier end"])
def test_what_was_seen_only_moves_forward_along_one_log(tmp_path: Path, how: str):
    log, log_id = a_log(tmp_path)
    remember_end(tmp_path, log_id, later(log.last()))
    remembered = (tmp_path / "log.json").read_bytes()
    if how == "another log":
        remember_end(tmp_path, "another", later(later(log.last())))
    else:
        remember_end(tmp_path, log_id, log.last())
    assert (tmp_path / "log.json").read_bytes() == remembered


def test_another_log_is_never_followed_not_even_with_losses_accepted(tmp_path: Path):
    a_log(tmp_path)
    for accepts_loss in (False, True):
        with pytest.raises(LostHistory, match="put the right files back"):
            prepare_log(_created(), tmp_path, accepts_loss=accepts_loss)
        with pytest.raises(LostHistory, match="is gone from its server"):
            prepare_log(MemoryLog("test"), tmp_path, accepts_loss=accepts_loss)


def _created() -> MemoryLog:
    log = MemoryLog("test")
    log.create()
    return log


def test_a_check_refuses_what_init_would_refuse_and_makes_nothing(tmp_path: Path):
    log, log_id = a_log(tmp_path)
    end = log.last()
    check_log(log, tmp_path)
    remember_end(tmp_path, log_id, later(end))
    with pytest.raises(LostHistory, match="acknowledged events are missing"):
        check_log(log, tmp_path)
    with pytest.raises(LostHistory, match="is gone from its server"):
        check_log(MemoryLog("test"), tmp_path)
    with pytest.raises(NotFound):
        check_log(MemoryLog("test"), tmp_path / "new")
    assert log.last() == end and not (tmp_path / "new").exists()


def test_a_log_that_was_cut_and_has_grown_since_is_refused_all_the_same(tmp_path: Path):
    log = MemoryLog()
    log_id = prepare_log(log, tmp_path)
    (genesis,) = log.read(0, 1)
    gone = genesis.position + (1 << 19)
    assert not log.read(gone - 1, 1, gone)
    remember_log(tmp_path, log_id, gone)
    with pytest.raises(LostHistory, match="acknowledged events are missing"):
        prepare_log(log, tmp_path)
    with pytest.raises(LostHistory, match="acknowledged events are missing"):
        check_log(log, tmp_path)
