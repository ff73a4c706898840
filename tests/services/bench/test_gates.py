"""A gate holds by its limit or, on a machine with other floors, by its ratio."""

from __future__ import annotations

import pytest

from services.bench.gates import Floors, Gate, Reading, as_json, is_met, number, report

FLOORS = Floors(pings=10_000, fdatasync=0.0005, folds=80_000)
AT_LEAST = Gate(30_000, True, 3.0, "PING/s")
AT_MOST = Gate(15, False, 150, "PING")


@pytest.mark.parametrize(
    ("gate", "value", "pings", "expected"),
    [
        (AT_LEAST, 30_000, 20_000, True),
        (AT_LEAST, 29_000, 20_000, False),
        (AT_LEAST, 15_000, 5_000, True),
        (AT_LEAST, 14_000, 5_000, False),
        (AT_MOST, 15, 20_000, True),
        (AT_MOST, 15.1, 20_000, False),
        (AT_MOST, 30, 5_000, True),
        (AT_MOST, 31, 5_000, False),
        (Gate(0, True, 0.7, "PING/s"), 7_000, 10_000, True),
        (Gate(0, True, 0.7, "PING/s"), 6_900, 10_000, False),
        (Gate(250), 251, 10_000, False),
        (None, 1e9, 10_000, True),
    ],
)
def test_a_reading_meets_its_gate_by_limit_or_ratio(
    gate: Gate | None, value: float, pings: float, expected: bool
) -> None:
    assert is_met(Reading("name", "what", value, "unit", gate), Floors(pings, 0.0005, 80_000)) is expected


def test_a_floor_that_was_measured_beside_a_reading_counts_for_it() -> None:
    gate = Gate(0, True, 0.7, "PING/s")
    reading = Reading("name", "what", 3_600, "unit", gate, floor=5_000)
    assert is_met(reading, FLOORS) and not is_met(Reading("name", "what", 3_600, "unit", gate), FLOORS)
    assert as_json([reading], FLOORS)[0]["ratio"] == 0.72


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.254, "0.25"), (4.531, "4.53"), (31.24, "31.2"), (12_345.6, "12,346"), (0, "0.00")],
)
def test_numbers_have_three_digits_that_count(value: float, expected: str) -> None:
    assert number(value) == expected


def test_the_report_names_what_failed() -> None:
    good = Reading("good", "a thing", 31_000, "events/s", AT_LEAST)
    bad = Reading("bad", "another", 99, "ms", AT_MOST, "noted")
    lines = report([good, bad], FLOORS).splitlines()
    assert lines[1].startswith("good") and lines[1].endswith("ok")
    assert lines[2].startswith("bad") and lines[2].endswith("FAILED") and "another (noted)" in lines[2]
    assert [each["ok"] for each in as_json([good, bad], FLOORS)] == [True, False]
    assert as_json([bad], FLOORS)[0]["ratio"] == 990
