"""`chronoset retention`: of which kinds old events are dropped, after how long, and how far that has gone."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from schemas.errors import BadRequest
from schemas.positions import stream_id_of, time_of
from schemas.retention import ACCEPTED, KEY, SNAPSHOTS, name_in_policy, parse_period, resource_named
from schemas.times import rfc3339
from services.cli.options import ActorName, CommandId, DataDir, Group, WriteFormat, WriteOutput
from services.cli.references import parse_references
from services.cli.session import open_session
from services.cli.streams import aside, show_json
from services.cli.tables import table
from services.cli.writes import Manner, write
from services.commands.commands import Retain

Kinds = Annotated[str, typer.Argument(metavar="KIND[,KIND...]", help="As pods,events.")]

app = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""Say how long all events of a kind are kept. Everything is kept for ever unless a policy is set.

    What is older is thinned: the state at the archive's snapshots stays, each change between them goes.

    \b
    Example:
      chronoset retention set pods,events --keep 90d
      chronoset retention show
    """,
)


@app.command()
def show(output: WriteFormat = WriteOutput.TABLE, data_dir: DataDir = None) -> None:
    """Show the policy, and up to where each kind is thinned.

    \b
    Example:
      chronoset retention show
      chronoset retention show -o json
    """
    session = open_session(data_dir)
    session.catch_up(session.log.last())
    manifest = session.log.archive.refresh()
    done = (*manifest.thinned, *([manifest.sparse] if manifest.sparse else []))
    rows = _rows(session.views.get(KEY), done)
    if output is WriteOutput.JSON:
        show_json({"policies": rows, "others": "for ever"})
        return
    if not rows:
        print("everything is kept for ever")
        return
    told = [
        (
            row["kind"],
            f"{row['keep']} cannot be read: for ever" if row["problem"] else row["keep"] or "for ever",
            f"{row['thinnedUntil']} ({row['thinnedUntilTime']})" if row["thinnedUntil"] else "not yet",
        )
        for row in rows
    ]
    print(table(("KIND", "ALL IS KEPT FOR", "THINNED UP TO"), told))
    aside("everything else is kept for ever")


@app.command("set")
def set_(
    kinds: Kinds,
    keep: Annotated[
        str, typer.Option("--keep", metavar="PERIOD", help="How long all is kept: 36h, 90d, 12w, 2y.")
    ],
    actor: ActorName = "",
    command_id: CommandId = "",
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Drop events of some kinds once they are older than a period, a day at least. What was dropped does not come back.

    The historian does it, when the log's server holds them no more (CHRONOSET_STREAM_EVENTS); `archive thin` at once.
    `snapshots` stands for the archive's: of older ones one a day stays at least, and so many that the log between two
    is at most twice as large as one. Without the others nothing is lost but time, unless events are dropped, too: then
    only the states at those that stay are known.

    \b
    Example:
      chronoset retention set pods --keep 90d
      chronoset retention set leases,events --keep 1w --actor alice
      chronoset retention set snapshots --keep 30d
    """
    if parse_period(keep) is None:
        raise BadRequest(f"--keep: {keep[:40]!r} is no period; write {ACCEPTED}")
    write([Retain(_names(kinds), keep)], Manner(data_dir, actor, command_id, output))


@app.command()
def unset(
    kinds: Kinds,
    actor: ActorName = "",
    command_id: CommandId = "",
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Keep all events of some kinds for ever again, from what is there by now on.

    \b
    Example:
      chronoset retention unset pods
    """
    write([Retain(_names(kinds), "")], Manner(data_dir, actor, command_id, output))


def _names(words: str) -> tuple[str, ...]:
    names = [each.strip() for each in words.split(",")]
    kinds = [each for each in names if each != SNAPSHOTS]
    references = parse_references([",".join(kinds)]) if kinds else []
    if any(reference.name for reference in references):
        raise BadRequest(
            f"KIND: {words!r} names an object; a policy is for all objects of a kind: write as pods,events"
        )
    found = tuple(name_in_policy(reference.kind.resource) for reference in references)
    return (*found, SNAPSHOTS) if SNAPSHOTS in names else found


def _rows(policy: Any, thinned: Any) -> list[dict[str, Any]]:
    """Return what is kept how long, and what is thinned, by kind; what the ConfigMap says that cannot be read too."""
    said = dict((policy or {}).get("data") or {})
    until = {}
    for each in thinned:
        name = name_in_policy(each.resource)
        until[next((one for one in said if resource_named(one) == each.resource), name)] = each.until
    return [
        {
            "kind": name,
            "keep": said.get(name, ""),
            "problem": name in said and (not resource_named(name) or parse_period(said[name]) is None),
            "thinnedUntil": stream_id_of(until[name]) if name in until else None,
            "thinnedUntilTime": rfc3339(time_of(until[name])) if name in until else None,
        }
        for name in sorted({*said, *until})
    ]
