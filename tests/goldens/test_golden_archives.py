"""An archive of every released format is read for ever: its entries, its snapshots, its index of objects."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from events.archive import Archive
from events.archive_index import ArchiveIndex
from events.archived_log import ArchivedLog
from events.history import History
from events.memory import MemoryLog
from events.replay import replay
from events.state import State
from events.stores import Folder
from schemas.patching import strictly_equal
from tests.goldens.test_golden_logs import FOLDER, entries_of

DIGESTS = {1: "930413d02f2a0a8073c9013952afb96f69c92d83343b3caec1b97cd46019e340"}
"""sha256 over the names and contents of each golden archive. A line here never changes: a new format adds one."""


def files_of(version: int) -> list[Path]:
    return sorted(path for path in (FOLDER / f"archive-v{version}").rglob("*") if path.is_file())


def the_archive(version: int) -> Archive:
    archive = Archive(Folder(FOLDER / f"archive-v{version}"))
    archive.refresh()
    return archive


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_the_golden_archive_was_not_rewritten(version: int) -> None:
    found = hashlib.sha256()
    for path in files_of(version):
        found.update(path.name.encode() + path.read_bytes())
    assert found.hexdigest() == DIGESTS[version]


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_the_golden_archive_holds_the_golden_log(version: int) -> None:
    archive = the_archive(version)
    assert archive.read(0, 1000) == entries_of(version)[: len(archive.read(0, 1000))]
    assert archive.manifest.end == entries_of(version)[-1].position
    assert list(archive.check()) == []


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_its_snapshots_are_what_a_replay_gives(version: int) -> None:
    archive = the_archive(version)
    log = ArchivedLog(MemoryLog(), archive)
    assert archive.manifest.snapshots
    for row in archive.manifest.snapshots:
        kept, folded = archive.snapshot(row.position), replay(log, row.position, State())
        assert kept is not None and strictly_equal(kept.objects, folded.objects)
        assert (kept.guards, kept.ever_ready, kept.failures) == (
            folded.guards,
            folded.ever_ready,
            folded.failures,
        )
    golden = json.loads((FOLDER / f"state-v{version}.json").read_text())
    assert strictly_equal(replay(log, archive.manifest.end).objects, golden["objects"])


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_an_index_can_be_made_of_it(version: int, tmp_path: Path) -> None:
    archive, index = the_archive(version), ArchiveIndex(tmp_path / "index.sqlite")
    assert index.add(archive) == len(archive.manifest.segments)
    key = "apps/statefulsets/default/web"
    wanted = [entry.position for entry in entries_of(version) if entry.key == key]
    past = History(ArchivedLog(MemoryLog(), archive), index)
    assert [each.position for each in past.changes_of(key, 100, archive.manifest.end)] == wanted
    places = list(index.places_of(archive, key))
    assert sum(len(each.ordinals) for each in places) == len(wanted)
