"""Rollouts of the past as people and programs read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.positions import stream_id_of, time_of
from schemas.times import Milliseconds
from services.cli.shown_events import clock_time
from services.cli.tables import table
from services.cli.telling import name_of_key, who
from services.history.rollouts import RUNNING, SUPERSEDED, Rollout

COLUMNS = (
    *("start", "end", "seconds", "key", "number", "revision", "images"),
    *("what", "outcome", "actor", "claim", "address", "pods"),
)
"""Of a rollout as CSV."""
_SHOWN_PODS = 6


def rollouts_text(found: Sequence[Rollout], now: Milliseconds) -> str:
    """Return the table of rollouts; those that run have lasted until now."""
    rows = []
    for index, each in enumerate(found):
        later = next((one for one in found[index + 1 :] if one.key == each.key), None)
        ending = f"superseded by {later.number}" if each.outcome == SUPERSEDED and later else each.outcome
        names = [one.name for one in each.pods]
        more = f" and {len(names) - _SHOWN_PODS} more" if len(names) > _SHOWN_PODS else ""
        rows.append(
            (
                clock_time(time_of(each.begun.position)),
                name_of_key(each.key),
                f"{each.number} ({each.images})",
                each.what,
                who(each.begun),
                spoken_duration(each.duration(now)),
                ending if each.outcome != RUNNING else "still running",
                ", ".join(names[:_SHOWN_PODS]) + more,
            )
        )
    return table(("START", "WORKLOAD", "REVISION", "WHAT", "BY", "TOOK", "ENDED", "PODS, IN ORDER"), rows)


def spoken_duration(duration: Milliseconds) -> str:
    """Return `6.4 s`, `11 min 56 s` or `2 h 5 min`."""
    seconds = duration / 1000
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if seconds < 6000 else f"{minutes // 60} h {minutes % 60} min"


def rollout_record(each: Rollout, now: Milliseconds) -> dict[str, Any]:
    """Return a rollout for programs."""
    return {
        "start": clock_time(time_of(each.begun.position)),
        "startPosition": stream_id_of(each.begun.position),
        "end": clock_time(time_of(each.end)) if each.end else None,
        "endPosition": stream_id_of(each.end) if each.end else None,
        "seconds": each.duration(now) / 1000,
        "key": each.key,
        "number": each.number,
        "revision": each.revision,
        "images": each.images,
        "what": each.what,
        "outcome": each.outcome,
        "actor": each.begun.actor.name,
        "claim": each.begun.actor.claim,
        "address": each.begun.origin.address,
        "pods": [
            {
                "name": pod.name,
                "node": pod.node,
                "created": clock_time(time_of(pod.created)),
                "ready": clock_time(time_of(pod.ready)) if pod.ready else None,
            }
            for pod in each.pods
        ],
    }


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a rollout as one row."""
    return {**record, "pods": " ".join(pod["name"] for pod in record["pods"])}
