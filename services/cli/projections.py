"""`chronoset projections`: how far the projections are behind the log, what is parked, and building them anew."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import orjson
import typer

from schemas.errors import Unavailable
from schemas.objects import Key
from schemas.positions import Position, stream_id_of, time_of
from services.cli.options import DataDir, Group, WriteFormat, WriteOutput
from services.cli.session import Session, open_session
from services.cli.streams import aside
from services.cli.tables import table

MOST_COUNTED = 1000
"""Events that are counted behind the projections; more are told as `1000+`."""

app = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Show how far the projections are, take up parked objects again, or build all anew.\n\n\b\nExample:\n"
    "  chronoset projections status",
)


@app.command()
def status(
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Show where the projections stand, how far that is behind the log, and which events are parked.

    \b
    Example:
      chronoset projections status
      chronoset projections status -o json
    """
    session = open_session(data_dir)
    end, stand = session.log.last(), session.views.position()
    behind = _events_between(session, stand, end)
    parked = session.views.parked()
    if output is WriteOutput.JSON:
        values = {
            "position": stream_id_of(stand),
            "log": stream_id_of(end),
            "events": behind,
            "milliseconds": max(0, time_of(end) - time_of(stand)),
            "parked": {
                key: {"position": stream_id_of(each.position), "error": each.error}
                for key, each in parked.items()
            },
        }
        print(orjson.dumps(values).decode())
        return
    more = "+" if behind == MOST_COUNTED else ""
    print(f"projections at {stream_id_of(stand)}, {behind}{more} events behind the log's end")
    if parked:
        rows = [(key, stream_id_of(each.position), each.error) for key, each in sorted(parked.items())]
        print(table(("PARKED", "SINCE", "ERROR"), rows))
        aside("when their cause is mended: chronoset projections retry KEY")


@app.command()
def rebuild(data_dir: DataDir = None) -> None:
    """Build the projections anew from the log, beside the present ones, and switch over when they are whole.

    Readers see no gap. Events that are parked are tried again, and it is said what came of that. It is also how
    projections of another log are given up.

    \b
    Example:
      chronoset projections rebuild
    """
    from services.connections import connect
    from services.projections.projector import rebuild as build

    session = open_session(data_dir)
    before = _parked(session)
    built = build(session.log, connect(session.settings.views_url, "cli"))
    print(
        f"projections built: {built.objects} objects at {stream_id_of(built.position)}, generation {built.generation}"
    )
    after = session.views.parked()
    for key in sorted({*before, *after}):
        print(f"{key}: " + (f"still parked, {after[key].error}" if key in after else "is projected again"))


@app.command()
def retry(
    names: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="As status shows it: core/pods/default/web-0.")
    ],
    data_dir: DataDir = None,
) -> None:
    """Take up again objects that are parked, with all events that they missed; what cannot be projected stays parked.

    \b
    Example:
      chronoset projections retry core/pods/default/web-0
    """
    from services.connections import connect
    from services.projections.retries import retry as take_up

    session = open_session(data_dir)
    client = connect(session.settings.views_url, "cli")
    for key in names:
        done = take_up(session.history, client, key)
        print(f"{key}: is projected again, with {done.events} events that it missed")


def _parked(session: Session) -> Collection[Key]:
    """Return the objects that are parked; none where the projections cannot be read, since they are given up anyway."""
    try:
        return session.views.parked()
    except Unavailable:
        return ()


def _events_between(session: Session, after: Position, until: Position) -> int:
    return len(session.log.read(after, MOST_COUNTED, until)) if after < until else 0
