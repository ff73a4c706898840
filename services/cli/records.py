"""Answers about the past for programs and people: JSON, YAML and CSV of plain rows; colours on a terminal."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer

from schemas.envelopes import Event
from services.cli.printing import yaml_text
from services.cli.shown_events import event_record


class Format(StrEnum):
    """How an answer is shown."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


AnswerFormat = Annotated[Format, typer.Option("--output", "-o", help="For people, or for programs.")]

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def document(value: Any, output: Format) -> str:
    """Return a JSON value as JSON or YAML."""
    if output is Format.YAML:
        return yaml_text(value)
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def csv_text(rows: Iterable[Mapping[str, Any]], header: Sequence[str]) -> str:
    """Return rows as CSV (RFC 4180, with plain line ends); what is no text is written as JSON, nothing as nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in header])
    return text.getvalue().rstrip("\n")


def full_record(event: Event) -> dict[str, Any]:
    """Return an event for programs, without its body and with where its wish came from."""
    record = event_record(event)
    del record["body"]
    groups, address, agent = event.origin
    return {**record, "groups": list(groups), "address": address, "agent": agent}


def has_colours() -> bool:
    """Say whether colours may be printed: to a terminal, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def painted(text: str, *styles: str) -> str:
    """Return text in colours (bold, dim, red, green, yellow, cyan) where they may be printed."""
    if not text or not has_colours():
        return text
    return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return orjson.dumps(value).decode()
    return str(value)
