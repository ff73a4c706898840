"""Every part of the bench by name, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from events.codec import Entry
from services.bench.apis import apis
from services.bench.clusters import broker_hops, control_plane, ordered_sets
from services.bench.fleets import fleets
from services.bench.gates import Reading
from services.bench.growth import growth
from services.bench.histories import EVENTS, histories
from services.bench.logs import appends, folds, reconciles


class Ground(NamedTuple):
    """What the parts measure with: a directory on the log's disk, a history, and how long a log `history` makes."""

    place: Path
    entries: list[Entry]
    events: int = EVENTS


Part = Callable[[Ground], Iterator[Reading]]

PARTS: dict[str, Part] = {
    "append": lambda ground: appends(ground.place),
    "fold": lambda ground: iter([folds(ground.entries)]),
    "history": lambda ground: histories(ground.place, ground.events),
    "reconcile": lambda _: reconciles(),
    "daemonset": lambda _: fleets(),
    "growth": lambda _: growth(),
    "api": lambda ground: apis(ground.place),
    "broker": lambda ground: broker_hops(ground.place),
    "ordered": lambda ground: ordered_sets(ground.place),
    "idle": lambda ground: control_plane(ground.place),
}
