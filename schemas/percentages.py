"""Int-or-percent values, as apimachinery's pkg/util/intstr has them: `3` or `"25%"`."""

from __future__ import annotations

import re

_is_percent = re.compile(r"[0-9]{1,9}%", re.ASCII).fullmatch


def is_percent(value: object) -> bool:
    """True for a string like `25%` (IsValidPercent)."""
    return isinstance(value, str) and _is_percent(value) is not None


def parse_int_or_percent(value: int | str) -> tuple[int, bool]:
    """Return (number, is a percentage): `3` -> (3, False), `"25%"` -> (25, True). Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, False
    if is_percent(value):
        return int(str(value)[:-1]), True
    raise ValueError(f'{value!r} is neither a whole number nor a percentage: write 1 or "25%"')


def scaled_up(value: int | str, total: int) -> int:
    """Return the number meant out of `total`, a percentage rounded up. Raises ValueError."""
    number, percent = parse_int_or_percent(value)
    return -(-number * total // 100) if percent else number


def scaled_down(value: int | str, total: int) -> int:
    """Return the number meant out of `total`, a percentage rounded down. Raises ValueError."""
    number, percent = parse_int_or_percent(value)
    return number * total // 100 if percent else number
