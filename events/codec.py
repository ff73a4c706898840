"""Events to bytes and back.

`data` of an entry is a msgpack map with the short names of `FIELDS`; what equals its default is left out, since
the log keeps every byte for ever. Old versions are brought up to date when they are read (`UPCASTERS`), never
rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgpack

from schemas.envelopes import NOWHERE, READER_VERSION, Actor, Event, Origin
from schemas.errors import LostHistory
from schemas.objects import Key
from schemas.positions import Position, stream_id_of


class Entry(NamedTuple):
    """One entry of the log, not yet decoded."""

    position: Position
    key: Key
    type: str
    after: Position
    data: bytes


FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "v": "schema version of the writer",
        "min": "oldest reader version that may fold the event",
        "op": "create | update | replace | delete | genesis | epoch",
        "uid": "uid of the object",
        "body": "the whole object (create, replace) or a JSON merge patch (update); absent for delete",
        "prev": "the object's resourceVersion before; absent where it did not exist",
        "at": "the writer's wall clock, milliseconds since 1970",
        "actor": "[name, how it was authenticated, what it calls itself]",
        "cause": "the position that led here; negative: that many entries back in the same batch",
        "cmd": "command id",
        "i": "index in the batch, from 0",
        "n": "size of the batch; absent where 1",
        "guard": "the head that the batch advances besides its objects' own",
        "rule": "version of the derivation rule, where the event was derived",
        "from": "[groups of the user, address, user agent] of a write through the HTTP API",
    }
)

UPCASTERS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = MappingProxyType({})
"""From a schema version to the function that makes the next version's map of it. Version 1 is the first."""

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
_unpack = msgpack.unpackb


def encode(event: Event) -> bytes:
    """Return the `data` of an event. Its key, type, position and `after` are fields of the entry itself.

    Raises ValueError, OverflowError or TypeError where the body is not JSON within 64 bits.
    """
    data: dict[str, Any] = {"v": event.version, "min": event.min_reader, "op": event.op, "uid": event.uid}
    if event.body is not None:
        data["body"] = event.body
    if event.previous:
        data["prev"] = event.previous
    data["at"] = event.at
    data["actor"] = list(event.actor) if event.actor.claim else list(event.actor[:2])
    if event.cause:
        data["cause"] = event.cause
    data["cmd"] = event.command
    if event.offset:
        data["i"] = event.offset
    if event.size != 1:
        data["n"] = event.size
    if event.guard:
        data["guard"] = event.guard
    if event.derivation:
        data["rule"] = event.derivation
    if event.origin != NOWHERE:
        groups, address, agent = event.origin
        data["from"] = [list(groups), address, agent]
    packed: bytes = _pack(data)
    return packed


def decode(entry: Entry) -> Event:
    """Return the event of an entry. Raises LostHistory, naming the position, where it cannot be read."""
    position = entry.position
    try:
        data = _unpack(entry.data)
        if data["v"] != 1 or data["min"] > READER_VERSION:
            data = _upcast(data, position)
        get = data.get
        cause = get("cause", 0)
        return Event(
            position,
            entry.key,
            entry.type,
            entry.after,
            data["v"],
            data["min"],
            data["op"],
            data["uid"],
            get("body"),
            get("prev", 0),
            data["at"],
            Actor(*data["actor"]),
            position + cause if cause < 0 < position else cause,
            data["cmd"],
            get("i", 0),
            get("n", 1),
            get("guard", ""),
            get("rule", 0),
            _origin(data["from"]) if "from" in data else NOWHERE,
        )
    except LostHistory:
        raise
    except Exception as error:
        where = stream_id_of(position)
        raise LostHistory(
            f"the entry at {where} ({entry.key}) cannot be decoded: {error!r}", position
        ) from error


def _origin(found: list[Any]) -> Origin:
    groups, address, agent = found
    return Origin(tuple(groups), address, agent)


def _upcast(data: dict[str, Any], position: Position) -> dict[str, Any]:
    if data["min"] > READER_VERSION:
        raise LostHistory(
            f"the event at {stream_id_of(position)} needs a reader of version {data['min']}, "
            f"this one has version {READER_VERSION}: upgrade the readers first",
            position,
        )
    while data["v"] in UPCASTERS:
        data = UPCASTERS[data["v"]](data)
    return data
