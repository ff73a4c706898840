"""A segment: a sealed piece of the log as one immutable file.

    magic, blocks, contents, footer, length of the footer (8 bytes, big endian), magic

A block is a zstd frame of some hundred entries: `[after, positions, keys, types, data]`, in columns, since these
compress better; `after` is the position before the first. The contents, a frame too, say which objects and actors are
in which blocks; the footer, another, where all that is. It names the digest of the segment before, so that no segment
can be exchanged without all later ones. A reader passes over names in the footer that it does not know: signatures and
erasures can be added. Every frame has a checksum of its own.

A thinned segment has some of its entries no more (events.thinning). It stands in the chain by the digest that it had
when it was whole, which its footer names (`original`), and in its blocks each entry has an `after` of its own.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack
import zstandard

from events.codec import Entry, decode
from schemas.errors import LostHistory
from schemas.objects import Key
from schemas.positions import Position, stream_id_of

FORMAT = 1
"""What this program writes."""
THINNED_FORMAT = 2
"""What it writes of a segment that is thinned, and the newest it reads."""
MAGIC = b"chronoseg"
BLOCK = 256
"""Entries in a block: one is read, unpacked and looked through in a fraction of a millisecond."""
_LENGTH = struct.Struct(">Q")
_TRAILER = _LENGTH.size + len(MAGIC)
FIRST_READ = 4096
"""Bytes from a segment's end that hold most footers."""
_LEVEL = 6


class Block(NamedTuple):
    """Where a block lies in the file, and its first and last position."""

    start: int
    length: int
    first: Position
    last: Position


class Footer(NamedTuple):
    """What a segment says of itself.

    log        the id of the log
    after      the position of the entry before the first
    previous   the digest of the segment before; empty for the first
    contents   where the contents lie: start and length
    original   of a thinned one: the digest that it had when it was whole
    dropped    of a thinned one: how many of its entries are gone
    """

    format: int
    log: str
    after: Position
    first: Position
    last: Position
    events: int
    previous: str
    blocks: tuple[Block, ...] = ()
    contents: tuple[int, int] = (0, 0)
    original: str = ""
    dropped: int = 0


_OF_THINNED = ("original", "dropped")


class Contents(NamedTuple):
    """What is where: the ordinals (from 0) of each object's entries, the blocks in which each actor wrote."""

    objects: dict[Key, list[int]]
    actors: dict[str, list[int]]


class Packed(NamedTuple):
    """A segment's bytes, and its footer and contents."""

    content: bytes
    footer: Footer
    contents: Contents


def pack_segment(entries: Sequence[Entry], log: str, previous: str) -> Packed:
    """Return the segment of some entries: whole batches, each entry naming the one before it.

    Raises LostHistory where they are no unbroken piece of a log that this program can read: nothing is sealed that
    could not be read again.
    """
    _check_chain(entries)
    first, last = entries[0], entries[-1]
    return _put_together(
        entries, Footer(FORMAT, log, first.after, first.position, last.position, len(entries), previous)
    )


def pack_thinned(kept: Sequence[Entry], full: Footer, digest: str) -> Packed:
    """Return what is left of a segment, which has that footer and digest, when only some of its entries are kept."""
    return _put_together(
        kept,
        full._replace(
            format=THINNED_FORMAT,
            events=len(kept),
            original=full.original or digest,
            dropped=full.dropped + full.events - len(kept),
        ),
    )


def _put_together(entries: Sequence[Entry], footer: Footer) -> Packed:
    contents = _contents_of(entries)
    parts, blocks, at = [MAGIC], [], len(MAGIC)
    for start in range(0, len(entries), BLOCK):
        chunk = entries[start : start + BLOCK]
        positions, keys, types, afters, datas = zip(*chunk, strict=True)
        parts.append(_packed([afters if footer.original else afters[0], positions, keys, types, datas]))
        blocks.append(Block(at, len(parts[-1]), positions[0], positions[-1]))
        at += len(parts[-1])
    parts.append(_packed(list(contents)))
    footer = footer._replace(blocks=tuple(blocks), contents=(at, len(parts[-1])))
    fields = footer._asdict()
    parts.append(_packed({name: fields[name] for name in fields if fields[name] or name not in _OF_THINNED}))
    return Packed(b"".join([*parts, _LENGTH.pack(len(parts[-1])), MAGIC]), footer, contents)


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a file of the archive."""
    return hashlib.sha256(content).hexdigest()


def footer_length(tail: bytes, name: str) -> int:
    """Return how many bytes at a file's end are footer and trailer, from its last bytes. Raises LostHistory."""
    if len(tail) < _TRAILER or tail[-len(MAGIC) :] != MAGIC:
        raise LostHistory(f"segment {name} is cut short, or no segment")
    return int(_LENGTH.unpack(tail[-_TRAILER : -len(MAGIC)])[0]) + _TRAILER


def unpack_footer(tail: bytes, name: str) -> Footer:
    """Return the footer of a file's last bytes (`footer_length` of them). Raises LostHistory that names the segment."""
    found = _unpacked(tail[-footer_length(tail, name) : -_TRAILER], name)
    if found["format"] > THINNED_FORMAT:
        raise LostHistory(
            f"segment {name} has format {found['format']}, this program reads up to {THINNED_FORMAT}: "
            "upgrade the readers first"
        )
    try:
        fields = {
            field: found[field] for field in Footer._fields if field in found or field not in _OF_THINNED
        }
    except KeyError as error:
        raise LostHistory(f"segment {name} is damaged: its footer lacks {error}") from error
    blocks = tuple(Block(*each) for each in found["blocks"])
    return Footer(**{**fields, "blocks": blocks, "contents": tuple(found["contents"])})


def unpack_contents(packed: bytes, name: str) -> Contents:
    """Return a segment's contents. Raises LostHistory."""
    return Contents(*_unpacked(packed, name))


def unpack_block(packed: bytes, name: str) -> list[Entry]:
    """Return the entries of a block. Raises LostHistory."""
    after, positions, keys, types, datas = _unpacked(packed, name)
    return list(map(Entry, positions, keys, types, _afters(after, positions), datas))


def entries_of(content: bytes) -> list[Entry]:
    """Return all entries of a segment's bytes. Raises LostHistory."""
    blocks = unpack_footer(content, "in memory").blocks
    packed = (content[each.start : each.start + each.length] for each in blocks)
    return [entry for each in packed for entry in unpack_block(each, "in memory")]


def unpack_some(packed: bytes, ordinals: Sequence[int], name: str) -> list[Entry]:
    """Return some entries of a block, by their ordinals in it. Raises LostHistory."""
    after, positions, keys, types, datas = _unpacked(packed, name)
    afters = _afters(after, positions)
    return [Entry(positions[at], keys[at], types[at], afters[at], datas[at]) for at in ordinals]


def _afters(found: Position | list[Position], positions: list[Position]) -> list[Position]:
    """Return the position before each entry of a block; that of a whole one tells the first one's only."""
    return [found, *positions[:-1]] if isinstance(found, int) else found


def _contents_of(entries: Sequence[Entry]) -> Contents:
    objects: dict[Key, list[int]] = {}
    actors: dict[str, list[int]] = {}
    for ordinal, entry in enumerate(entries):
        objects.setdefault(entry.key, []).append(ordinal)
        in_blocks = actors.setdefault(decode(entry).actor.name, [])
        if in_blocks[-1:] != [ordinal // BLOCK]:
            in_blocks.append(ordinal // BLOCK)
    return Contents(objects, actors)


def _check_chain(entries: Sequence[Entry]) -> None:
    before = entries[0].after
    for entry in entries:
        if entry.after != before or entry.position <= before:
            raise LostHistory(
                f"the entry at {stream_id_of(entry.position)} follows {stream_id_of(entry.after)}, "
                f"not {stream_id_of(before)}: it is not sealed",
                entry.position,
            )
        before = entry.position
    last = decode(entries[-1])
    if last.offset != last.size - 1:
        raise LostHistory(f"{stream_id_of(last.position)} is inside a batch: it is not sealed", last.position)


def _packed(value: Any) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(msgpack.packb(value))


def _unpacked(packed: bytes, name: str) -> Any:
    try:
        return msgpack.unpackb(zstandard.ZstdDecompressor().decompress(packed), strict_map_key=False)
    except Exception as error:
        raise LostHistory(f"segment {name} is damaged: {error}") from error
