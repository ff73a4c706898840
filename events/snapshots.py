"""A State as bytes, and its facts back, exactly: with them a fold need not begin at the log's beginning.

    magic, length of the header (8 bytes, big endian), header, chunks (each: length, zstd frame)

The header names the format, the log, the position and the digest of what follows. Objects are written as they are in
the log: what is sealed in a Secret stays sealed. They are written as JSON, which is read in two thirds of the time that
msgpack takes, and shares the names of fields. Facts that only a fold can know are written, indexes are made anew.
"""

from __future__ import annotations

import gc
import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import msgpack
import orjson
import zstandard

from events.state import Facts, Failure
from schemas.errors import LostHistory
from schemas.objects import resource_of
from schemas.patching import strictly_equal
from schemas.positions import Position

FORMAT = 1
"""What this program writes, and the newest it reads."""
MAGIC = b"chronosnap"
_LENGTH = struct.Struct(">Q")
_OBJECTS_AT_ONCE = 1000
_LEVEL = 3


class Header(NamedTuple):
    """What a snapshot says of itself."""

    format: int
    log: str
    position: Position
    objects: int
    digest: str


def pack_state(state: Facts) -> bytes:
    """Return a snapshot of a state that stands at the end of a batch."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    facts = {
        "guards": state.guards,
        "ready": sorted(state.ever_ready),
        "failures": [[*which, *_numbers(failure)] for which, failure in state.failures.items()],
        "ended": list(state.ended),
    }
    chunks = [compressor.compress(orjson.dumps(facts))]
    objects = iter(state.objects.items())
    while some := dict(islice(objects, _OBJECTS_AT_ONCE)):
        chunks.append(compressor.compress(orjson.dumps(some)))
    body = b"".join(part for chunk in chunks for part in (_LENGTH.pack(len(chunk)), chunk))
    header = msgpack.packb(
        {
            "format": FORMAT,
            "log": state.log_id,
            "position": state.position,
            "objects": len(state.objects),
            "digest": hashlib.sha256(body).hexdigest(),
        }
    )
    return b"".join((MAGIC, _LENGTH.pack(len(header)), header, body))


def unpack_state(content: bytes, name: str) -> Facts:
    """Return the facts of a snapshot. Raises LostHistory where it is damaged, or newer than this program."""
    header, start = _header_of(content, name)
    if hashlib.sha256(memoryview(content)[start:]).hexdigest() != header.digest:
        raise LostHistory(f"snapshot {name} is damaged: its digest is another")
    facts = Facts()
    facts.log_id, facts.position = header.log, header.position
    try:
        with collecting_nothing():
            chunks = _chunks(content, start)
            others = next(chunks)
            for objects in chunks:
                facts.objects.update(objects)
    except Exception as error:
        raise LostHistory(f"snapshot {name} is damaged: {error!r}") from error
    facts.guards = others["guards"]
    facts.ever_ready = set(others["ready"])
    facts.failures = {(owner, pod): Failure(*numbers) for owner, pod, *numbers in others["failures"]}
    facts.ended = dict.fromkeys(others["ended"])
    return facts


def states_differ(one: Facts, other: Facts, without: frozenset[str] = frozenset()) -> str:
    """Return what two states of one position differ in, the first by key; empty where in nothing.

    Objects of the resources `without` are not compared, and then no more than objects are.
    """
    for key in sorted({*one.objects, *other.objects}):
        mine, theirs = one.objects.get(key), other.objects.get(key)
        if resource_of(key) not in without and (
            mine is None or theirs is None or not strictly_equal(mine, theirs)
        ):
            return key
    for name in ("log_id", "position", "guards", "ever_ready", "failures", "ended"):
        if not without and getattr(one, name) != getattr(other, name):
            return name
    return ""


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """Keep the cyclic collector off while many objects are made that all stay, and these out of its sight afterwards.

    It would look at each of them for nothing, for a fifth of a second at 20,000 objects: they make no cycles, and go
    when nobody refers to them any more.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()
            gc.enable()


def _header_of(content: bytes, name: str) -> tuple[Header, int]:
    at = len(MAGIC) + _LENGTH.size
    if len(content) < at or content[: len(MAGIC)] != MAGIC:
        raise LostHistory(f"snapshot {name} is cut short, or no snapshot")
    end = at + _LENGTH.unpack(content[len(MAGIC) : at])[0]
    try:
        found = msgpack.unpackb(content[at:end])
        header = Header(**{field: found[field] for field in Header._fields})
    except Exception as error:
        raise LostHistory(f"snapshot {name} is damaged: its header cannot be read") from error
    if header.format > FORMAT:
        raise LostHistory(f"snapshot {name} has format {header.format}, this program reads up to {FORMAT}")
    return header, end


def _chunks(content: bytes, at: int) -> Iterator[Any]:
    decompressor = zstandard.ZstdDecompressor()
    view = memoryview(content)
    while at < len(content):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack(view[at:start])[0]
        yield orjson.loads(decompressor.decompress(view[start:at]))


def _numbers(failure: Failure) -> list[int]:
    return [failure.count, failure.last, failure.generation]
