"""Events of the log as people and programs read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from events.codec import Entry
from schemas.envelopes import UPDATE, Event
from schemas.objects import Object
from schemas.positions import stream_id_of, time_of
from schemas.times import Milliseconds
from services.cli.tables import printable

_SHOWN_CHANGES = 4
_SHOWN_VALUE = 40


def clock_time(ms: Milliseconds) -> str:
    """Return `2026-11-23T02:17:59.123Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_line(event: Event) -> str:
    """Return a line for people: time, position, type, key, who, why, and what changed."""
    cause = f"because of {stream_id_of(event.cause)}" if event.cause else ""
    changed = assignments(event.body) if event.op == UPDATE and event.body else ""
    parts = (
        clock_time(time_of(event.position)),
        stream_id_of(event.position),
        f"{event.type:<28}",
        event.key,
        f"by {event.actor}",
        cause,
        changed,
    )
    return printable("  ".join(part for part in parts if part).rstrip())


def event_record(event: Event) -> dict[str, Any]:
    """Return an event as JSON for programs; the names are docs/event.schema.json's."""
    return {
        "position": stream_id_of(event.position),
        "resourceVersion": str(event.resource_version),
        "time": clock_time(time_of(event.position)),
        "type": event.type,
        "key": event.key,
        "op": event.op,
        "uid": event.uid,
        "actor": event.actor.name,
        "authenticated": event.actor.authenticated,
        "claim": event.actor.claim,
        "cause": stream_id_of(event.cause) if event.cause else None,
        "command": event.command,
        "previous": str(event.previous) if event.previous else None,
        "body": event.body,
    }


APPENDED = ("POSITION", "TYPE", "KEY", "ACTOR")
"""The columns of the table that a write prints."""


def appended_rows(events: Sequence[Event]) -> list[Sequence[str]]:
    """Return the rows of events that were appended."""
    return [(stream_id_of(event.position), event.type, event.key, str(event.actor)) for event in events]


def entry_line(entry: Entry) -> str:
    """Return a raw entry of the log: position, the one before it, type, key and size."""
    after = stream_id_of(entry.after)
    line = f"{stream_id_of(entry.position):<22} after {after:<22} {entry.type:<28} {entry.key}  {len(entry.data)} bytes"
    return printable(line)


def entry_record(entry: Entry) -> dict[str, Any]:
    """Return a raw entry of the log for programs."""
    return {
        "position": stream_id_of(entry.position),
        "after": stream_id_of(entry.after),
        "type": entry.type,
        "key": entry.key,
        "bytes": len(entry.data),
    }


def assignments(patch: Object) -> str:
    """Return what a merge patch sets, as `spec.replicas=5 status.phase=Running`, shortened to a line."""
    leaves = list(_leaves(patch, ""))
    shown = [f"{path}={_short(value)}" for path, value in leaves[:_SHOWN_CHANGES]]
    more = len(leaves) - len(shown)
    return " ".join(shown) + (f" and {more} more" if more > 0 else "")


def _leaves(value: Object, path: str) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        here = f"{path}.{name}" if path else name
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, here)
        else:
            yield here, inner


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value else orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN_VALUE else text[: _SHOWN_VALUE - 3] + "..."
