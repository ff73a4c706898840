"""Every part of the bench by name, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from events.codec import Entry
from services.bench.clusters import broker_hops, control_plane, ordered_sets
from services.bench.fleets import fleets
from services.bench.gates import Reading
from services.bench.logs import appends, folds, reconciles

Part = Callable[[Path, list[Entry]], Iterator[Reading]]
"""(a directory on the disk of the log, a history) -> its lines."""

PARTS: dict[str, Part] = {
    "append": lambda place, _: appends(place),
    "fold": lambda _, entries: iter([folds(entries)]),
    "reconcile": lambda _place, _entries: reconciles(),
    "daemonset": lambda _place, _entries: fleets(),
    "broker": lambda place, _: broker_hops(place),
    "ordered": lambda place, _: ordered_sets(place),
    "idle": lambda place, _: control_plane(place),
}
