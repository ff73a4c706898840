"""A log whose beginning may have been sealed into an archive: who reads it need not know where the entries are.

Entries name the one before them, so a gap shows: then the archive's manifest is read again, and the archive. Where that
does not hold them either, what was found is returned as it is, and whoever folds it finds the gap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from events.archive import Archive
from events.codec import Entry
from events.log import Appended, Batch, Gap, Log, Remembered
from events.state import Facts
from schemas.errors import ChronosetError, LostHistory, Unavailable
from schemas.objects import Key
from schemas.positions import Position


class ArchivedLog:
    """A Log: `log`, continued backwards by `archive`."""

    def __init__(self, log: Log, archive: Archive) -> None:
        self.cluster = log.cluster
        self.archive = archive
        self._log = log
        self._begin: Position = 0
        """Behind which the log is known to have begun: it only ever loses more of its beginning."""

    def read(self, after: Position, limit: int, until: Position | None = None) -> list[Entry]:
        if after < self._begin and (archived := self._archived(after, limit, until)):
            return archived
        entries = self._log.read(after, limit, until)
        if self._is_whole(entries, after, until):
            return entries
        if entries:
            self._begin = max(self._begin, entries[0].after)
        return self._archived(after, limit, until) or self._log.read(after, limit, until)

    def follow(self, after: Position, limit: int, timeout: float) -> list[Entry]:
        entries = self._log.follow(after, limit, timeout)
        if not entries or entries[0].after <= after:
            return entries
        return self._archived(after, limit, None) or entries

    def snapshot(self, until: Position | None = None) -> Facts | None:
        """As the protocol says. Without the archive a fold begins at the beginning: if that needs it, it will tell."""
        try:
            self.archive.refresh()
        except (LostHistory, Unavailable) as why:
            self.archive.complain(str(why))
            return None
        return self.archive.snapshot(until)

    def gap(self, after: Position, until: Position) -> Gap | None:
        manifest = self.archive.refresh()
        rows = [each for each in manifest.thinned if after < each.until and after < until]
        if not rows:
            return None
        moments = [each.position for each in manifest.snapshots]
        at = bisect_right(moments, until)
        return Gap(
            frozenset(each.resource for each in rows),
            max(each.until for each in rows),
            moments[at - 1] if at else 0,
            moments[at] if at < len(moments) else 0,
        )

    def create(self) -> str:
        return self._log.create()

    def log_id(self) -> str:
        return self._log.log_id()

    def append(self, batch: Batch) -> Appended:
        return self._log.append(batch)

    def append_all(self, batches: Sequence[Batch]) -> list[Appended | ChronosetError]:
        return self._log.append_all(batches)

    def command(self, command: str) -> Remembered | None:
        return self._log.command(command)

    def set_read_only(self, reason: str) -> None:
        self._log.set_read_only(reason)

    def last(self) -> Position:
        return self._log.last()

    def heads(self, keys: list[Key]) -> dict[Key, Position]:
        return self._log.heads(keys)

    def interrupt(self) -> None:
        self._log.interrupt()

    def close(self) -> None:
        self._log.close()

    def _is_whole(self, entries: list[Entry], after: Position, until: Position | None) -> bool:
        if entries:
            return entries[0].after <= after
        return until is None or until <= after or self.archive.refresh().end <= after

    def _archived(self, after: Position, limit: int, until: Position | None) -> list[Entry]:
        """Return what the archive holds behind a position; nothing where that is not sealed."""
        if self.archive.refresh().end <= after:
            return []
        return self.archive.read(after, limit, until)
