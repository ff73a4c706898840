"""Sealing moves the log's beginning into the archive; a death meanwhile loses nothing, and shows nothing by half."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from events import sealing
from events.codec import Entry
from events.log import Log, Sealed
from events.memory import MemoryLog
from events.replay import replay
from events.replica import Replica
from events.sealing import Limits, Outrun, Sealer
from events.state import State
from events.stores import Folder
from schemas.changes import Create
from schemas.errors import BadRequest, LostHistory, Unavailable
from tests.events.archives import (
    LATER,
    SMALL,
    Death,
    Doom,
    a_long_history,
    a_sealer,
    all_entries,
    archived,
    facts_of,
)
from tests.events.worlds import a_bare_pod


@pytest.fixture(autouse=True)
def _frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 20)


def test_what_is_sealed_leaves_the_stream_and_reads_as_before(log: Log, tmp_path: Path) -> None:
    world = a_long_history(log)
    entries = world.entries()
    stream: Any = log
    assert a_sealer(stream, tmp_path).look(LATER) == len(entries)
    first, count = stream.held()
    assert first > entries[0].position and 10 <= count < 40
    through = archived(stream, tmp_path)
    assert all_entries(through) == entries
    assert facts_of(replay(through, log.last(), State())) == facts_of(world.state)


def test_every_stretch_reads_as_before(tmp_path: Path) -> None:
    log = MemoryLog()
    entries = a_long_history(log, 8).entries()
    a_sealer(log, tmp_path).look(LATER)
    through = archived(log, tmp_path)
    for start in range(0, len(entries), 3):
        after = entries[start].position
        assert through.read(after, 5) or start == len(entries) - 1
        for until in (after, entries[min(start + 4, len(entries) - 1)].position, None):
            wanted = [
                each
                for each in entries
                if each.position > after and (until is None or each.position <= until)
            ]
            found: list[Entry] = []
            while chunk := through.read(found[-1].position if found else after, 5, until):
                found += chunk
            assert found == wanted


def test_segments_are_of_whole_batches_and_name_the_one_before(tmp_path: Path) -> None:
    log = MemoryLog()
    a_long_history(log)
    sealer = a_sealer(log, tmp_path)
    sealer.look(LATER)
    segments = sealer.manifest.segments
    assert len(segments) > 2 and list(sealer.archive.check()) == []
    chain = [sealer.archive.footer(each).previous for each in segments]
    assert chain == ["", *(each.digest for each in segments[:-1])]
    assert [each.after for each in segments] == [0, *(each.last for each in segments[:-1])]


def test_nothing_is_sealed_before_it_is_due(tmp_path: Path) -> None:
    log = MemoryLog()
    entries = a_long_history(log).entries()
    limits = Limits(segment_events=len(entries) + 1, segment_age=1000, stream_events=0)
    sealer = a_sealer(log, tmp_path, limits)
    first = entries[0].position >> 20
    assert sealer.look(first + 999) == 0 and sealer.manifest.end == 0
    assert sealer.look(first + 1000) == len(entries)
    assert log.held()[1] == len(entries), "the last segment holds the last entry, which stays"


def test_a_snapshot_begins_a_replica(tmp_path: Path) -> None:
    log = MemoryLog()
    world = a_long_history(log)
    sealer = a_sealer(log, tmp_path)
    sealer.look(LATER)
    assert sealer.manifest.snapshots
    through = archived(log, tmp_path)
    state = through.snapshot()
    assert state is not None and 0 < state.position <= log.last()
    replica = Replica(through, state)
    replica.load()
    with replica.reading() as found:
        assert (
            facts_of(found).items()
            >= {
                "objects": world.state.objects,
                "guards": world.state.guards,
                "position": log.last(),
            }.items()
        )


def test_a_follower_that_fell_behind_the_stream_goes_on_in_the_archive(tmp_path: Path) -> None:
    log = MemoryLog()
    entries = a_long_history(log).entries()
    through = archived(log, tmp_path)
    behind = entries[3].position
    assert through.follow(behind, 5, 0.1) == entries[4:9]
    a_sealer(log, tmp_path).look(LATER)
    assert through.follow(behind, 5, 0.1) == entries[4:9]


def steps_of_sealing(tmp_path: Path) -> int:
    doom = Doom(1 << 30, after=False)
    log = MemoryLog()
    a_long_history(log, 6)
    doomed_look(log, tmp_path / "count", doom)
    return (1 << 30) - doom.left


def doomed_look(log: MemoryLog, folder: Path, doom: Doom) -> None:
    store = doom.bind(Folder(folder), "put", "get", "delete")
    frail = doom.bind(Frail(log), "switch", "trim")
    sealer = Sealer(frail, store, SMALL)
    sealer.open()
    sealer.look(LATER)


def a_copy(log: Any) -> MemoryLog:
    copy = MemoryLog()
    lists = {"_entries": list(log._entries), "_positions": list(log._positions)}
    copy.__dict__.update({**log.__dict__, **lists, "_heads": dict(log._heads)})
    return copy


class Frail(MemoryLog):
    """The same log, seen by a process of its own."""

    def __init__(self, log: MemoryLog) -> None:
        self.__dict__ = dict(log.__dict__)
        self._real = log

    def switch(self, epoch: int, sealed: Sealed) -> bool:
        return self._real.switch(epoch, sealed)

    def trim(self, epoch: int, until: int) -> bool:
        return self._real.trim(epoch, until)

    def sealed(self) -> Sealed:
        return self._real.sealed()

    def take_over(self) -> int:
        return self._real.take_over()


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after it"])
def test_a_death_at_any_step_loses_nothing_and_shows_nothing_by_half(tmp_path: Path, after: bool) -> None:
    steps = steps_of_sealing(tmp_path)
    assert steps > 15
    world = a_long_history(rounds=6)
    entries = world.entries()
    for step in range(steps):
        log, folder = a_copy(world.log), tmp_path / f"{step}"
        doom = Doom(step, after)
        with pytest.raises(Death):
            doomed_look(log, folder, doom)
        assert doom.struck
        through = archived(log, folder)
        assert all_entries(through) == entries, f"after step {step}"
        through.archive.refresh()
        assert list(through.archive.check()) == []
        a_sealer(log, folder).look(LATER)
        assert all_entries(archived(log, folder)) == entries, f"after step {step} and a successor"
        assert (
            facts_of(replay(archived(log, folder), log.last())).items()
            >= {
                "objects": world.state.objects,
                "position": world.state.position,
            }.items()
        )
        names = {each.name for each in through.archive.refresh().segments}
        assert set(Folder(folder).names("segments")) == names, f"left over by step {step}"


def test_a_historian_that_was_outrun_changes_nothing(tmp_path: Path) -> None:
    log = MemoryLog()
    entries = a_long_history(log).entries()
    old = a_sealer(log, tmp_path)
    new = a_sealer(log, tmp_path)
    with pytest.raises(Outrun):
        old.look(LATER)
    assert log.sealed() == Sealed() and log.held()[1] == len(entries)
    new.look(LATER)
    held, sealed = log.held(), log.sealed()
    assert not log.trim(1, entries[-2].position) and not log.switch(1, Sealed("x", entries[-1].position))
    assert (log.held(), log.sealed()) == (held, sealed)


def test_the_sweep_of_one_that_is_outrun_meanwhile_takes_nothing_new(tmp_path: Path) -> None:
    log = MemoryLog()
    world = a_long_history(log, 4)
    a_sealer(log, tmp_path).look(LATER)

    class Slow(Folder):
        """While its first look at a folder takes long, another takes over and seals."""

        def names(self, folder: str) -> list[str]:
            if not successors:
                a_pod_more = world.commit(*(Create(a_bare_pod(f"late-{each}")) for each in range(30)))
                assert a_pod_more.events
                successors.append(a_sealer(log, tmp_path))
                successors[0].look(LATER)
            return super().names(folder)

    successors: list[Sealer] = []
    outrun = Sealer(log, Slow(tmp_path), SMALL)
    outrun.open()
    through = archived(log, tmp_path)
    through.archive.refresh()
    assert successors and list(through.archive.check()) == []
    assert all_entries(through)[-1].position == log.last()
    with pytest.raises(Outrun):
        outrun.look(LATER)


def test_a_full_disk_seals_nothing_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog()
    entries = a_long_history(log).entries()
    sealer = a_sealer(log, tmp_path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="No space left on device"):
            sealer.look(LATER)
    assert log.held()[1] == len(entries) and not list(tmp_path.rglob("segments/*"))
    assert sealer.look(LATER) == len(entries)
    assert all_entries(archived(log, tmp_path)) == entries


def test_a_store_that_does_not_keep_what_it_is_given_is_not_trusted(tmp_path: Path) -> None:
    log = MemoryLog()
    entries = a_long_history(log).entries()

    class Forgetful(Folder):
        def put(self, name: str, content: bytes) -> None:
            super().put(name, content[:-1])

    sealer = Sealer(log, Forgetful(tmp_path), SMALL)
    sealer.open()
    with pytest.raises(Unavailable, match="as it was written"):
        sealer.look(LATER)
    assert log.sealed() == Sealed() and log.held()[1] == len(entries)


def test_a_broken_chain_is_not_sealed(tmp_path: Path) -> None:
    log = MemoryLog()
    a_long_history(log)
    gone = log._entries[30]
    del log._entries[30], log._positions[30]
    sealer = a_sealer(log, tmp_path)
    with pytest.raises(LostHistory) as caught:
        sealer.look(LATER)
    assert caught.value.position > gone.position and log.sealed().end < gone.position


def test_only_what_is_sealed_is_trimmed_and_never_all(log: Log, tmp_path: Path) -> None:
    stream: Any = log
    entries = a_long_history(log, 3).entries()
    epoch = stream.take_over()
    with pytest.raises(BadRequest, match="not sealed"):
        stream.trim(epoch, entries[3].position)
    assert stream.switch(epoch, Sealed("manifests/1", entries[-1].position))
    assert stream.sealed() == Sealed("manifests/1", entries[-1].position)
    with pytest.raises(BadRequest, match="shorter"):
        stream.switch(epoch, Sealed("manifests/2", entries[3].position))
    with pytest.raises(BadRequest, match="nothing would be left"):
        stream.trim(epoch, entries[-1].position)
    assert stream.trim(epoch, entries[3].position)
    assert stream.held() == (entries[4].position, len(entries) - 4)
    assert log.read(0, 100) == entries[4:]
    assert stream.take_over() == epoch + 1
    assert not stream.trim(epoch, entries[4].position)


def test_the_log_goes_on_behind_what_was_trimmed(log: Log, tmp_path: Path) -> None:
    stream: Any = log
    world = a_long_history(log, 6)
    a_sealer(stream, tmp_path).look(LATER)
    again = a_long_history_continued(world)
    assert all_entries(archived(stream, tmp_path))[-1].position == again


def a_long_history_continued(world: Any) -> int:
    return int(world.commit(Create(a_bare_pod("late"))).appended.last)


def test_a_missing_or_damaged_segment_is_named(tmp_path: Path) -> None:
    log = MemoryLog()
    a_long_history(log)
    sealer = a_sealer(log, tmp_path)
    sealer.look(LATER)
    victim = sealer.manifest.segments[1]
    path = tmp_path / victim.name
    content = path.read_bytes()
    place = sealer.archive.footer(victim).blocks[0]
    damages = {
        "flipped": content[: place.start + 9]
        + bytes([content[place.start + 9] ^ 1])
        + content[place.start + 10 :],
        "cut": content[:-5],
        "empty": b"",
    }
    for how, damaged in damages.items():
        path.write_bytes(damaged)
        with pytest.raises(LostHistory, match=victim.name):
            all_entries(archived(log, tmp_path))
        found = archived(log, tmp_path).archive
        found.refresh()
        assert any(victim.name in str(wrong) for wrong in found.check()), how
    path.unlink()
    with pytest.raises(LostHistory, match=victim.name):
        all_entries(archived(log, tmp_path))


def test_a_newer_format_asks_for_newer_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog()
    a_long_history(log)
    with monkeypatch.context() as patch:
        patch.setattr("events.segments.FORMAT", 3)
        patch.setattr("events.segments.THINNED_FORMAT", 3)
        a_sealer(log, tmp_path).look(LATER)
    with pytest.raises(LostHistory, match="format 3, this program reads up to 2: upgrade the readers first"):
        all_entries(archived(log, tmp_path))


def test_an_archive_of_another_log_is_refused(tmp_path: Path) -> None:
    one, other = MemoryLog(), MemoryLog()
    a_long_history(one)
    a_long_history(other)
    a_sealer(one, tmp_path).look(LATER)
    other.switch(other.take_over(), one.sealed())
    with pytest.raises(LostHistory, match="is of log"):
        a_sealer(other, tmp_path)
