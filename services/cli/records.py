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
from schemas.objects import namespace_of
from services.cli.columns import Layout, Setting, headers_of, in_order, rows_of
from services.cli.printing import Listing, yaml_text
from services.cli.shown_events import event_record
from services.cli.streams import can_be_drawn_on


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


def listing_csv(listing: Listing, setting: Setting) -> str:
    """Return objects as CSV: kind, namespace, and the columns of each kind's wide table."""
    header = dict.fromkeys(("kind", "namespace", "name"))
    rows = []
    for kind, objects in listing:
        names = [each.lower() for each in headers_of(kind, Layout(wide=True))]
        cells = rows_of(kind, objects, setting, Layout(wide=True))
        for obj, row in zip(in_order(objects), cells, strict=True):
            rows.append(
                {"kind": kind.kind, "namespace": namespace_of(obj), **dict(zip(names, row, strict=True))}
            )
        header |= dict.fromkeys(names if objects else ())
    return csv_text(rows, tuple(header))


def full_record(event: Event) -> dict[str, Any]:
    """Return an event for programs, without its body and with where its wish came from."""
    record = event_record(event)
    del record["body"]
    groups, address, agent = event.origin
    return {**record, "groups": list(groups), "address": address, "agent": agent}


def has_colours() -> bool:
    """Say whether colours may be printed: to a terminal, unless NO_COLOR is set."""
    return can_be_drawn_on(sys.stdout) and not os.environ.get("NO_COLOR")


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
