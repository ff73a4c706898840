"""Where each object's entries and each actor's are in the archive: a SQLite file beside it, made of the segments.

It holds nothing that the segments do not say themselves; where it is missing, behind or broken, they are asked, which
takes longer, and `chronoset archive index` makes it anew. A segment is known by its name, and by the digest that it has
in the chain, which it keeps when it is thinned: its rows are of no use then, until they are written anew.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from events.archive import Archive, Segment
from events.segments import BLOCK, Block
from schemas.errors import Unavailable
from schemas.objects import Key

_SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (number INTEGER PRIMARY KEY, name TEXT NOT NULL, chain TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS objects (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS changes (object INTEGER, segment INTEGER, places BLOB NOT NULL,
  PRIMARY KEY (object, segment)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS actors (name TEXT, segment INTEGER, blocks BLOB NOT NULL,
  PRIMARY KEY (name, segment)) WITHOUT ROWID;
"""
_ACTORS = """
WITH RECURSIVE names(name) AS (
  SELECT min(name) FROM actors
  UNION ALL SELECT (SELECT min(name) FROM actors WHERE name > names.name) FROM names WHERE name IS NOT NULL
) SELECT name FROM names WHERE name IS NOT NULL AND ? > 0
"""
"""Every actor once, by as many steps into the index as there are actors."""
_BLOCKS = """
SELECT segment, segments.name, blocks FROM actors JOIN segments ON segment = number
WHERE actors.name = ? AND segment < ?
"""
_PATIENCE = 5.0


class Place(NamedTuple):
    """Some of an object's entries: in which block of which file, and which of the entries there."""

    segment: str
    start: int
    length: int
    ordinals: tuple[int, ...]


class ArchiveIndex:
    """The index of an archive. One process writes it; any number read. Thread-safe. Without a `path` there is none."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reading: sqlite3.Connection | None = None

    def add(self, archive: Archive) -> int:
        """Bring the index up to the archive's manifest; return how many segments were added.

        One of another archive, or one that is broken, is made anew. Raises Unavailable where it cannot be written.
        """
        if self.path is None:
            return 0
        try:
            return _add(self.path, archive)
        except sqlite3.DatabaseError:
            self.close()
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        try:
            return _add(self.path, archive)
        except sqlite3.Error as error:
            raise Unavailable(f"the archive's index {self.path} cannot be written: {error}") from error

    def places_of(self, archive: Archive, key: Key) -> Iterator[Place]:
        """Yield where an object's entries are, newest first. Raises LostHistory where a segment is damaged."""
        manifest = archive.manifest
        segments, begin = manifest.segments, manifest.thinned_until(key)
        known, rows = self._ask(
            segments,
            "SELECT segment, name, places FROM changes JOIN objects ON object = id JOIN segments ON segment = number "
            "WHERE key = ? AND segment < ? ORDER BY segment DESC",
            key,
        )
        for segment in reversed(segments[known:]):
            if segment.last > begin:
                yield from _found(archive, segment, key)
        for number, name, packed in rows:
            segment = segments[number]
            if segment.last <= begin:
                return
            if name != segment.name:
                yield from _found(archive, segment, key)
                continue
            for start, length, ordinals in reversed(msgpack.unpackb(packed)):
                yield Place(name, start, length, tuple(ordinals))

    def blocks_by(
        self, archive: Archive, numbers: range, has_actor: Callable[[str], bool]
    ) -> Iterator[tuple[int, set[int]]]:
        """Yield in which blocks of which segments, of those with such numbers, such actors wrote, oldest first.

        Segments that the index does not know are asked themselves. Raises as `places_of`.
        """
        segments = archive.manifest.segments
        known, names = self._ask(segments, _ACTORS)
        found: dict[int, list[tuple[str, bytes]]] = {}
        for (actor,) in names:
            if has_actor(actor):
                again, rows = self._ask(segments, _BLOCKS, actor)
                known = min(known, again)
                for number, name, packed in rows:
                    found.setdefault(number, []).append((name, packed))
        for number in numbers:
            name, rows = segments[number].name, found.get(number, [])
            if number >= known or any(of != name for of, _ in rows):
                actors = archive.contents(segments[number]).actors
                blocks = {block for actor, within in actors.items() if has_actor(actor) for block in within}
            else:
                blocks = {block for _, packed in rows for block in msgpack.unpackb(packed)}
            if blocks:
                yield number, blocks

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._reading is not None:
                self._reading.close()
                self._reading = None

    def _ask(self, segments: Sequence[Segment], query: str, *names: str) -> tuple[int, list[Any]]:
        """Return how many of the segments, from the first, the index knows, and what it says of a name in those.

        The query's last parameter is how many. An index that is not there, not of this archive or broken knows none.
        """
        if self.path is None:
            return 0, []
        with self._lock:
            try:
                if self._reading is None:
                    where = f"{self.path.absolute().as_uri()}?mode=ro"
                    self._reading = sqlite3.connect(
                        where, uri=True, timeout=_PATIENCE, check_same_thread=False
                    )
                known = _common(self._reading, segments) or 0
                return known, self._reading.execute(query, (*names, known)).fetchall()
            except sqlite3.Error:
                self._reading = None
                return 0, []


def _add(path: Path, archive: Archive) -> int:
    segments = archive.manifest.segments
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
        database.executescript(_SCHEMA)
        known = _common(database, segments)
        if known is None:
            raise sqlite3.DatabaseError("it is of another archive")
        names = dict(database.execute("SELECT number, name FROM segments").fetchall())
        due = [number for number, segment in enumerate(segments) if names.get(number) != segment.name]
        for number in due:
            with database:
                _add_segment(database, archive, number, segments[number])
    return len(due)


def _common(database: sqlite3.Connection, segments: Sequence[Segment]) -> int | None:
    """Return how many of the segments a database knows, from the first; None where it is of another archive."""
    ((count,),) = database.execute("SELECT count(*) FROM segments").fetchall()
    last = min(count, len(segments)) - 1
    if last < 0:
        return 0
    found = database.execute("SELECT chain FROM segments WHERE number = ?", (last,)).fetchall()
    return last + 1 if found == [(segments[last].chain,)] else None


def _add_segment(database: sqlite3.Connection, archive: Archive, number: int, segment: Segment) -> None:
    blocks, contents = archive.footer(segment).blocks, archive.contents(segment)
    database.executemany(
        "INSERT OR IGNORE INTO objects (key) VALUES (?)", ((key,) for key in contents.objects)
    )
    database.executemany(
        "INSERT OR REPLACE INTO changes SELECT id, ?, ? FROM objects WHERE key = ?",
        (
            (number, msgpack.packb(_places(blocks, ordinals)), key)
            for key, ordinals in contents.objects.items()
        ),
    )
    database.execute("DELETE FROM actors WHERE segment = ?", (number,))
    database.executemany(
        "INSERT OR REPLACE INTO actors VALUES (?, ?, ?)",
        ((name, number, msgpack.packb(found)) for name, found in contents.actors.items()),
    )
    database.execute(
        "INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", (number, segment.name, segment.chain)
    )


def _found(archive: Archive, segment: Segment, key: Key) -> Iterator[Place]:
    """Yield where an object's entries are in a segment by what that says itself, newest first."""
    places = _places(archive.footer(segment).blocks, archive.contents(segment).objects.get(key, ()))
    yield from (Place(segment.name, *each) for each in reversed(places))


def _places(blocks: Sequence[Block], ordinals: Iterable[int]) -> list[tuple[int, int, tuple[int, ...]]]:
    """Return where entries of a segment are: start and length of each block, and which of its entries."""
    by_block: dict[int, list[int]] = {}
    for ordinal in ordinals:
        by_block.setdefault(ordinal // BLOCK, []).append(ordinal % BLOCK)
    return [(blocks[at].start, blocks[at].length, tuple(found)) for at, found in by_block.items()]
