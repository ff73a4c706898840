"""Old snapshots go by a policy, and only so many that every moment is still told, exactly, and soon."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from events import sealing, sparseness
from events.archive import Manifest, Segment, Snapshot, Thinning, pack_manifest, unpack_manifest
from events.archive import manifest_name as name_of_manifest
from events.replay import replay
from events.sealing import KEPT_MANIFESTS
from events.sparseness import surplus_snapshots, without_snapshots
from events.stores import Folder
from schemas.errors import LostHistory
from schemas.positions import Position
from schemas.retention import DAY, SNAPSHOTS, Retention
from schemas.times import Milliseconds
from tests.events.archives import Death, Doom, a_history, a_sealer, archived, facts_of
from tests.events.test_sealing import Frail, a_copy
from tests.events.test_thinning import EMPTY_STREAM, a_sealed_log, moments_of, thin, until_old_files_are_gone

HOUR = DAY // 24
FEWER = Retention(7, {SNAPSHOTS: DAY})
NOW = 1000 * DAY


@pytest.fixture(autouse=True)
def _frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 20)
    monkeypatch.setattr(sealing, "SNAPSHOT_SHARE", 100)


@pytest.fixture
def small_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few objects' snapshots are small beside a segment: they count as large ones."""
    monkeypatch.setattr(sparseness, "SPARSE_SHARE", 1000)


def at(time: Milliseconds) -> Position:
    return (time << 20) + 7


def a_manifest(hours: list[int], sealed: int = 1, size: int = 100) -> Manifest:
    """Return a manifest with a snapshot of a size at each of some hours, and so many sealed bytes before each."""
    segments = [Segment(f"{hour}", 0, at(hour * HOUR), at(hour * HOUR), 1, sealed, "") for hour in hours]
    snapshots = [Snapshot(f"{hour}", at(hour * HOUR), 1, size, "") for hour in hours]
    return Manifest("log", "c", 1, tuple(segments), tuple(snapshots))


def hours_left(manifest: Manifest, retention: Retention = FEWER, now: Milliseconds = NOW) -> list[int]:
    gone = {each.name for each in surplus_snapshots(manifest, retention, now)}
    return [int(each.name) for each in manifest.snapshots if each.name not in gone]


def test_without_a_policy_all_stay() -> None:
    assert hours_left(a_manifest([*range(50)]), Retention(7, {"core/pods": DAY})) == [*range(50)]


def test_one_a_day_stays_and_the_first_and_the_newest_two() -> None:
    assert hours_left(a_manifest([*range(60)])) == [0, 24, 48, 58, 59]
    assert hours_left(a_manifest([0, 20, 40, 60, 61, 62])) == [0, 20, 40, 61, 62]
    assert hours_left(a_manifest([])) == [] and hours_left(a_manifest([3, 4])) == [3, 4]


def test_between_two_there_is_never_more_of_the_log_than_twice_the_later_one() -> None:
    assert hours_left(a_manifest([*range(12)], sealed=50)) == [0, 4, 8, 10, 11]
    assert hours_left(a_manifest([*range(5)], sealed=201)) == [0, 1, 2, 3, 4]


def test_what_is_younger_than_the_policy_says_stays() -> None:
    assert hours_left(a_manifest([*range(20)]), now=DAY + 9 * HOUR) == [0, *range(10, 20)]


def test_a_moment_at_which_a_thinned_stretch_ends_stays() -> None:
    thinned = Thinning("core/pods", at(5 * HOUR), 7, DAY, NOW)
    assert hours_left(replace(a_manifest([*range(20)]), thinned=(thinned,))) == [0, 5, 18, 19]


def test_looking_again_finds_nothing_more_and_goes_on_where_it_was() -> None:
    manifest = a_manifest([*range(100)])
    for now in range(DAY, 8 * DAY, 5 * HOUR):
        if surplus := surplus_snapshots(manifest, FEWER, now):
            manifest = without_snapshots(manifest, surplus, FEWER, now)
            assert manifest.sparse == Thinning(SNAPSHOTS, surplus[-1].position, 7, DAY, now)
        assert surplus_snapshots(manifest, FEWER, now) == ()
    hours = [int(each.name) for each in manifest.snapshots]
    assert all(b - a <= 24 for a, b in pairwise(hours)) and len(hours) < 12


def test_what_is_sparse_is_in_the_manifest_and_other_programs_read_that_as_before() -> None:
    manifest = a_manifest([*range(5)])
    for one in (manifest, without_snapshots(manifest, manifest.snapshots[1:2], FEWER, NOW)):
        content = pack_manifest(one)
        assert unpack_manifest(content, name_of_manifest(one.number, content)) == one
        assert b'"format":1' in content and (b"sparse" in content) is (one.sparse is not None)


@pytest.mark.usefixtures("small_snapshots")
def test_every_moment_is_told_as_before_from_fewer_snapshots(tmp_path: Path) -> None:
    log, sealer, entries = a_sealed_log(tmp_path)
    before = [facts_of(replay(archived(log, tmp_path), each.position)) for each in entries]
    moments = moments_of(sealer)
    assert thin(sealer, FEWER) == 0 and thin(sealer, FEWER) == 0
    left = moments_of(sealer)
    assert left[0] == moments[0] and left[-2:] == moments[-2:] and set(left) < set(moments)
    past = a_history(log, tmp_path)
    assert [facts_of(past.state_at(each.position)) for each in entries] == before
    assert list(sealer.archive.check()) == []
    until_old_files_are_gone(sealer)
    assert Folder(tmp_path).names("snapshots") == sorted(each.name for each in sealer.manifest.snapshots)


@pytest.mark.usefixtures("small_snapshots")
def test_none_goes_where_the_one_beside_it_is_damaged(tmp_path: Path) -> None:
    _, sealer, _ = a_sealed_log(tmp_path)
    before = sealer.manifest
    path = tmp_path / before.snapshots[0].name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LostHistory, match="is damaged: its digest is another"):
        thin(sealer, FEWER)
    assert sealer.manifest == before


@pytest.mark.usefixtures("small_snapshots")
def test_files_stay_while_a_server_that_lost_a_second_could_name_them(tmp_path: Path) -> None:
    log, sealer, _ = a_sealed_log(tmp_path)
    before = log.sealed()
    thin(sealer, FEWER)
    for _ in range(KEPT_MANIFESTS - 2):
        sealer._switch(replace(sealer.manifest, number=sealer.manifest.number + 1))
    a_sealer(log, tmp_path, EMPTY_STREAM)
    assert log.switch(log.take_over(), before)
    through = archived(log, tmp_path)
    through.archive.refresh()
    assert list(through.archive.check()) == []


@pytest.mark.usefixtures("small_snapshots")
@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after it"])
def test_a_death_at_any_step_leaves_all_or_fewer_snapshots_and_every_moment(
    tmp_path: Path, after: bool
) -> None:
    log, sealer, _ = a_sealed_log(tmp_path / "origin", 16)
    everything = moments_of(sealer)
    fewer = [
        each.position
        for each in sealer.manifest.snapshots
        if each not in surplus_snapshots(sealer.manifest, FEWER, NOW**2)
    ]
    assert len(fewer) < len(everything)
    step = 0
    while True:
        copy, folder = a_copy(log), tmp_path / f"{step}"
        shutil.copytree(tmp_path / "origin", folder)
        doom = Doom(step, after)
        try:
            doomed = sealing.Sealer(
                doom.bind(Frail(copy), "switch"),
                doom.bind(Folder(folder), "put", "get", "delete"),
                EMPTY_STREAM,
            )
            doomed.open()
            thin(doomed, FEWER)
        except Death:
            pass
        through = archived(copy, folder)
        found = [each.position for each in through.archive.refresh().snapshots]
        assert found in (everything, fewer) and list(through.archive.check()) == []
        successor = a_sealer(copy, folder, EMPTY_STREAM)
        thin(successor, FEWER)
        assert moments_of(successor) == fewer and list(successor.archive.check()) == []
        if not doom.struck:
            break
        step += 1
    assert step > 5
