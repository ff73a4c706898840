"""Percentiles of samples, and how they change over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple


class Spread(NamedTuple):
    """Half, nine tenths, 99 % and 99.9 % of the sample are at most this; `samples` is its size."""

    p50: float
    p90: float
    p99: float
    p999: float
    samples: int


Moment = tuple[float, float]
"""(seconds since the beginning, value)."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value of a sorted sample that at least `share` (0 to 1) of it do not exceed; 0 of none."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


def spread(sample: Iterable[float]) -> Spread:
    """Return the percentiles of a sample, in its unit."""
    ordered = sorted(sample)
    p50, p90, p99, p999 = (percentile(ordered, share) for share in (0.5, 0.9, 0.99, 0.999))
    return Spread(p50, p90, p99, p999, len(ordered))


def over_time(moments: Iterable[Moment], share: float, every: float = 1.0) -> list[Moment]:
    """Return a percentile of the values of each `every` seconds that have any, at the middle of that time."""
    bins: dict[int, list[float]] = defaultdict(list)
    for at, value in moments:
        bins[int(at // every)].append(value)
    return [((slot + 0.5) * every, percentile(sorted(bins[slot]), share)) for slot in sorted(bins)]
