"""`chronoset cordon`, `uncordon` and `taint`: which pods may come to a node, and which may stay."""

from __future__ import annotations

from typing import Annotated

import typer

from schemas.errors import BadRequest
from services.cli.options import ActorName, CommandId, DataDir, WriteFormat, WriteOutput
from services.cli.references import node_key
from services.cli.writes import Manner, write
from services.commands.commands import Cordon, Taint

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
Names = Annotated[list[str], typer.Argument(metavar="NODE...", help="Their names.")]


def cordon(
    names: Names,
    actor: ActorName = "",
    command_id: CommandId = "",
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Let no new pods come to nodes; those that are there stay.

    \b
    Example:
      chronoset cordon n2
    """
    write([Cordon(node_key(name), True) for name in names], Manner(data_dir, actor, command_id, output))


def uncordon(
    names: Names,
    actor: ActorName = "",
    command_id: CommandId = "",
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Let new pods come to nodes again.

    \b
    Example:
      chronoset uncordon n2
    """
    write([Cordon(node_key(name), False) for name in names], Manner(data_dir, actor, command_id, output))


def taint(
    name: Annotated[str, typer.Argument(metavar="NODE")],
    taints: Annotated[
        list[str],
        typer.Argument(metavar="KEY[=VALUE]:EFFECT...", help="Ending in - to remove: KEY:EFFECT- or KEY-"),
    ],
    actor: ActorName = "",
    command_id: CommandId = "",
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Keep pods away from a node unless they tolerate it; with NoExecute those that are there end, too.

    \b
    Example:
      chronoset taint n2 team=blue:NoSchedule
      chronoset taint n2 team:NoSchedule-
      chronoset taint n2 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute
    """
    removed = tuple(_removed(text) for text in taints if text.endswith("-"))
    added = tuple(_added(text) for text in taints if not text.endswith("-"))
    write([Taint(node_key(name), added, removed)], Manner(data_dir, actor, command_id, output))


def _added(text: str) -> tuple[tuple[str, str], ...]:
    what, colon, effect = text.rpartition(":")
    key, _, value = what.partition("=")
    if not colon or not key or effect not in EFFECTS:
        raise BadRequest(
            f"TAINT: {text!r} is none: write KEY=VALUE:EFFECT, with {', '.join(EFFECTS)} for EFFECT"
        )
    return (("key", key), *((("value", value),) if value else ()), ("effect", effect))


def _removed(text: str) -> tuple[str, str]:
    what, _, effect = text.removesuffix("-").partition(":")
    key = what.partition("=")[0]
    if not key or (effect and effect not in EFFECTS):
        raise BadRequest(
            f"TAINT: {text!r} is none: write KEY- or KEY:EFFECT-, with one of {', '.join(EFFECTS)}"
        )
    return key, effect
