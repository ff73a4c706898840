"""Quantities: `500m`, `1.5Gi`, `3e2`, as apimachinery's pkg/api/resource/quantity.go reads and writes them.

Exact: a quantity is a whole number of 10^-9, which is the finest that Kubernetes keeps (finer values are
rounded away from zero), so comparing and adding are comparing and adding integers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

NANO = 10**9
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {exponent: suffix for suffix, exponent in _BINARY.items()} | {0: ""}
_LARGEST_BINARY = (2**63 - 1) * NANO
_LONGEST = 64
_LARGEST_EXPONENT = 64

_split = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?([a-zA-Z]*|[eE][+-]?\d+)", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of 10^-9 and the way it was written, which decides how it is written again."""

    nanos: int
    format: Format = "DecimalSI"

    def __str__(self) -> str:
        """Return the canonical form: no fraction, the largest suffix that keeps it exact (`1000m` -> `1`)."""
        if not self.nanos:
            return "0"
        binary = self.format == "BinarySI" and abs(self.nanos) >= 1024 * NANO and not self.nanos % NANO
        return _in_binary(self.nanos // NANO) if binary else _in_decimal(self.nanos, self.format)

    def rounded_to_milli(self) -> Quantity:
        """Return the quantity rounded away from zero to thousandths, as resource lists are stored."""
        thousandths = _away_from_zero(Fraction(self.nanos, NANO // 1000))
        return Quantity(thousandths * (NANO // 1000), self.format)

    def rounded_up(self) -> int:
        """Return the least whole number not below the quantity (Quantity.Value: away from zero)."""
        return -(-self.nanos // NANO) if self.nanos >= 0 else self.nanos // NANO


def parse_quantity(value: str | int | float) -> Quantity:
    """Return the quantity of a string, or of a JSON number (`cpu: 1`).

    Raises ValueError, saying what would be accepted.
    """
    text = str(value).strip()
    if isinstance(value, bool) or len(text) > _LONGEST or not text:
        raise ValueError(_refusal(value))
    return _parsed(text)


def compare_quantities(left: str | int | float, right: str | int | float) -> int:
    """Return -1, 0 or 1 as `left` is less than, equal to or more than `right`. Raises ValueError."""
    a, b = parse_quantity(left).nanos, parse_quantity(right).nanos
    return (a > b) - (a < b)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Quantity:
    parts = _split(text)
    if parts is None or not (parts[2] or parts[3]):
        raise ValueError(_refusal(text))
    sign, whole, fraction, suffix = parts.groups(default="")
    factor, written = _factor_of(suffix, text)
    exact = Fraction(int(whole + fraction or "0"), 10 ** len(fraction)) * factor * NANO
    nanos = _away_from_zero(exact)
    if written == "BinarySI":
        nanos = min(nanos, _LARGEST_BINARY)
    return Quantity(-nanos if sign == "-" else nanos, written)


def _factor_of(suffix: str, text: str) -> tuple[Fraction, Format]:
    if suffix in _DECIMAL:
        return Fraction(10) ** _DECIMAL[suffix], "DecimalSI"
    if suffix in _BINARY:
        return Fraction(2 ** _BINARY[suffix]), "BinarySI"
    exponent = suffix[1:]
    if suffix[0] in "eE" and exponent.lstrip("+-").isdecimal() and abs(int(exponent)) <= _LARGEST_EXPONENT:
        return Fraction(10) ** int(exponent), "DecimalExponent"
    raise ValueError(_refusal(text))


def _away_from_zero(number: Fraction) -> int:
    return (
        -(-number.numerator // number.denominator) if number >= 0 else number.numerator // number.denominator
    )


def _in_binary(number: int) -> str:
    exponent = 0
    while exponent < 60 and number % 1024 == 0:
        number //= 1024
        exponent += 10
    return f"{number}{_BINARY_SUFFIX[exponent]}"


def _in_decimal(nanos: int, written: Format) -> str:
    exponent = -9
    while (exponent < 18 or written == "DecimalExponent") and nanos % 1000 == 0:
        nanos //= 1000
        exponent += 3
    if written == "DecimalExponent":
        return f"{nanos}e{exponent}" if exponent else str(nanos)
    return f"{nanos}{_DECIMAL_SUFFIX[exponent]}"


def _refusal(value: object) -> str:
    return (
        f"{value!r} is no quantity: write a number with an optional suffix, as 500m, 2, 1.5Gi, 128Mi or 1e3"
    )
