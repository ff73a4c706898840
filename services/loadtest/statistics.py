"""Percentiles of small samples."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple


class Spread(NamedTuple):
    """Half, nine tenths and 99 % of the sample are at most this; `samples` is its size."""

    p50: float
    p90: float
    p99: float
    samples: int


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value of a sorted sample that at least `share` (0 to 1) of it do not exceed; 0 of none."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


def spread(sample: Sequence[float]) -> Spread:
    """Return the percentiles of a sample, in its unit."""
    ordered = sorted(sample)
    return Spread(percentile(ordered, 0.5), percentile(ordered, 0.9), percentile(ordered, 0.99), len(ordered))
