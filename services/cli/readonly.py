"""`chronoset read-only`: nobody writes, neither people nor controllers nor nodes, until it is switched off."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from schemas.errors import BadRequest
from services.cli.options import ActorName, DataDir
from services.cli.session import open_session

MOST_CHARACTERS = 200


class State(StrEnum):
    """Whether the log refuses writes."""

    ON = "on"
    OFF = "off"


def read_only(
    state: Annotated[
        State, typer.Argument(metavar="on|off", help="on: refuse every write. off: let them in again.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; everyone who is refused is told.")] = "",
    actor: ActorName = "",
    data_dir: DataDir = None,
) -> None:
    """Make the log read-only, or writable again. Pods run on; what nodes would report comes when it is over.

    Who did it and why stands in each refusal; it is not an event, since the log takes none meanwhile.

    \b
    Example:
      chronoset read-only on --reason "restoring a backup"
      chronoset read-only off
    """
    if len(reason) > MOST_CHARACTERS or not (reason or "-").isprintable():
        raise BadRequest(f"--reason: write at most {MOST_CHARACTERS} printable characters")
    session = open_session(data_dir)
    who = session.actor(actor)
    if state is State.OFF:
        session.log.set_read_only("")
        print("the log takes writes again")
        return
    session.log.set_read_only(f"read-only by {who}" + (f": {reason}" if reason else ""))
    print("the log is read-only: chronoset read-only off ends that")
