"""The commands that read the log: the state at any moment, its events as they come, its raw entries."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from typing import Annotated

import typer

from events.codec import Entry, decode
from events.log import Log
from events.state import State
from schemas.errors import BadRequest, NotFound
from schemas.kinds import KINDS, Kind
from schemas.objects import Object
from schemas.positions import Position, stream_id_of
from services.cli.columns import Layout, Setting
from services.cli.completions import complete_target
from services.cli.following import last_entries
from services.cli.moments import parse_moment
from services.cli.options import (
    AllNamespaces,
    DataDir,
    Namespace,
    ReadOutput,
    WriteFormat,
    WriteOutput,
    count_from,
)
from services.cli.pasts import place_of_words, tell_thinned
from services.cli.printing import listing_text, object_text, show
from services.cli.records import listing_csv
from services.cli.references import Reference, checked_namespace, parse_references
from services.cli.session import now_ms, open_session
from services.cli.shown_events import clock_time, entry_line, entry_record, event_line, event_record
from services.cli.streams import aside, show_json
from services.commands.sources import subject_of


class PastOutput(StrEnum):
    """How the objects of a moment are shown."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    CSV = "csv"


_CHUNK = 500
_BLOCK_SECONDS = 1.0


def replay(
    target: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND [NAME...]]", help="All kinds if left out.", autocompletion=complete_target
        ),
    ] = None,
    at: Annotated[
        str, typer.Option("--at", metavar="WHEN", help="A time with zone, 10 minutes ago, a position.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stream the events instead.")] = False,
    from_: Annotated[
        str,
        typer.Option(
            "--from", metavar="WHEN", help="Where --follow begins: as --at, or beginning (default: now)."
        ),
    ] = "",
    namespace: Namespace = "default",
    everywhere: AllNamespaces = False,
    output: Annotated[
        PastOutput, typer.Option("--output", "-o", help="How to show the objects.")
    ] = PastOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Show the cluster as it was at a time or position, or follow its events.

    \b
    Example:
      chronoset replay --at "10 minutes ago" sts/db -o yaml
      chronoset replay --at 2026-11-23T02:17:59Z pods
      chronoset replay --follow --from beginning
    """
    if follow == bool(at):
        raise BadRequest("--at: say when, as --at '10 minutes ago', or stream the events with --follow")
    if from_ and not follow:
        raise BadRequest("--from: is for --follow; write --at to see the state at a moment")
    if follow:
        if target:
            raise BadRequest(f"--follow: streams all events; leave out {' '.join(target)!r}")
        if output not in (PastOutput.TABLE, PastOutput.JSON):
            raise BadRequest(
                f"--output: events that are followed are shown as table or json, not as {output}"
            )
        _follow(from_, output is PastOutput.JSON, data_dir)
        return
    references = parse_references(target) if target else [Reference(kind) for kind in KINDS]
    place = "" if everywhere else checked_namespace(namespace)
    session = open_session(data_dir)
    position, then = place_of_words(session, at, "--at")
    state = session.history.state_at(position, frozenset(each.kind.resource for each in references))
    single = bool(target) and len(references) == 1 and bool(references[0].name)
    layout = Layout(output is PastOutput.WIDE, everywhere, not target or len(references) > 1)
    listing = [(each.kind, _objects(state, each, place)) for each in references]
    if output is PastOutput.CSV:
        show(listing_csv(listing, Setting(then)))
    elif single and output in (PastOutput.JSON, PastOutput.YAML):
        show(object_text(listing[0][1][0], ReadOutput(output)))
    else:
        show(listing_text(listing, ReadOutput(output), Setting(then), layout))
    aside(f"as of position {stream_id_of(state.position)}, {clock_time(then)}")


def log(
    tail: Annotated[
        int, typer.Option(parser=count_from(0), metavar="N", help="Begin N entries before the end.")
    ] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    from_: Annotated[str, typer.Option("--from", metavar="WHEN", help="Begin here instead.")] = "",
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Show the log's raw entries: position, the one before, type, key, size.

    \b
    Example:
      chronoset log --tail 5
      chronoset log --follow -o json
    """
    session = open_session(data_dir)
    source = session.log
    last = source.last()
    start = _start(from_, last) if from_ else last
    tell_thinned(session, frozenset(), start)
    entries = _between(source, start, last) if from_ else iter(last_entries(source, tail, last))
    for entry in chain(entries, _coming(source, last) if follow else ()):
        if output is WriteOutput.JSON:
            show_json(entry_record(entry))
        else:
            print(entry_line(entry), flush=follow)


def _follow(start: str, is_json: bool, data_dir: DataDir) -> None:
    session = open_session(data_dir)
    source = session.log
    last = source.last()
    begin = _start(start, last) if start else last
    tell_thinned(session, frozenset(), begin)
    if not start:
        aside(f"each event after {stream_id_of(last)}, as it comes; Ctrl-C ends")
    for entry in chain(_between(source, begin, last), _coming(source, last)):
        event = decode(entry)
        if is_json:
            show_json(event_record(event))
        else:
            print(event_line(event), flush=True)


def _start(text: str, last: Position) -> Position:
    """Return the position behind which to begin: an entry named by its position is shown itself."""
    if text == "beginning":
        return 0
    moment = parse_moment(text, now_ms(), "--from")
    if not moment.is_time and moment.position > last:
        raise BadRequest(f"--from: {text} is beyond the log, which ends at {stream_id_of(last)}")
    return moment.position if moment.is_time else max(moment.position - 1, 0)


def _between(source: Log, after: Position, until: Position) -> Iterator[Entry]:
    while entries := source.read(after, _CHUNK, until):
        yield from entries
        after = entries[-1].position


def _coming(source: Log, after: Position) -> Iterator[Entry]:
    """Yield entries as they are appended, for ever."""
    while True:
        for entry in source.follow(after, _CHUNK, _BLOCK_SECONDS):
            after = entry.position
            yield entry


def _objects(state: State, reference: Reference, namespace: str) -> list[Object]:
    kind: Kind = reference.kind
    if not reference.name:
        return state.list(kind.resource, namespace if kind.namespaced else "")
    key = reference.key(namespace)
    found = state.get(key)
    if found is None:
        raise NotFound(f"{subject_of(key)} did not exist in namespace {namespace} then")
    return [found]
