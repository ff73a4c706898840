"""Text as `describe` lays it out: aligned fields, and sections whose lines are indented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from schemas.times import Milliseconds, age, parse_rfc3339
from services.cli.tables import printable

GAP = 2

Field = tuple[str, str | Sequence[str]]
Fields = Sequence[Field]
"""Names and what they are; a sequence takes a line for each, an empty value is left out."""


class Section(NamedTuple):
    """Lines under a heading; left out where there are none."""

    heading: str
    lines: Sequence[str]


Part = Field | Section


def as_text(parts: Sequence[Part]) -> str:
    """Return the fields, then the sections; what would steer a terminal is shown as `?`."""
    fields = [part for part in parts if not isinstance(part, Section)]
    sections = [part for part in parts if isinstance(part, Section) and part.lines]
    lines = fields_of(fields)
    for heading, body in sections:
        lines += [f"{heading}:", *(f"{' ' * GAP}{printable(line)}".rstrip() for line in body)]
    return "\n".join(lines)


def fields_of(fields: Fields) -> list[str]:
    """Return the lines of fields, their values aligned."""
    told = [(name, [value] if isinstance(value, str) else value) for name, value in fields if value]
    width = max((len(name) for name, _ in told), default=0) + 1 + GAP
    return [
        f"{f'{name}:' if index == 0 else '':<{width}}{printable(value)}".rstrip()
        for name, values in told
        for index, value in enumerate(values)
    ]


def moment(text: str, now: Milliseconds) -> str:
    """Return `2026-11-23T02:17:59Z (5m ago)`, or `(in 5m)`; nothing for no time."""
    if not text:
        return ""
    then = parse_rfc3339(text)
    return f"{text} ({age(then, now)} ago)" if then <= now else f"{text} (in {age(now, then)})"


def pairs(values: Mapping[str, Any], joint: str = "=") -> list[str]:
    """Return `name=value` of each, by name."""
    return [f"{name}{joint}{value}" for name, value in sorted(values.items())]


def words(*parts: str) -> str:
    """Return the parts that are not empty, set apart by spaces."""
    return " ".join(part for part in parts if part)
