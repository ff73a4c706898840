"""A log put back on a server: its last entries as they were, and the heads that a fold up to there gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import redis

from events.codec import Entry
from events.keys import heads_key, log_key
from events.log import Sealed
from events.state import State
from schemas.errors import AlreadyExists
from schemas.positions import stream_id_of

T = TypeVar("T")
Field = bytes | bytearray | memoryview | str | int | float
_AT_ONCE = 500


def put_back(
    client: redis.Redis, cluster: str, state: State, entries: Sequence[Entry], sealed: Sealed
) -> None:
    """Write the stream (`entries`, which end at the state) and the heads of a log whose beginning is in an archive.

    What makes a log of them, its id among the heads, is written last: a server that dies meanwhile holds none, and
    takes none either until what it has is deleted. Raises AlreadyExists where it holds anything of a log of this name.
    """
    stream, heads = log_key(cluster), heads_key(cluster)
    if client.exists(stream, heads):
        raise AlreadyExists(
            f"the log's server holds something of a cluster {cluster}: restore under another name"
        )
    for chunk in _chunks(entries):
        with client.pipeline(transaction=False) as pipeline:
            for entry in chunk:
                fields: dict[str, str | bytes] = {"key": entry.key, "type": entry.type}
                fields |= {"after": stream_id_of(entry.after), "data": entry.data}
                pipeline.xadd(stream, fields, stream_id_of(entry.position))  # type: ignore[arg-type]
            pipeline.execute()
    for some in _chunks(state.heads()):
        client.hset(heads, mapping={key: stream_id_of(position) for key, position in some})
    facts: dict[Field, Field] = {
        "tail": stream_id_of(state.position),
        "refuse": "",
        "readonly": "",
        "historian": "0",
    }
    facts |= {"archive": sealed.manifest, "sealed": stream_id_of(sealed.end)}
    client.hset(heads, mapping=facts | {"log": state.log_id})


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, _AT_ONCE)):
        yield chunk
