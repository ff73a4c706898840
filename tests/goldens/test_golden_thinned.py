"""A thinned archive of every released format is read for ever: what is left of its events, and its kept states."""

from __future__ import annotations

import hashlib

import pytest

from events.archive import Archive
from events.archived_log import ArchivedLog
from events.fold import apply_entries
from events.history import History
from events.memory import MemoryLog
from events.state import State
from events.stores import Folder
from schemas.errors import Thinned
from schemas.objects import resource_of
from schemas.patching import strictly_equal
from tests.goldens.test_golden_archives import files_of
from tests.goldens.test_golden_logs import FOLDER, entries_of

DIGESTS = {2: "1a7ab9af9893d6b716ecce122f5b2dfb70784c2c7329694a38cbae0eb3d3886c"}
"""sha256 over the names and contents of each. A line here never changes: a new format adds one."""
LOG = 1
"""The version of the golden log that is in it."""


def the_archive(version: int) -> Archive:
    archive = Archive(Folder(FOLDER / f"archive-v{version}"))
    archive.refresh()
    return archive


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_the_thinned_archive_was_not_rewritten(version: int) -> None:
    found = hashlib.sha256()
    for path in files_of(version):
        found.update(path.name.encode() + path.read_bytes())
    assert found.hexdigest() == DIGESTS[version]


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_it_has_all_events_but_those_that_were_dropped(version: int) -> None:
    archive = the_archive(version)
    (row,) = archive.manifest.thinned
    kept = [
        each for each in entries_of(LOG) if each.position > row.until or resource_of(each.key) != row.resource
    ]
    assert archive.read(0, 1000) == kept and len(kept) < len(entries_of(LOG))
    assert list(archive.check()) == []


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_its_kept_moments_are_what_the_golden_log_gives(version: int) -> None:
    archive = the_archive(version)
    past = History(ArchivedLog(MemoryLog(), archive))
    for row in archive.manifest.snapshots:
        state = State()
        apply_entries(state, [each for each in entries_of(LOG) if each.position <= row.position])
        kept = past.state_at(row.position)
        assert strictly_equal(kept.objects, state.objects) and kept.guards == state.guards
    first, second, *_ = (each.position for each in archive.manifest.snapshots)
    between = next(each.position for each in entries_of(LOG) if first < each.position < second)
    with pytest.raises(Thinned):
        past.state_at(between)
