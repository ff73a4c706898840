"""Where a cluster's archive is, and the log that reads through it: what every program opens."""

from __future__ import annotations

import os

from events.archive import Archive
from events.archive_index import ArchiveIndex
from events.archived_log import ArchivedLog
from events.history import History
from events.log import Log, Sealable
from events.sealing import Limits
from events.stores import Store, open_store
from schemas.retention import KEY, Retention, periods_of
from services.settings import Settings

FOLDER = "archive"
_MEMORY = "archive-place"
_INDEX = "archive-index.sqlite"


def place_of(settings: Settings) -> str:
    """Return the folder or URL of the archive: the one that is set, that `up` was last started with, or the default."""
    if settings.archive:
        return settings.archive
    try:
        remembered = (settings.data_dir / _MEMORY).read_text().strip()
    except OSError:
        remembered = ""
    return remembered or str(settings.data_dir.absolute() / FOLDER)


def remember_place(settings: Settings) -> None:
    """Write down where the archive is, for commands that are not told."""
    if settings.archive:
        path = settings.data_dir / _MEMORY
        place = settings.archive
        path.write_text(f"{place if '://' in place else os.path.abspath(place)}\n")


def store_of(settings: Settings) -> Store:
    """Return the store of the archive. Raises BadRequest for a URL that nothing here can reach."""
    return open_store(place_of(settings))


def index_of(settings: Settings) -> ArchiveIndex:
    """Return the archive's index, which lies on this machine also where the archive does not."""
    return ArchiveIndex(settings.data_dir.absolute() / _INDEX)


def archived(log: Sealable, settings: Settings) -> ArchivedLog:
    """Return a log continued backwards by its archive."""
    return ArchivedLog(log, Archive(store_of(settings), lambda: log.sealed().manifest))


def history_of(log: Log, settings: Settings) -> History:
    """Return what reads the past of a log that `archived` gave."""
    return History(log, index_of(settings))


def retention_of(history: History) -> Retention:
    """Return the policy as the log has it: none where nobody has set one. Raises Unavailable, LostHistory."""
    versions = history.versions_of(KEY, 1)
    return (
        Retention(versions[0].event.position, periods_of(versions[0].new)) if versions else Retention(0, {})
    )


def limits_of(settings: Settings) -> Limits:
    """Return when what is sealed."""
    return Limits(settings.seal_events, settings.seal_age, settings.stream_events)
