"""An append as the log's server is asked for it: one script, what it is given, and what its answers mean.

Said once for those who ask on a thread (events.redis_log) and on an event loop (events.piped_log).
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from events.keys import command_key, heads_key, log_key
from events.lines import Part, script_of
from events.log import Appended, Batch
from events.memory import check_limits, clock_skew
from schemas.errors import BadRequest, CommandReused, Conflict, Forbidden, LostHistory
from schemas.positions import position_of, stream_id_of

APPEND = script_of(files("events").joinpath("append.lua").read_text())


def call_of(batch: Batch, cluster: str, log_id: str) -> tuple[list[Part], list[Part]]:
    """Return the keys and arguments of the script that appends a batch to the log of this id. Raises BadRequest."""
    check_limits(batch)
    args: list[Part] = [
        log_id,
        batch.clock,
        batch.digest,
        batch.remember,
        len(batch.expected),
        len(batch.drafts),
        len(batch.guards),
    ]
    for key, position in batch.expected.items():
        args += (key, stream_id_of(position))
    for draft in batch.drafts:
        args += (draft.key, draft.type, draft.data, "1" if draft.ends else "0")
    args += batch.guards
    return [log_key(cluster), heads_key(cluster), command_key(cluster, batch.command)], args


def result_of(answer: list[Any], batch: Batch, log_id: str) -> Appended:
    """Return what the script's answer means. Raises what events.log.Log.append refuses with."""
    if answer[0] == b"appended":
        return Appended(position_of(answer[1]), position_of(answer[2]), answer[3], False)
    match [part.decode() if isinstance(part, bytes) else part for part in answer]:
        case ["repeated", first, last, count]:
            return Appended(position_of(first), position_of(last), int(count), True)
        case ["conflict", key, expected, actual]:
            raise Conflict(key, position_of(expected), position_of(actual))
        case ["reused"]:
            raise CommandReused(f"command id {batch.command} was used before with other content")
        case ["foreign", found]:
            raise LostHistory(f"the log on this server is {found or 'empty'}, not {log_id}")
        case ["clock", theirs]:
            raise clock_skew(batch.clock, int(theirs))
        case ["refused", reason]:
            raise Forbidden(f"the log refuses writes: {reason}")
        case other:
            raise BadRequest(f"the log refused a batch: {' '.join(map(str, other))}")
