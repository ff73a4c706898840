"""`chronoset pause` and `resume`: controllers that look on and write nothing, one or all of them."""

from __future__ import annotations

from typing import Annotated

import typer

from schemas.errors import BadRequest
from services.cli.options import ActorName, CommandId, DataDir, WriteFormat, WriteOutput
from services.cli.writes import Manner, write
from services.commands.commands import Switch

Names = Annotated[list[str] | None, typer.Argument(metavar="CONTROLLER...", help="As statefulset.")]
All = Annotated[bool, typer.Option("--all", help="Every controller.")]


def pause(
    names: Names = None,
    everyone: All = False,
    actor: ActorName = "",
    command_id: CommandId = "",
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Pause controllers: they decide nothing until they are resumed. With --all the control plane only reads.

    \b
    Example:
      chronoset pause statefulset
      chronoset pause --all
    """
    write([Switch(_chosen(names, everyone), True)], Manner(data_dir, actor, command_id, output))


def resume(
    names: Names = None,
    everyone: All = False,
    actor: ActorName = "",
    command_id: CommandId = "",
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Let paused controllers go on.

    \b
    Example:
      chronoset resume statefulset
      chronoset resume --all
    """
    write([Switch(_chosen(names, everyone), False)], Manner(data_dir, actor, command_id, output))


def _chosen(names: list[str] | None, everyone: bool) -> tuple[str, ...]:
    from services.wiring import CONTROLLERS

    known = tuple(controller.name for controller in CONTROLLERS)
    if bool(names) == everyone:
        raise BadRequest(f"CONTROLLER: name some of {', '.join(known)}, or write --all")
    for name in names or ():
        if name not in known:
            raise BadRequest(f"CONTROLLER: {name!r} is unknown; write one of {', '.join(known)}")
    return known if everyone else tuple(names or ())
