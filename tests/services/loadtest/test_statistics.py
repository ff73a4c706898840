"""Percentiles are of the sample itself: nearest rank, no interpolation."""

from __future__ import annotations

import random

import pytest

from services.loadtest.statistics import over_time, percentile, spread


@pytest.mark.parametrize(
    ("sample", "share", "expected"),
    [
        ([], 0.5, 0.0),
        ([7.0], 0.5, 7.0),
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 101)], 1.0, 100.0),
        ([float(n) for n in range(1, 101)], 0.0, 1.0),
    ],
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    sample: list[float], share: float, expected: float
) -> None:
    assert percentile(sample, share) == expected


def test_the_order_of_a_sample_does_not_count() -> None:
    sample = [float(n) for n in range(1, 201)]
    random.Random(7).shuffle(sample)
    assert spread(sample) == (100.0, 180.0, 198.0, 200.0, 200)


def test_over_time_tells_the_percentile_of_each_second_that_has_values() -> None:
    moments = [(0.1, 1.0), (0.9, 3.0), (2.5, 7.0)]
    assert over_time(moments, 0.99) == [(0.5, 3.0), (2.5, 7.0)]
