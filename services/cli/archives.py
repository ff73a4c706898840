"""`chronoset archive`: what of the log is sealed, sealing it now, and whether it can still be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from schemas.errors import Damaged, Unavailable
from schemas.positions import stream_id_of, time_of
from schemas.times import rfc3339
from services.cli.options import DataDir, Group, WriteFormat, WriteOutput
from services.cli.session import Session, now_ms, open_session
from services.cli.streams import aside, show_json
from services.cli.tables import table

if TYPE_CHECKING:
    from events.sealing import Limits, Sealer

CLOCKS_APART = 60_000
"""Milliseconds that the log server's clock may be ahead of ours."""

app = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Show what of the log is sealed, seal or thin it now, check that it can be read.\n\n\b\nExample:\n"
    "  chronoset archive status",
)


@app.command()
def status(output: WriteFormat = WriteOutput.TABLE, data_dir: DataDir = None) -> None:
    """Show where the archive is, how far it reaches, and what only the log's server holds.

    \b
    Example:
      chronoset archive status
      chronoset archive status -o json
    """
    session = open_session(data_dir)
    manifest = session.log.archive.refresh()
    first, held = session.stream.held()
    last = session.log.last()
    dropped = sum(each.dropped for each in manifest.segments)
    values: dict[str, str | int] = {
        "place": session.log.archive.store.place,
        "segments": len(manifest.segments),
        "events": sum(each.events for each in manifest.segments),
        "bytes": sum(each.bytes for each in manifest.segments),
        "dropped": dropped,
        "snapshots": len(manifest.snapshots),
        "snapshotBytes": sum(each.bytes for each in manifest.snapshots),
        "end": stream_id_of(manifest.end),
        "newestSnapshot": stream_id_of(manifest.snapshots[-1].position if manifest.snapshots else 0),
        "unsealed": _count_behind(session, manifest.end, last),
        "streamFirst": stream_id_of(first),
        "streamEvents": held,
        "last": stream_id_of(last),
    }
    if output is WriteOutput.JSON:
        show_json(values)
        return
    sealed = f"{values['events']:,} events in {values['segments']} segments, {_size(values['bytes'])}"
    until = (
        f"until {rfc3339(time_of(manifest.end))}, position {values['end']}" if manifest.end else "nothing yet"
    )
    rows = [
        ("place", str(values["place"])),
        ("sealed", f"{sealed}, {until}" if manifest.end else until),
        ("snapshots", f"{values['snapshots']}, {_size(values['snapshotBytes'])}"),
        *([("thinned", f"{dropped:,} events are dropped (chronoset retention show)")] if dropped else []),
        ("not sealed", f"{values['unsealed']:,} events"),
        ("in the stream", f"{held:,} events, from {rfc3339(time_of(first))}"),
    ]
    print(table(("WHAT", "VALUE"), rows))


@app.command()
def seal(data_dir: DataDir = None) -> None:
    """Seal everything that the log holds by now, and trim the stream to what it should keep.

    \b
    Example:
      chronoset archive seal
    """
    from services.archives import limits_of

    session = open_session(data_dir)
    limits = replace(limits_of(session.settings), segment_age=-CLOCKS_APART)
    with _sealing(session, limits) as sealer:
        count = sealer.look(now_ms())
    print(f"sealed {count:,} events, up to {stream_id_of(sealer.manifest.end)}")


@app.command()
def thin(data_dir: DataDir = None) -> None:
    """Drop now what the retention policy does not keep, without waiting for the historian.

    \b
    Example:
      chronoset archive thin
    """
    from services.archives import limits_of, retention_of

    session = open_session(data_dir)
    with _sealing(session, limits_of(session.settings)) as sealer:
        snapshots = len(sealer.manifest.snapshots)
        count = sealer.thin(retention_of(session.history), min(now_ms(), sealer.sealed_time))
        snapshots -= len(sealer.manifest.snapshots)
    print(f"dropped {count:,} events" + (f" and {snapshots} snapshots" if snapshots else ""))
    for row in sealer.manifest.thinned:
        aside(f"{row.resource} is thinned up to {stream_id_of(row.until)} ({rfc3339(time_of(row.until))})")


@app.command()
def check(data_dir: DataDir = None) -> None:
    """Read every segment and snapshot, and say which are missing or damaged. Exit code 65 where one is.

    \b
    Example:
      chronoset archive check
    """
    session = open_session(data_dir)
    archive = session.log.archive
    manifest = archive.refresh()
    wrong = list(archive.check())
    for sentence in wrong:
        aside(str(sentence))
    if wrong:
        what = "a file of the archive is" if len(wrong) == 1 else f"{len(wrong)} of the archive's files are"
        raise Damaged(f"{what} missing or damaged, first: {wrong[0]}", wrong[0].position)
    print(
        f"{len(manifest.segments)} segments and {len(manifest.snapshots)} snapshots are as they were written"
    )


@app.command()
def index(data_dir: DataDir = None) -> None:
    """Make the index of the archive's objects and actors anew. Without it histories are found too, but slowly.

    \b
    Example:
      chronoset archive index
    """
    from services.archives import index_of

    session = open_session(data_dir)
    found = index_of(session.settings)
    assert found.path is not None
    found.path.unlink(missing_ok=True)
    session.log.archive.refresh()
    print(f"indexed {found.add(session.log.archive)} segments in {found.path}")


@contextmanager
def _sealing(session: Session, limits: Limits) -> Iterator[Sealer]:
    """Give what does the historian's work, in its place. Raises Unavailable where the historian was faster."""
    from events.sealing import Outrun, Sealer
    from services.archives import index_of, store_of

    sealer = Sealer(session.stream, store_of(session.settings), limits, index_of(session.settings))
    try:
        sealer.open()
        yield sealer
    except Outrun:
        raise Unavailable("another historian took over meanwhile: try again") from None


def _count_behind(session: Session, after: int, last: int) -> int:
    count = 0
    while after < last and (entries := session.log.read(after, 1000)):
        count += len(entries)
        after = entries[-1].position
    return count


def _size(count: str | int) -> str:
    number = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
