"""Plain tables: aligned columns as kubectl prints them. They pipe, and cost no import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.times import Milliseconds

GAP = "   "
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_YEAR = 365 * _DAY


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the lines of a table, left-aligned, without trailing spaces; characters that steer a terminal are `?`."""
    return Growing(header).lines(rows)


class Growing:
    """A table of which some lines are printed already: its columns become wider, never narrower.

    The header stands above the first rows.
    """

    def __init__(self, header: Sequence[str]) -> None:
        self._header: Sequence[str] | None = header
        self._widths = [len(cell) for cell in header]

    def lines(self, rows: Iterable[Sequence[str]]) -> str:
        """Return the next lines."""
        lines = [[printable(cell) for cell in row] for row in rows]
        if self._header is not None:
            lines, self._header = [list(self._header), *lines], None
        self._widths = [
            max(width, *column) for width, *column in zip(self._widths, *_lengths(lines), strict=True)
        ]
        return "\n".join(
            GAP.join(cell.ljust(width) for cell, width in zip(line, self._widths, strict=True)).rstrip()
            for line in lines
        )


def _lengths(lines: Iterable[Sequence[str]]) -> list[list[int]]:
    return [[len(cell) for cell in line] for line in lines]


def printable(text: str) -> str:
    """Return text that cannot steer a terminal: what others wrote into an object is shown, never obeyed."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def age(since: Milliseconds, now: Milliseconds) -> str:
    """Return `45s`, `2m30s`, `17m`, `3h5m`, `20h`, `2d4h`, `12d` or `1y30d` (duration.HumanDuration)."""
    seconds = max(0, (now - since) // 1000)
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < 10 * _MINUTE:
        return _pair(seconds, _MINUTE, "m", 1, "s")
    if seconds < 3 * _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < 8 * _HOUR:
        return _pair(seconds, _HOUR, "h", _MINUTE, "m")
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR}h"
    if seconds < 8 * _DAY:
        return _pair(seconds, _DAY, "d", _HOUR, "h")
    if seconds < 2 * _YEAR:
        return f"{seconds // _DAY}d"
    return _pair(seconds, _YEAR, "y", _DAY, "d") if seconds < 8 * _YEAR else f"{seconds // _YEAR}y"


def _pair(seconds: int, unit: int, name: str, part: int, part_name: str) -> str:
    rest = seconds % unit // part
    return f"{seconds // unit}{name}" + (f"{rest}{part_name}" if rest else "")
