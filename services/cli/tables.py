"""Plain tables: aligned columns as kubectl prints them. They pipe, and cost no import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GAP = "   "


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
