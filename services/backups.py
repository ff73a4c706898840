"""Backups: an archive that stands alone, holds the log up to one moment, and from which a cluster can be begun again.

A backup is taken while the cluster runs, and a second one into the same place copies only what is new. It is consistent
because it is a beginning of the log: whatever happens meanwhile is behind its end. A cluster is begun again with a
beginning of that, up to any moment, under any name; an `EpochStarted` in its log says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import redis

from events.archive import (
    SEGMENTS,
    SNAPSHOTS,
    Archive,
    Manifest,
    Segment,
    Snapshot,
    manifest_name,
    pack_manifest,
    segment_name,
)
from events.archived_log import ArchivedLog
from events.codec import Entry, decode
from events.files import write_private
from events.log import MAX_EVENTS, Sealed
from events.memory import MemoryLog
from events.replay import replay
from events.restoring import put_back
from events.segments import digest_of, pack_segment
from events.state import State
from events.stores import Store
from schemas.errors import BadRequest, LostHistory, NotFound, Unavailable
from schemas.positions import Position, stream_id_of, time_of
from schemas.times import rfc3339

KEYS = "keys"
"""The folder of a backup with the keys that open Secrets, where they were asked for."""
_SEGMENT_EVENTS = 5_000


class BackedUp(NamedTuple):
    """What a backup holds, and how many bytes had to be written for it."""

    manifest: Manifest
    written: int


class Restored(NamedTuple):
    """From where to where a cluster was begun again."""

    state: State
    source: Manifest


def back_up(log: ArchivedLog, target: Store, keys_dir: Path | None = None) -> BackedUp:
    """Bring the backup in `target` up to the log's present end; with the keys in `keys_dir`, where they are given.

    Raises BadRequest where it is of another log, LostHistory where the cluster's own archive is damaged, Unavailable.
    """
    log_id, end = log.log_id(), log.last()
    before = Archive(target).refresh()
    if before.log not in ("", log_id):
        raise BadRequest(
            f"{target.place} is a backup of log {before.log}, not of {log_id}: name another place"
        )
    found = log.archive.refresh()
    manifest = replace(_with_more(found, before), log=log_id, cluster=log.cluster, number=before.number + 1)
    written = _copy(log.archive.store, target, manifest, before)
    for chunk in _chunks(log, manifest.end, end):
        packed = pack_segment(chunk, log_id, manifest.digest)
        name = segment_name(chunk[0].position, packed.content)
        written += _put(target, name, packed.content)
        size, digest = len(packed.content), digest_of(packed.content)
        segment = Segment(
            name, chunk[0].after, chunk[0].position, chunk[-1].position, len(chunk), size, digest
        )
        manifest = replace(manifest, segments=(*manifest.segments, segment))
    for key in sorted(keys_dir.glob("*.key")) if keys_dir else ():
        written += _put(target, f"{KEYS}/{key.name}", key.read_bytes())
    content = pack_manifest(manifest)
    written += _put(target, manifest_name(manifest.number, content), content)
    _sweep(target, manifest)
    return BackedUp(manifest, written)


def opened(source: Store) -> Archive:
    """Return the archive or backup at a place. Raises NotFound where there is none."""
    archive = Archive(source)
    if not archive.refresh().segments:
        raise NotFound(f"{source.place} holds no backup")
    return archive


def state_in(archive: Archive, wanted: Position) -> State:
    """Return the state at a position of a backup. Raises BadRequest outside of it."""
    manifest = archive.manifest
    first, end = manifest.segments[0].first, manifest.end
    if not first <= wanted <= end:
        asked, begins, ends = (
            f"{stream_id_of(each)} ({rfc3339(time_of(each))})" for each in (wanted, first, end)
        )
        raise BadRequest(f"{asked} is not in the backup, which reaches from {begins} to {ends}")
    return replay(ArchivedLog(MemoryLog(manifest.cluster), archive), wanted)


def restore(archive: Archive, state: State, target: Store, client: redis.Redis, cluster: str) -> Restored:
    """Begin a log on a server where `state`, of the archive, ended; what is before goes into the archive at `target`.

    The log keeps its id. Whoever calls this appends the epoch. Raises AlreadyExists where either place is taken.
    """
    source = archive.manifest
    if target.names(SEGMENTS):
        raise BadRequest(f"the archive {target.place} is not empty: restore into another data directory")
    is_thinned = any(state.position <= each.until for each in source.thinned)
    kept = tuple(each for each in source.segments if each.last < state.position + is_thinned)
    manifest = Manifest(
        source.log,
        cluster,
        source.number + 1,
        kept,
        source.snapshots_until(kept[-1].last if kept else 0),
        tuple(replace(each, until=min(each.until, kept[-1].last)) for each in source.thinned if kept),
        replace(source.sparse, until=min(source.sparse.until, kept[-1].last))
        if source.sparse and kept
        else None,
    )
    _copy(archive.store, target, manifest, Manifest("", ""))
    name = ""
    if kept:
        content = pack_manifest(manifest)
        name = manifest_name(manifest.number, content)
        _put(target, name, content)
    entries = [entry for chunk in _read(archive, manifest.end, state.position) for entry in chunk]
    entries = entries or [_last_entry(archive, manifest)]
    put_back(client, cluster, state, entries, Sealed(name, manifest.end))
    return Restored(state, source)


def restore_keys(source: Store, keys_dir: Path) -> int:
    """Put the keys of a backup where a cluster looks for them; return how many there were."""
    names = source.names(KEYS)
    if names:
        keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        write_private(keys_dir / name.rpartition("/")[2], source.get(name))
    return len(names)


def _last_entry(archive: Archive, manifest: Manifest) -> Entry:
    """Return the last entry that a manifest's segments still have: the stream of a log is never empty."""
    for segment in reversed(manifest.segments):
        if blocks := archive.footer(segment).blocks:
            return archive.block(segment, len(blocks) - 1)[-1]
    raise LostHistory(f"the archive {archive.store.place} has not even a log's first entry")


def _with_more(found: Manifest, before: Manifest) -> Manifest:
    """Return an archive's manifest with what the backup before it has of what was thinned since: that is not given up.

    Where something was thinned before any backup had it, all before that is called thinned, as it is in the archive.
    """
    had = {each.chain: each for each in before.segments}
    segments = tuple(
        known if (known := had.get(each.chain)) and known.dropped <= each.dropped else each
        for each in found.segments
    )
    is_new = any(each.dropped and had.get(each.chain) != each for each in segments)
    thinned = found.thinned if is_new else before.thinned
    return replace(found, segments=segments, snapshots=_all_snapshots(found, before), thinned=thinned)


def _all_snapshots(found: Manifest, before: Manifest) -> tuple[Snapshot, ...]:
    """Return an archive's snapshots, and those that the backup before it has of the log that both have."""
    had = {each.chain for each in before.segments}
    ends = {each.last for each in found.segments if each.chain in had}
    rows = {each.position: each for each in before.snapshots if each.position in ends}
    rows |= {each.position: each for each in found.snapshots}
    return tuple(rows[position] for position in sorted(rows))


def _copy(source: Store, target: Store, manifest: Manifest, before: Manifest) -> int:
    """Copy the files that a manifest names and the one before did not; return their size. Raises LostHistory."""
    there = {each.name for each in before.segments} | {each.name for each in before.snapshots}
    written = 0
    files: Sequence[Segment | Snapshot] = (*manifest.segments, *manifest.snapshots)
    for file in files:
        if file.name in there:
            continue
        try:
            content = source.get(file.name)
        except NotFound as error:
            raise LostHistory(f"{file.name} is missing from the archive {source.place}") from error
        if digest_of(content) != file.digest:
            raise LostHistory(f"{file.name} in the archive {source.place} is damaged: its digest is another")
        written += _put(target, file.name, content)
    return written


def _put(target: Store, name: str, content: bytes) -> int:
    target.put(name, content)
    if target.get(name) != content:
        raise Unavailable(f"{target.place} does not return {name} as it was written")
    return len(content)


def _chunks(log: ArchivedLog, after: Position, until: Position) -> Iterator[list[Entry]]:
    """Yield the entries of a stretch, which ends with a batch, in pieces of whole batches."""
    pending: list[Entry] = []
    while after < until and (entries := log.read(after, MAX_EVENTS, until)):
        after = entries[-1].position
        pending += entries
        if len(pending) >= _SEGMENT_EVENTS or after == until:
            count = len(pending)
            while (last := decode(pending[count - 1])).offset != last.size - 1:
                count -= 1
            yield pending[:count]
            pending = pending[count:]


def _read(archive: Archive, after: Position, until: Position) -> Iterator[list[Entry]]:
    while after < until and (entries := archive.read(after, MAX_EVENTS, until)):
        yield entries
        after = entries[-1].position


def _sweep(target: Store, manifest: Manifest) -> None:
    """Remove what backups before this one named and this one does not."""
    named = {each.name for each in manifest.segments} | {each.name for each in manifest.snapshots}
    for name in (*target.names(SEGMENTS), *target.names(SNAPSHOTS)):
        if name not in named:
            target.delete(name)
