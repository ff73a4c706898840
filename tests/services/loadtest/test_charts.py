"""Plots are drawn to scale, on round numbers, and lose no peak."""

from __future__ import annotations

import re

import pytest

from services.loadtest.charts import MOST_POINTS, bar_chart, line_chart, ticks


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (0.0, [0.0, 1.0]),
        (5.0, [0, 1, 2, 3, 4, 5]),
        (47.0, [0, 10, 20, 30, 40, 50]),
        (0.9, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1_200.0, [0, 250, 500, 750, 1_000, 1_250]),
    ],
)
def test_ticks_are_round_and_reach_beyond_the_most(most: float, expected: list[float]) -> None:
    assert ticks(most) == pytest.approx(expected)


def points_of(svg: str) -> list[tuple[float, float]]:
    found = re.search(r'points="([^"]*)"', svg)
    assert found
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found[1].split())]


def test_a_line_rises_where_its_values_do() -> None:
    low, high = points_of(line_chart({"a": [(0.0, 1.0), (10.0, 5.0)]}, "s", "ms"))
    assert low[0] < high[0] and low[1] > high[1]


def test_many_points_become_fewer_and_keep_the_highest() -> None:
    points = [(float(n), 1.0) for n in range(10 * MOST_POINTS)]
    points[777] = (777.0, 100.0)
    drawn = points_of(line_chart({"a": points}, "s", "ms"))
    assert len(drawn) <= MOST_POINTS
    assert (
        min(y for _, y in drawn)
        < min(y for _, y in points_of(line_chart({"a": points[:777]}, "s", "ms"))) + 300
    )


def test_bars_are_as_high_as_their_values() -> None:
    svg = bar_chart({"1 worker": {"a": 10.0, "b": 5.0}}, "events/s")
    heights = [float(found) for found in re.findall(r'height="([\d.]+)" fill', svg)]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)


def test_nothing_to_draw_is_an_empty_plot() -> None:
    assert "<svg" in line_chart({"a": []}, "s", "ms") and "<svg" in bar_chart({}, "ms")
