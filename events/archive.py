"""The archive: the log's older part as sealed segments, snapshots of the fold, and manifests that name them.

A manifest is immutable, like all else here; which one holds, the log's server says (`Sealable.sealed`), so it moves in
one step that no outrun writer can take. An archive that stands alone, as a backup does, is read by its newest
manifest. What is needed and cannot be read is LostHistory that names the file; a damaged snapshot is passed over with a
word, since the one before it will do.

Of some kinds only the states at snapshots may be kept up to a moment (`Thinning`, made by events.thinning).
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import orjson
import structlog

from events.codec import Entry
from events.segments import (
    BLOCK,
    FIRST_READ,
    Contents,
    Footer,
    digest_of,
    footer_length,
    unpack_block,
    unpack_contents,
    unpack_footer,
)
from events.snapshots import unpack_state
from events.state import Facts
from events.stores import Store
from schemas.errors import LostHistory, NotFound, Unavailable
from schemas.objects import Key, resource_of
from schemas.positions import Position, stream_id_of
from schemas.retention import KEPT_KEYS
from schemas.times import Milliseconds

FORMAT = 1
"""Of manifests: what this program writes."""
THINNED_FORMAT = 2
"""Of manifests of an archive that is thinned: what this program writes, and the newest it reads."""
SEGMENTS, SNAPSHOTS, MANIFESTS = "segments", "snapshots", "manifests"
_KEPT_BLOCKS = 16
_KEPT_FOOTERS = 64
_SHORT = 16
"""Digits of a digest in a file's name."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed piece of the log: its entries behind `after`, from `first` to `last`. `bytes` is the file's size.

    Of a thinned one `dropped` entries are gone, and `original` is the digest that it had when it was whole.
    """

    name: str
    after: Position
    first: Position
    last: Position
    events: int
    bytes: int
    digest: str
    dropped: int = 0
    original: str = ""

    @property
    def chain(self) -> str:
        """The digest by which the next segment names this one, which thinning does not change."""
        return self.original or self.digest


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state at a position, in a file of `bytes`."""

    name: str
    position: Position
    objects: int
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Thinning:
    """Of a resource only the states at snapshots are kept up to `until`, which is one's position.

    Of `snapshots` (schemas.retention.SNAPSHOTS) themselves: up to there some are dropped.

    policy   the position of the event that said so (schemas.retention)
    keep     for how long it keeps everything
    at       when this was done, by the historian's clock
    """

    resource: str
    until: Position
    policy: Position
    keep: Milliseconds
    at: Milliseconds


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds: segments without a gap from the log's beginning, snapshots in order, what is thinned."""

    log: str
    cluster: str
    number: int = 0
    segments: tuple[Segment, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    thinned: tuple[Thinning, ...] = ()
    sparse: Thinning | None = None
    """Up to where not all snapshots are kept (events.sparseness)."""

    @property
    def end(self) -> Position:
        """The last position that is sealed; 0 where nothing is."""
        return self.segments[-1].last if self.segments else 0

    @property
    def digest(self) -> str:
        """The digest of the last segment, which the next one names."""
        return self.segments[-1].chain if self.segments else ""

    def segment_behind(self, after: Position) -> int:
        """Return the index of the segment that holds the first entry behind a position."""
        return bisect_right(self.segments, after, key=lambda each: each.last)

    def snapshots_until(self, until: Position) -> tuple[Snapshot, ...]:
        """Return the snapshots of positions up to `until`."""
        return self.snapshots[: bisect_right(self.snapshots, until, key=lambda each: each.position)]

    def thinned_until(self, key: Key) -> Position:
        """Return up to where the events of an object are gone; 0 where none are."""
        if key in KEPT_KEYS:
            return 0
        resource = resource_of(key)
        return next((each.until for each in self.thinned if each.resource == resource), 0)

    def with_segment(self, segment: Segment) -> Manifest:
        return replace(self, number=self.number + 1, segments=(*self.segments, segment))

    def with_snapshot(self, snapshot: Snapshot) -> Manifest:
        return replace(self, number=self.number + 1, snapshots=(*self.snapshots, snapshot))


def manifest_name(number: int, content: bytes) -> str:
    """Return the name of a manifest: the later of two sorts behind; its digest is in it."""
    return f"{MANIFESTS}/{number:010d}-{digest_of(content)[:_SHORT]}.json"


def segment_name(first: Position, content: bytes, number: int = 0) -> str:
    """Return the name of a segment. Two writers of different ones never write the same file.

    That of a thinned one has the number of the manifest that first names it: an outrun writer, who knows earlier ones
    only, leaves it alone.
    """
    thinned = f"-{number}" if number else ""
    return f"{SEGMENTS}/{stream_id_of(first)}-{digest_of(content)[:_SHORT]}{thinned}.seg"


def snapshot_name(position: Position, log: str, content: bytes) -> str:
    """Return the name of a snapshot: its position and its log."""
    return f"{SNAPSHOTS}/{stream_id_of(position)}-{log[:8]}-{digest_of(content)[:_SHORT]}.snap"


def pack_manifest(manifest: Manifest) -> bytes:
    """Return a manifest as JSON."""
    content = asdict(manifest)
    for segment in content["segments"]:
        if not segment["original"]:
            del segment["original"], segment["dropped"]
    if not manifest.thinned:
        del content["thinned"]
    if not manifest.sparse:
        del content["sparse"]
    return orjson.dumps({"format": THINNED_FORMAT if manifest.thinned else FORMAT, **content})


def unpack_manifest(content: bytes, name: str) -> Manifest:
    """Return the manifest of a file. Raises LostHistory where it is damaged, or newer than this program."""
    if name != manifest_name(number_of(name), content):
        raise LostHistory(f"manifest {name} is damaged: its digest is another")
    found: dict[str, Any] = orjson.loads(content)
    if found["format"] > THINNED_FORMAT:
        raise LostHistory(
            f"manifest {name} has format {found['format']}, this program reads up to {THINNED_FORMAT}: "
            "upgrade the readers first"
        )
    return Manifest(
        found["log"],
        found["cluster"],
        found["number"],
        tuple(Segment(**each) for each in found["segments"]),
        tuple(Snapshot(**each) for each in found["snapshots"]),
        tuple(Thinning(**each) for each in found.get("thinned", ())),
        Thinning(**found["sparse"]) if "sparse" in found else None,
    )


class Archive:
    """Reads an archive. Thread-safe.

    `current` returns the name of the manifest that holds, empty where there is none yet; without it the newest one that
    can be read does. `complain` is told of what was damaged and could be done without.
    """

    def __init__(
        self,
        store: Store,
        current: Callable[[], str] | None = None,
        complain: Callable[[str], None] = lambda why: _log.warning("the archive is damaged", why=why),
    ) -> None:
        self.store = store
        self.complain = complain
        self._current = current
        self._lock = threading.Lock()
        self._name = ""
        self._manifest = Manifest("", "")
        self._footers: OrderedDict[str, Footer] = OrderedDict()
        self._blocks: OrderedDict[tuple[str, int], list[Entry]] = OrderedDict()

    @property
    def manifest(self) -> Manifest:
        """The manifest as it was last read."""
        return self._manifest

    def refresh(self) -> Manifest:
        """Read the manifest again if another holds by now. Raises LostHistory where it is missing or damaged."""
        current = self._current or self._newest
        name = current()
        while name != self._name:
            try:
                manifest = self._read_manifest(name) if name else Manifest("", "")
            except LostHistory:
                asked, name = name, current()
                if name == asked:
                    raise
                continue
            with self._lock:
                self._name, self._manifest = name, manifest
        return self._manifest

    def read(self, after: Position, limit: int, until: Position | None = None) -> list[Entry]:
        """Return at most `limit` sealed entries behind `after`, none beyond `until`. Raises LostHistory."""
        manifest, found = self._manifest, list[Entry]()
        for segment in manifest.segments[manifest.segment_behind(after) :]:
            if len(found) >= limit or (until is not None and segment.first > until):
                break
            footer = self.footer(segment)
            first = bisect_right(footer.blocks, after, key=lambda each: each.last)
            for number in range(first, len(footer.blocks)):
                if len(found) >= limit:
                    break
                found += self._behind(self.block(segment, number), after)
        if until is not None:
            del found[bisect_right(found, until, key=lambda each: each.position) :]
        return found[:limit]

    def entries_of(self, resources: frozenset[str], until: Position) -> Iterator[Entry]:
        """Yield the sealed entries of some resources up to a position, in order, by each segment's contents.

        Raises LostHistory.
        """
        for segment in self._manifest.segments:
            if segment.first > until:
                return
            objects = self.contents(segment).objects
            ordinals = sorted(
                each for key, found in objects.items() if resource_of(key) in resources for each in found
            )
            for number, within in groupby(ordinals, lambda ordinal: ordinal // BLOCK):
                entries = self.block(segment, number)
                for entry in (entries[ordinal % BLOCK] for ordinal in within):
                    if entry.position <= until:
                        yield entry

    def newest_snapshot(self, until: Position) -> Position:
        """Return the position of the newest snapshot up to a position; 0 where there is none."""
        rows = self._manifest.snapshots_until(until)
        return rows[-1].position if rows else 0

    def snapshot(self, until: Position | None = None) -> Facts | None:
        """Return the newest state that was kept, of a position up to `until`; None where there is none."""
        manifest = self._manifest
        rows = manifest.snapshots if until is None else manifest.snapshots_until(until)
        for row in reversed(rows):
            try:
                state = unpack_state(self._get(row.name), row.name)
                if (state.log_id, state.position) == (manifest.log, row.position):
                    return state
                self.complain(f"snapshot {row.name} is of another log or position")
            except (LostHistory, Unavailable) as why:
                self.complain(f"{why}; the one before it is used")
        return None

    def footer(self, segment: Segment) -> Footer:
        """Return a segment's footer. Raises LostHistory that names the segment."""
        with self._lock:
            if found := self._footers.get(segment.name):
                return found
        try:
            footer = self._read_footer(segment.name)
        except LostHistory as why:
            raise LostHistory(str(why), segment.first) from why
        if (footer.log, footer.first, footer.last) != (self._manifest.log, segment.first, segment.last):
            raise LostHistory(f"segment {segment.name} is not the one that the manifest names", segment.first)
        with self._lock:
            self._footers[segment.name] = footer
            if len(self._footers) > _KEPT_FOOTERS:
                self._footers.popitem(last=False)
        return footer

    def _read_footer(self, name: str) -> Footer:
        tail = self.part(name, -FIRST_READ, FIRST_READ)
        length = footer_length(tail, name)
        return unpack_footer(tail if length <= len(tail) else self.part(name, -length, length), name)

    def contents(self, segment: Segment) -> Contents:
        """Return which objects and actors are where in a segment. Raises LostHistory."""
        start, length = self.footer(segment).contents
        return unpack_contents(self.part(segment.name, start, length), segment.name)

    def block(self, segment: Segment, number: int) -> list[Entry]:
        """Return the entries of a block of a segment. Raises LostHistory."""
        with self._lock:
            if found := self._blocks.get((segment.name, number)):
                return found
        place = self.footer(segment).blocks[number]
        try:
            entries = unpack_block(self.part(segment.name, place.start, place.length), segment.name)
        except LostHistory as why:
            raise LostHistory(str(why), place.first) from why
        with self._lock:
            self._blocks[segment.name, number] = entries
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return entries

    def part(self, name: str, start: int, length: int) -> bytes:
        """Return a part of a file that the manifest names. Raises LostHistory where it is missing."""
        try:
            return self.store.part(name, start, length)
        except NotFound as error:
            raise LostHistory(f"{name} is missing from the archive {self.store.place}") from error

    def content(self, name: str, digest: str) -> bytes:
        """Return a file of the archive. Raises LostHistory where it is missing, or not what it was."""
        content = self._get(name)
        if digest_of(content) != digest:
            raise LostHistory(f"{name} in the archive {self.store.place} is damaged: its digest is another")
        return content

    def check(self) -> Iterator[LostHistory]:
        """Read every file that the manifest names, and yield what is wrong with them, with its first position."""
        before = Manifest(self._manifest.log, "")
        for segment in self._manifest.segments:
            for why in self._problems(segment, before):
                yield LostHistory(why, segment.first)
            before = before.with_segment(segment)
        for snapshot in self._manifest.snapshots:
            try:
                if digest_of(self._get(snapshot.name)) != snapshot.digest:
                    why = f"snapshot {snapshot.name} is damaged: its digest is another"
                    yield LostHistory(why, snapshot.position)
            except LostHistory as error:
                yield LostHistory(str(error), snapshot.position)

    def _problems(self, segment: Segment, before: Manifest) -> Iterator[str]:
        try:
            content = self._get(segment.name)
            if digest_of(content) != segment.digest:
                yield f"segment {segment.name} is damaged: its digest is another"
            elif unpack_footer(content, segment.name).previous != before.digest:
                yield f"segment {segment.name} does not follow the one before it"
            if segment.after != before.end:
                yield f"entries are missing between {stream_id_of(before.end)} and {stream_id_of(segment.first)}"
        except LostHistory as why:
            yield str(why)

    def _behind(self, entries: list[Entry], after: Position) -> list[Entry]:
        if entries[0].position > after:
            return entries
        return entries[bisect_left(entries, after + 1, key=lambda each: each.position) :]

    def _get(self, name: str) -> bytes:
        try:
            return self.store.get(name)
        except NotFound as error:
            raise LostHistory(f"{name} is missing from the archive {self.store.place}") from error

    def _read_manifest(self, name: str) -> Manifest:
        return unpack_manifest(self._get(name), name)

    def _newest(self) -> str:
        for name in reversed(self.store.names(MANIFESTS)):
            try:
                self._read_manifest(name)
            except LostHistory as why:
                self.complain(f"{why}; the one before it is used")
            else:
                return name
        return ""


def number_in(name: str) -> int:
    """Return the number of the manifest that first names a thinned segment; 0 for any other file."""
    parts = name.rpartition("/")[2].removesuffix(".seg").split("-")
    return int(parts[3]) if len(parts) == 4 and parts[3].isdecimal() else 0


def number_of(name: str) -> int:
    """Return the number of the manifest of this name. Raises LostHistory where it is no manifest's."""
    try:
        return int(name.rpartition("/")[2].partition("-")[0])
    except ValueError:
        raise LostHistory(f"{name} is no manifest") from None
