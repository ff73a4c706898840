"""Readings and what they must be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.cli.tables import table


@dataclass(frozen=True, slots=True)
class Gate:
    """What a reading must be: at least (`is_least`) or at most `limit`.

    `ratio` is the same in floors of this machine (`floor` names it): a machine that is slower than the one for which
    the limit was set passes by it. A `limit` of 0: only the ratio counts; a `ratio` of 0: only the limit.
    """

    limit: float
    is_least: bool = False
    ratio: float = 0.0
    floor: str = ""

    def holds(self, value: float, floor: float) -> bool:
        """Say whether a reading meets the limit, or the ratio to the floor."""
        limits = [self.limit] * (self.limit > 0) + [self.ratio * floor] * (self.ratio > 0)
        return any(value >= limit if self.is_least else value <= limit for limit in limits)


@dataclass(frozen=True, slots=True)
class Reading:
    """A line of the report: what was measured, the median of its repeats, its unit, and its gate if it has one.

    `floor` is the gate's floor as it was measured in turn with the reading; 0: the one that was measured first counts.
    """

    name: str
    what: str
    value: float
    unit: str
    gate: Gate | None = None
    note: str = ""
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Floors:
    """What this machine does at best: PING/s through redis-py, seconds of an fdatasync (p50), folds of nothing/s."""

    pings: float
    fdatasync: float
    folds: float

    def of(self, name: str) -> float:
        """Return a floor by its name, in the unit of the readings that are compared to it."""
        values = {
            "PING/s": self.pings,
            "PING": 1000 / self.pings,
            "fdatasync": 1000 * self.fdatasync,
            "no-op folds/s": self.folds,
            "no-op fold": 1000 / self.folds,
        }
        return values.get(name, 0.0)


def is_met(reading: Reading, floors: Floors) -> bool:
    """Say whether a reading has no gate or meets it."""
    return reading.gate is None or reading.gate.holds(reading.value, _floor(reading, floors))


def report(readings: Sequence[Reading], floors: Floors) -> str:
    """Return the table of all readings."""
    rows = [_row(reading, floors) for reading in readings]
    return table(("NAME", "WHAT", "MEASURED", "GATE", "RATIO TO FLOOR", ""), rows)


def as_json(readings: Sequence[Reading], floors: Floors) -> list[dict[str, Any]]:
    """Return all readings as JSON values."""
    return [
        {
            "name": reading.name,
            "what": reading.what,
            "value": reading.value,
            "unit": reading.unit,
            "limit": reading.gate.limit if reading.gate else None,
            "ratio": _ratio(reading, floors),
            "ok": is_met(reading, floors),
            "note": reading.note,
        }
        for reading in readings
    ]


def number(value: float) -> str:
    """Return a number with three digits that count: 0.25, 4.53, 31.2, 12,345."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _row(reading: Reading, floors: Floors) -> tuple[str, ...]:
    gate = reading.gate
    sign = ">=" if gate and gate.is_least else "<="
    limit = f"{sign} {number(gate.limit)}" if gate and gate.limit else ""
    ratio = _ratio(reading, floors)
    compared = f"{number(ratio)} x {gate.floor} (gate {sign} {number(gate.ratio)})" if gate and ratio else ""
    verdict = "" if gate is None else "ok" if is_met(reading, floors) else "FAILED"
    what = f"{reading.what} ({reading.note})" if reading.note else reading.what
    return reading.name, what, f"{number(reading.value)} {reading.unit}", limit, compared, verdict


def _ratio(reading: Reading, floors: Floors) -> float | None:
    floor = _floor(reading, floors)
    return reading.value / floor if floor else None


def _floor(reading: Reading, floors: Floors) -> float:
    return reading.floor or (floors.of(reading.gate.floor) if reading.gate else 0.0)
