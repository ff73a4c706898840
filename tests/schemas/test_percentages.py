"""Int-or-percent values scale to a total, rounding the way the caller asks."""

from __future__ import annotations

import pytest

from schemas.percentages import is_percent, parse_int_or_percent, scaled_down, scaled_up


@pytest.mark.parametrize(
    ("value", "total", "down", "up"),
    [
        (3, 10, 3, 3),
        ("25%", 10, 2, 3),
        ("0%", 10, 0, 0),
        ("100%", 7, 7, 7),
        ("150%", 4, 6, 6),
        ("1%", 0, 0, 0),
    ],
)
def test_a_percentage_is_scaled_and_rounded(value: int | str, total: int, down: int, up: int) -> None:
    assert scaled_down(value, total) == down
    assert scaled_up(value, total) == up


@pytest.mark.parametrize("value", ["", "25", "-5%", "5.5%", "%", " 5%", True, None])
def test_what_is_neither_a_number_nor_a_percentage_is_refused(value: str) -> None:
    assert not is_percent(value)
    with pytest.raises(ValueError, match="neither a whole number nor a percentage"):
        parse_int_or_percent(value)
