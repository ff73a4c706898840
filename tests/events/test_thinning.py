"""Thinning drops events of some kinds from old segments; every kept moment stays exact, and nothing is told wrongly."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from events import sealing
from events.codec import Entry, decode
from events.history import History
from events.log import Sealed
from events.memory import MemoryLog
from events.replay import check_whole, replay
from events.sealing import KEPT_MANIFESTS, Limits, Outrun, Sealer
from events.segments import digest_of
from events.snapshots import pack_state, unpack_state
from events.state import State
from events.stores import Folder
from schemas.changes import Create
from schemas.envelopes import Event
from schemas.errors import LostHistory, Thinned
from schemas.objects import resource_of
from schemas.positions import Position
from schemas.retention import DAY, KEPT_KEYS, Retention, is_kept
from tests.events.archives import (
    LATER,
    WEB,
    Death,
    Doom,
    a_history,
    a_long_history,
    a_sealer,
    all_entries,
    archived,
    facts_of,
)
from tests.events.test_sealing import Frail, a_copy
from tests.events.worlds import a_bare_pod

PODS = frozenset({"core/pods"})
SETS = frozenset({"apps/statefulsets"})
ONE_DAY = Retention(7, {"core/pods": DAY})
EMPTY_STREAM = Limits(segment_events=20, segment_age=0, stream_events=0)


@pytest.fixture(autouse=True)
def _frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 20)
    monkeypatch.setattr(sealing, "SNAPSHOT_SHARE", 100)


def a_sealed_log(folder: Path, rounds: int = 20) -> tuple[MemoryLog, Sealer, list[Entry]]:
    """Return a log that is sealed, and in the stream only at its end; who sealed it; and all its entries."""
    log = MemoryLog()
    world = a_long_history(log, rounds)
    entries = world.entries()
    sealer = a_sealer(log, folder, EMPTY_STREAM)
    sealer.look(LATER)
    return log, sealer, entries


def thin(sealer: Sealer, retention: Retention = ONE_DAY) -> int:
    return sealer.thin(retention, LATER)


def until_old_files_are_gone(sealer: Sealer) -> None:
    for _ in range(2 * KEPT_MANIFESTS):
        sealer._switch(replace(sealer.manifest, number=sealer.manifest.number + 1))


def all_by(actor: str, past: History) -> list[Event]:
    found = past.events_of(0, past.log.last(), lambda _: True, actor.__eq__)
    return [each for each in found if each.actor.name == actor]


def moments_of(sealer: Sealer) -> list[Position]:
    return [each.position for each in sealer.manifest.snapshots]


def test_only_events_of_the_kind_go_up_to_the_last_snapshot_that_nobody_starts_from(tmp_path: Path) -> None:
    log, sealer, entries = a_sealed_log(tmp_path)
    dropped = thin(sealer)
    (row,) = sealer.manifest.thinned
    moments = moments_of(sealer)
    assert (row.resource, row.until, row.policy, row.keep, row.at) == (
        "core/pods",
        moments[-2],
        7,
        DAY,
        LATER,
    )
    gone = [each for each in entries if each.position <= row.until and resource_of(each.key) == "core/pods"]
    assert dropped == len(gone) > 20
    assert all_entries(archived(log, tmp_path)) == [each for each in entries if each not in gone]
    assert thin(sealer) == 0
    assert list(sealer.archive.check()) == []


def test_every_kept_moment_is_exact_and_between_them_it_is_said_that_it_is_thinned(tmp_path: Path) -> None:
    log, sealer, entries = a_sealed_log(tmp_path)
    before = {each: facts_of(replay(archived(log, tmp_path), each.position)) for each in entries}
    thin(sealer)
    until, moments = sealer.manifest.thinned[0].until, moments_of(sealer)
    past = a_history(log, tmp_path)
    refused = 0
    for entry, facts in before.items():
        is_batch_end = facts["position"] == entry.position
        if entry.position in moments or (entry.position >= until and is_batch_end):
            assert facts_of(past.state_at(entry.position)) == facts
        elif entry.position < until:
            refused += 1
            with pytest.raises(
                Thinned, match="of pods only the state at some moments is kept, next to it at"
            ):
                past.state_at(entry.position)
            sets = past.state_at(entry.position, SETS)
            assert sets.get(WEB) == facts["objects"].get(WEB)
            assert not sets.list("core/pods")
    assert refused > 20


def test_the_refusal_names_the_moments_next_to_what_is_asked_for(tmp_path: Path) -> None:
    log, sealer, entries = a_sealed_log(tmp_path)
    thin(sealer)
    first, second, *_ = moments_of(sealer)
    between = next(each.position for each in entries if first < each.position < second)
    with pytest.raises(Thinned) as caught:
        a_history(log, tmp_path).state_at(between)
    for moment in (first, second):
        assert f"{moment >> 20}-{moment & 0xFFFFF} (" in str(caught.value)


def test_histories_of_kept_kinds_are_whole_and_those_of_thinned_ones_begin_where_that_ends(
    tmp_path: Path,
) -> None:
    log, sealer, entries = a_sealed_log(tmp_path)
    whole = a_history(log, tmp_path)
    sets = whole.versions_of(WEB, 1000)
    pods = {
        each.key: whole.versions_of(each.key, 1000)
        for each in entries
        if resource_of(each.key) == "core/pods"
    }
    by = all_by("socket:1000@host", whole)
    thin(sealer)
    until = sealer.manifest.thinned[0].until
    for index in (True, False):
        past = a_history(log, tmp_path) if index else History(archived(log, tmp_path))
        assert past.versions_of(WEB, 1000) == sets
        for key, versions in pods.items():
            assert past.versions_of(key, 1000) == [each for each in versions if each.event.position > until]
        assert all_by("socket:1000@host", past) == [
            each for each in by if resource_of(each.key) != "core/pods" or each.position > until
        ]


def test_an_index_that_was_made_before_is_not_believed_of_what_is_thinned(tmp_path: Path) -> None:
    log, sealer, _ = a_sealed_log(tmp_path)
    index = tmp_path / "index.sqlite"
    before, sets = index.read_bytes(), a_history(log, tmp_path).versions_of(WEB, 1000)
    thin(sealer)
    index.write_bytes(before)
    until_old_files_are_gone(sealer)
    past = a_history(log, tmp_path)
    assert past.versions_of(WEB, 1000) == sets
    by = all_by("socket:1000@host", past)
    assert by == [
        each for each in past.events_between(0, log.last()) if each.actor.name == "socket:1000@host"
    ]


def test_a_stretch_that_is_thinned_is_not_folded(tmp_path: Path) -> None:
    log, sealer, _ = a_sealed_log(tmp_path)
    thin(sealer)
    through, until = archived(log, tmp_path), sealer.manifest.thinned[0].until
    with pytest.raises(Thinned):
        replay(through, log.last(), State())
    with pytest.raises(Thinned, match="begin there or later"):
        check_whole(through, 0, log.last())
    with pytest.raises(Thinned):
        check_whole(through, 0, log.last(), PODS)
    check_whole(through, 0, log.last(), SETS)
    check_whole(through, until, log.last())
    assert facts_of(replay(through, log.last())) == facts_of(
        replay(through, log.last(), through.snapshot(until))
    )


def test_differences_over_a_thinned_part_are_told_where_both_ends_are_kept(tmp_path: Path) -> None:
    log, sealer, entries = a_sealed_log(tmp_path)
    moments = moments_of(sealer)
    wanted = a_history(log, tmp_path).differences(moments[0], log.last())
    thin(sealer)
    past = a_history(log, tmp_path)
    assert past.differences(moments[0], log.last()) == wanted
    between = next(each.position for each in entries if moments[0] < each.position < moments[1])
    with pytest.raises(Thinned):
        past.differences(between, log.last())
    found = past.differences(between, log.last(), SETS)
    assert found and {resource_of(each.key) for each in found} == SETS


def test_what_is_younger_than_the_policy_says_stays(tmp_path: Path) -> None:
    _, sealer, _ = a_sealed_log(tmp_path)
    first = moments_of(sealer)[0]
    assert sealer.thin(ONE_DAY, (first >> 20) + DAY - 1) == 0
    assert sealer.thin(ONE_DAY, (first >> 20) + DAY) > 0
    assert sealer.manifest.thinned[0].until >= first


def test_what_the_stream_holds_and_what_programs_start_from_stays(tmp_path: Path) -> None:
    log = MemoryLog()
    a_long_history(log)
    sealer = a_sealer(log, tmp_path, Limits(segment_events=20, segment_age=0, stream_events=1000))
    sealer.look(LATER)
    assert len(moments_of(sealer)) > 3 and thin(sealer) == 0
    trimmed = a_sealer(log, tmp_path, EMPTY_STREAM)
    trimmed.look(LATER)
    assert thin(trimmed) > 0
    assert sealer.manifest.thinned == () and trimmed.manifest.thinned[0].until == moments_of(trimmed)[-2]


def test_a_second_kind_is_thinned_from_the_beginning_as_well(tmp_path: Path) -> None:
    log, sealer, entries = a_sealed_log(tmp_path)
    thin(sealer)
    thin(sealer, Retention(9, {"core/pods": DAY, "apps/statefulsets": DAY}))
    rows = {each.resource: (each.until, each.policy) for each in sealer.manifest.thinned}
    assert rows == {
        "core/pods": (moments_of(sealer)[-2], 7),
        "apps/statefulsets": (moments_of(sealer)[-2], 9),
    }
    until = moments_of(sealer)[-2]
    assert all_entries(archived(log, tmp_path)) == [
        each for each in entries if each.position > until or resource_of(each.key) not in PODS | SETS
    ]
    assert list(sealer.archive.check()) == []
    assert [each.chain for each in sealer.manifest.segments[:-1]] == [
        sealer.archive.footer(each).previous for each in sealer.manifest.segments[1:]
    ]


def test_the_policy_itself_is_never_thinned(tmp_path: Path) -> None:
    assert all(is_kept(key, frozenset({"core/configmaps", "chronoset/log"})) for key in KEPT_KEYS)
    assert not is_kept("core/configmaps/default/other", frozenset({"core/configmaps"}))


def test_a_snapshot_that_a_fold_does_not_give_keeps_what_is_before_it(tmp_path: Path) -> None:
    log, sealer, entries = a_sealed_log(tmp_path)
    store, row = Folder(tmp_path), sealer.manifest.snapshots[0]
    wrong = unpack_state(store.get(row.name), row.name)
    wrong.ever_ready.add("nobody")
    content = pack_state(wrong)
    other = replace(row, digest=digest_of(content), bytes=len(content))
    store.put(row.name, content)
    sealer._switch(
        replace(
            sealer.manifest,
            number=sealer.manifest.number + 1,
            snapshots=(other, *sealer.manifest.snapshots[1:]),
        )
    )
    with pytest.raises(
        LostHistory, match="differs from a replay in ever_ready: nothing before it is thinned"
    ):
        thin(sealer)
    assert all_entries(archived(log, tmp_path)) == entries


def test_a_damaged_segment_is_not_thinned(tmp_path: Path) -> None:
    _, sealer, _ = a_sealed_log(tmp_path)
    path = tmp_path / sealer.manifest.segments[0].name
    path.write_bytes(path.read_bytes().replace(b"chronoseg", b"chronosez"))
    with pytest.raises(LostHistory):
        thin(sealer)
    assert sealer.manifest.thinned == ()


def test_old_files_stay_while_a_server_that_lost_a_second_could_name_them(tmp_path: Path) -> None:
    log, sealer, entries = a_sealed_log(tmp_path)
    before = log.sealed()
    thin(sealer)
    sealer.open()
    epoch = log.take_over()
    assert log.switch(epoch, before)
    assert all_entries(archived(log, tmp_path)) == entries
    again = a_sealer(log, tmp_path, EMPTY_STREAM)
    assert thin(again) > 0
    until_old_files_are_gone(again)
    named = {each.name for each in again.manifest.segments}
    assert set(Folder(tmp_path).names("segments")) == named


def doomed_thinning(log: MemoryLog, folder: Path, doom: Doom) -> None:
    store = doom.bind(Folder(folder), "put", "get", "delete")
    sealer = Sealer(doom.bind(Frail(log), "switch"), store, EMPTY_STREAM)
    sealer.open()
    thin(sealer)


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after it"])
def test_a_death_at_any_step_loses_nothing_and_shows_nothing_by_half(tmp_path: Path, after: bool) -> None:
    log, _, entries = a_sealed_log(tmp_path / "origin", 6)
    doom = Doom(1 << 30, after=False)
    shutil.copytree(tmp_path / "origin", tmp_path / "count")
    doomed_thinning(a_copy(log), tmp_path / "count", doom)
    steps = (1 << 30) - doom.left
    assert steps > 10
    for step in range(steps):
        copy, folder = a_copy(log), tmp_path / f"{step}"
        shutil.copytree(tmp_path / "origin", folder)
        with pytest.raises(Death):
            doomed_thinning(copy, folder, Doom(step, after))
        through = archived(copy, folder)
        manifest = through.archive.refresh()
        assert list(through.archive.check()) == []
        until = manifest.thinned[0].until if manifest.thinned else 0
        assert all_entries(through) == _kept(entries, until), f"after step {step}"
        successor = a_sealer(copy, folder, EMPTY_STREAM)
        thin(successor)
        until = successor.manifest.thinned[0].until
        assert all_entries(archived(copy, folder)) == _kept(entries, until), f"after {step} and a successor"


def _kept(entries: Sequence[Entry], until: Position) -> list[Entry]:
    return [each for each in entries if each.position > until or resource_of(each.key) not in PODS]


def test_the_sweep_of_one_that_is_outrun_meanwhile_takes_nothing_that_was_thinned(tmp_path: Path) -> None:
    log, _, entries = a_sealed_log(tmp_path)

    class Slow(Folder):
        """While its first look at a folder takes long, another takes over and thins."""

        def names(self, folder: str) -> list[str]:
            if not successors:
                successors.append(a_sealer(log, tmp_path, EMPTY_STREAM))
                assert thin(successors[0]) > 0
            return super().names(folder)

    successors: list[Sealer] = []
    outrun = Sealer(log, Slow(tmp_path), EMPTY_STREAM)
    outrun.open()
    assert list(successors[0].archive.check()) == []
    assert all_entries(archived(log, tmp_path)) == _kept(entries, successors[0].manifest.thinned[0].until)
    with pytest.raises(Outrun):
        thin(outrun)


def test_the_archive_goes_on_behind_what_is_thinned(tmp_path: Path) -> None:
    log = MemoryLog()
    world = a_long_history(log)
    sealer = a_sealer(log, tmp_path, EMPTY_STREAM)
    sealer.look(LATER)
    thin(sealer)
    for number in range(30):
        world.commit(Create(a_bare_pod(f"late-{number}")))
    a_sealer(log, tmp_path, EMPTY_STREAM).look(LATER)
    through = archived(log, tmp_path)
    assert facts_of(replay(through, log.last())).items() >= {"objects": world.state.objects}.items()
    assert log.sealed() != Sealed() and list(through.archive.check()) == []
    assert [decode(each).key for each in all_entries(through)][-1] == "core/pods/default/late-29"
