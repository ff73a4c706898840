"""A backup is a beginning of the log; a cluster begun again with it is the cluster of that moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from events import sealing, sparseness
from events.archive import Archive
from events.archived_log import ArchivedLog
from events.log import Sealable
from events.memory import MemoryLog
from events.redis_log import RedisLog
from events.replay import replay
from events.sealing import Limits
from events.state import State
from events.stores import Bucket, Folder, Store
from schemas.changes import Create
from schemas.envelopes import EPOCH
from schemas.errors import AlreadyExists, BadRequest, LostHistory, NotFound
from schemas.positions import stream_id_of
from schemas.retention import DAY, SNAPSHOTS, Retention
from services.backups import back_up, opened, restore, restore_keys, state_in
from services.bootstrap import start_epoch
from tests.events.archives import LATER, a_long_history, a_sealer, all_entries, archived, facts_of
from tests.events.worlds import World, a_bare_pod
from tests.servers import fake_client


@pytest.fixture(autouse=True)
def _frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 20)


@pytest.fixture(params=["folder", "url"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Where the backup goes: a folder, or a store that fsspec reaches."""
    if request.param == "folder":
        return Folder(tmp_path / "backup")
    return Bucket(f"memory://{tmp_path.name}/backup")


def a_cluster(tmp_path: Path, is_sealed: bool = True) -> tuple[World, ArchivedLog]:
    log = MemoryLog("prod")
    world = a_long_history(log, 15)
    if is_sealed:
        a_sealer(log, tmp_path / "archive").look(LATER)
        world.commit(Create(a_bare_pod("behind-the-seal")))
    return world, archived(log, tmp_path / "archive")


def begun_again(archive: Archive, state: State, tmp_path: Path) -> ArchivedLog:
    client = fake_client()
    store = Folder(tmp_path / "again")
    restore(archive, state, store, client, "again")
    log: Sealable = RedisLog(client, "again", patience=0.5)
    return archived(log, tmp_path / "again")


@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "never sealed"])
def test_a_backup_holds_the_whole_log(tmp_path: Path, target: Store, is_sealed: bool) -> None:
    world, log = a_cluster(tmp_path, is_sealed)
    entries = all_entries(log)
    done = back_up(log, target)
    found = opened(target)
    assert found.read(0, 10_000) == entries and found.manifest == done.manifest
    assert facts_of(state_in(found, log.last())) == facts_of(replay(log, log.last()))
    assert list(found.check()) == [] and world.state.position == found.manifest.end


def test_a_second_backup_copies_what_is_new(tmp_path: Path, target: Store) -> None:
    world, log = a_cluster(tmp_path)
    first = back_up(log, target)
    again = back_up(log, target)
    assert again.manifest.end == first.manifest.end and again.written < first.written / 3
    world.commit(Create(a_bare_pod("new")))
    back_up(log, target)
    assert opened(target).read(0, 10_000) == all_entries(log)
    assert set(target.names("segments")) == {each.name for each in opened(target).manifest.segments}


def test_a_backup_keeps_the_snapshots_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "SNAPSHOT_SHARE", 1000)
    monkeypatch.setattr(sparseness, "SPARSE_SHARE", 1000)
    _, log = a_cluster(tmp_path)
    target = Folder(tmp_path / "backup")
    first = back_up(log, target).manifest
    assert isinstance(log._log, MemoryLog)
    sealer = a_sealer(log._log, tmp_path / "archive", Limits(20, 0, 0))
    sealer.thin(Retention(7, {SNAPSHOTS: DAY}), LATER)
    assert len(sealer.manifest.snapshots) < len(first.snapshots)
    second = back_up(log, target).manifest
    assert second.snapshots == first.snapshots and list(opened(target).check()) == []
    fresh = back_up(log, Folder(tmp_path / "fresh")).manifest
    assert fresh.snapshots == sealer.manifest.snapshots and fresh.sparse == sealer.manifest.sparse
    found = opened(Folder(tmp_path / "fresh"))
    state = state_in(found, fresh.snapshots[1].position)
    restored = begun_again(found, state, tmp_path).archive.refresh()
    assert restored.sparse is not None and restored.sparse.until <= restored.end


def test_what_is_appended_meanwhile_is_behind_its_end(tmp_path: Path) -> None:
    world, log = a_cluster(tmp_path)
    end = log.last()

    class Busy(Folder):
        def put(self, name: str, content: bytes) -> None:
            world.commit(Create(a_bare_pod(f"meanwhile-{log.last()}")))
            super().put(name, content)

    done = back_up(log, Busy(tmp_path / "backup"))
    assert done.manifest.end == end < log.last()
    assert state_in(opened(Folder(tmp_path / "backup")), end).position == end


def test_a_cluster_is_begun_again_as_it_was(tmp_path: Path, target: Store) -> None:
    world, log = a_cluster(tmp_path)
    back_up(log, target)
    found = opened(target)
    again = begun_again(found, state_in(found, log.last()), tmp_path)
    assert all_entries(again) == all_entries(log) and again.log_id() == log.log_id()
    assert again.last() == log.last() and again.cluster == "again"
    keys = list(world.state.objects)
    assert again.heads(keys) == {key: dict(world.state.heads())[key] for key in keys}


def test_a_cluster_is_begun_again_at_any_moment_and_goes_on_from_there(tmp_path: Path) -> None:
    _, log = a_cluster(tmp_path)
    target = Folder(tmp_path / "backup")
    back_up(log, target)
    found = opened(target)
    positions = [each.position for each in all_entries(log)]
    for number, position in enumerate(positions[:: len(positions) // 6]):
        state = state_in(found, position)
        again = begun_again(found, state, tmp_path / f"{number}")
        assert again.last() == state.position <= position
        epoch = start_epoch(again, again.log_id(), found.manifest.end, "prod")
        after = replay(again, again.last(), State())
        assert after.objects == state.objects and after.position == epoch
        (event,) = [each for each in all_entries(again) if each.type == "EpochStarted"]
        assert event.position == epoch
        from events.codec import decode

        body = decode(event).body
        assert decode(event).op == EPOCH and body == {
            "end": stream_id_of(state.position),
            "seen": stream_id_of(found.manifest.end),
            "restored": "prod",
        }


def test_a_restored_cluster_can_be_sealed_on(tmp_path: Path) -> None:
    _, log = a_cluster(tmp_path)
    back_up(log, Folder(tmp_path / "backup"))
    found = opened(Folder(tmp_path / "backup"))
    client = fake_client()
    restore(found, state_in(found, log.last()), Folder(tmp_path / "again"), client, "again")
    stream = RedisLog(client, "again", patience=0.5)
    start_epoch(stream, stream.log_id(), found.manifest.end, "prod")
    a_sealer(stream, tmp_path / "again").look(LATER)
    through = archived(stream, tmp_path / "again")
    assert [each.position for each in all_entries(through)][:-1] == [
        each.position for each in all_entries(log)
    ]
    assert list(through.archive.check()) == []


def test_what_a_backup_does_not_hold_is_refused(tmp_path: Path) -> None:
    _, log = a_cluster(tmp_path)
    target = Folder(tmp_path / "backup")
    with pytest.raises(NotFound, match="holds no backup"):
        opened(target)
    back_up(log, target)
    found = opened(target)
    first, end = found.manifest.segments[0].first, found.manifest.end
    for position in (first - 1, end + 1):
        with pytest.raises(BadRequest, match="is not in the backup, which reaches from"):
            state_in(found, position)
    _, other = a_cluster(tmp_path / "other")
    with pytest.raises(BadRequest, match="is a backup of log"):
        back_up(other, target)


def test_a_place_that_is_taken_is_not_restored_into(tmp_path: Path) -> None:
    _, log = a_cluster(tmp_path)
    target = Folder(tmp_path / "backup")
    back_up(log, target)
    found, client = opened(target), fake_client()
    state = state_in(found, log.last())
    with pytest.raises(BadRequest, match="is not empty"):
        restore(found, state, Folder(tmp_path / "archive"), client, "again")
    client.hset("{again}:heads", "log", "another")
    with pytest.raises(AlreadyExists, match="holds something of a cluster again"):
        restore(found, state, Folder(tmp_path / "again"), client, "again")


def test_a_damaged_archive_is_not_backed_up_as_if_it_were_whole(tmp_path: Path) -> None:
    _, log = a_cluster(tmp_path)
    victim = log.archive.refresh().segments[1]
    path = tmp_path / "archive" / victim.name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LostHistory, match=victim.name):
        back_up(log, Folder(tmp_path / "backup"))
    path.unlink()
    with pytest.raises(LostHistory, match=f"{victim.name} is missing"):
        back_up(log, Folder(tmp_path / "backup"))


def test_keys_come_along_only_when_asked_for(tmp_path: Path) -> None:
    _, log = a_cluster(tmp_path)
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "uid-1.key").write_bytes(b"k" * 32)
    target = Folder(tmp_path / "backup")
    back_up(log, target)
    assert restore_keys(target, tmp_path / "none") == 0 and not (tmp_path / "none").exists()
    back_up(log, target, keys)
    assert restore_keys(target, tmp_path / "some") == 1
    found = tmp_path / "some" / "uid-1.key"
    assert found.read_bytes() == b"k" * 32 and found.stat().st_mode & 0o777 == 0o600
