"""The options that commands share, each written once."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from services.cli.completions import complete_namespace
from services.cli.moments import parse_duration


def count_from(least: int) -> Callable[[Any], int]:
    """Return a parser of whole numbers not below `least`, whose refusal names what was written.

    typer gives it an option's default as well, which is a number already.
    """

    def parse(given: Any) -> int:
        text = str(given)
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdecimal() and len(digits) <= 10 and int(text) >= least:
            return int(text)
        raise typer.BadParameter(f"{text!r} is no whole number from {least} on")

    return parse


class Group(TyperGroup):
    """A command with commands of its own, whose help has the whole first sentence of each."""

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, each.get_short_help_str(1000)) for name, each in self.commands.items()]
            )


class WriteOutput(StrEnum):
    """How a write tells what it appended, or a report what it found."""

    TABLE = "table"
    JSON = "json"


class ReadOutput(StrEnum):
    """How objects are shown."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="The cluster's directory (.chronoset).")
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAMESPACE",
        help="The namespace to look in.",
        autocompletion=complete_namespace,
    ),
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Look in every namespace.")]
ActorName = Annotated[
    str, typer.Option("--actor", metavar="NAME", help="Who you are, for the log (default: $USER).")
]
CommandId = Annotated[
    str,
    typer.Option(
        "--command-id", metavar="ID", help="Carried out once: a repetition prints the first result."
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Until the rollout, or the deletion, is complete.")]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="TIME", parser=parse_duration, help="How long --wait waits, as 90s, 10m or 1h."
    ),
]
Patience = Annotated[
    float,
    typer.Option("--timeout", metavar="TIME", parser=parse_duration, help="How long to wait, as 90s or 10m."),
]
"""The same, of a command that always waits."""
WriteFormat = Annotated[WriteOutput, typer.Option("--output", "-o", help="For people, or for programs.")]
ReadFormat = Annotated[ReadOutput, typer.Option("--output", "-o", help="How to show the objects.")]
