"""Quantities are read, compared and written as apimachinery does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.quantities import compare_quantities, parse_quantity


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1.5Gi", "1536Mi"),
        ("1024Ki", "1Mi"),
        ("1024", "1024"),
        ("0.5Ki", "512"),
        ("1Ki", "1Ki"),
        ("0.99Ki", "1013760m"),
        ("1023Ki", "1023Ki"),
        ("1000Ki", "1000Ki"),
        ("1.2Ki", "1228800m"),
        ("1000k", "1M"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("10e2", "1e3"),
        ("12e-1", "1200e-3"),
        ("1000e18", "1e21"),
        ("1E", "1E"),
        ("1000E", "1000E"),
        ("1Ei", "1Ei"),
        ("8Ei", "9223372036854775807"),
        ("0", "0"),
        ("-0", "0"),
        ("0Gi", "0"),
        ("+1", "1"),
        ("-1500m", "-1500m"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1.1234567891", "1123456790n"),
        (1, "1"),
        (0.1, "100m"),
        (1e-07, "100e-9"),
    ],
)
def test_a_quantity_is_written_in_its_canonical_form(written: str | float, canonical: str) -> None:
    assert str(parse_quantity(written)) == canonical


@pytest.mark.parametrize(
    "text", ["", " ", "abc", "1K", "1kb", "1 Gi", "--1", "1.2.3", ".", "1e", "1e1000", "9" * 65, "٣", True]
)
def test_what_is_no_quantity_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity: write a number"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [("1", "1000m", 0), ("1Gi", "1G", 1), ("100m", "0.2", -1), ("-1", "0", -1), ("1e3", "1k", 0)],
)
def test_quantities_compare_by_value(left: str, right: str, order: int) -> None:
    assert compare_quantities(left, right) == order


def test_a_fraction_of_a_unit_rounds_up_to_a_whole_number() -> None:
    assert parse_quantity("1500m").rounded_up() == 2
    assert parse_quantity("2").rounded_up() == 2


@given(
    st.integers(-(10**20), 10**20),
    st.sampled_from(["n", "u", "m", "", "k", "M", "E", "Ki", "Mi", "Ti", "e3", "e-7"]),
)
def test_the_canonical_form_keeps_the_value_and_is_stable(number: int, suffix: str) -> None:
    once = parse_quantity(f"{number}{suffix}")
    again = parse_quantity(str(once))
    assert again.nanos == once.nanos
    assert str(again) == str(once)
