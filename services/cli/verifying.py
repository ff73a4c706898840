"""`chronoset verify`: whether the log, and all that was made of it, is what was written."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Annotated, Any

import typer

from events.archive import Snapshot
from events.archived_log import ArchivedLog
from events.codec import decode
from events.log import MAX_CLOCK_SKEW_MS, Log
from events.replay import replay
from events.snapshots import states_differ, unpack_state
from events.state import State
from schemas.counts import counted
from schemas.envelopes import EPOCH, LOG_KEY, Event
from schemas.errors import Damaged, LostHistory, NotFound, Unavailable
from schemas.objects import Key
from schemas.positions import Position, position_of, stream_id_of, time_of
from schemas.retention import KEY as RETENTION
from schemas.retention import SNAPSHOTS, periods_of
from schemas.times import rfc3339
from services.cli.options import DataDir
from services.cli.pasts import place_of_words
from services.cli.records import Format, document, painted
from services.cli.session import Session, now_ms, open_session
from services.history.verification import Verifier

_CHUNK = 1000
_HEADS = 500
_ROUNDS = 20
"""How often what moved meanwhile is looked at again: a log that is written to is never at rest."""
_MOST_SHOWN = 20
_EVERY = 10**9


@dataclass(slots=True)
class Report:
    """What a verification found, part by part. `findings` are (part, position or 0, what is wrong)."""

    begin: Position = 0
    end: Position = 0
    events: int = 0
    objects: int = 0
    derived: int = 0
    snapshots: int = 0
    segments: int = 0
    thinned: dict[str, Position] = field(default_factory=dict)
    findings: list[tuple[str, Position, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def found(self, part: str, why: LostHistory | str, position: Position = 0) -> None:
        """Add what is wrong with a part; once."""
        finding = (part, why.position if isinstance(why, LostHistory) else position, str(why))
        if finding not in self.findings:
            self.findings.append(finding)


def verify(
    from_: Annotated[
        str, typer.Option("--from", metavar="WHEN", help="Check from then on; what was before is trusted.")
    ] = "",
    projections: Annotated[
        bool, typer.Option("--projections/--no-projections", help="Compare the projections with a replay.")
    ] = True,
    output: Annotated[Format, typer.Option("--output", "-o", help="table, json or yaml.")] = Format.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Check the log, and all that was made of it: exit code 65 where something is not what was written.

    That each entry follows the one before, and each object's event its own last one; that batches are whole; that every
    revision follows from its change; that the heads, projections, snapshots and sealed segments equal a replay.

    \b
    Example:
      chronoset verify
      chronoset verify --from "1 day ago" -o json
    """
    session = open_session(data_dir)
    begin = place_of_words(session, from_, "--from").position if from_ else 0
    report = check(session, begin, projections)
    if output is not Format.TABLE:
        print(document(_record(report), output if output is not Format.CSV else Format.JSON))
    else:
        print(_text(report))
    if report.findings:
        part, position, why = min(report.findings, key=lambda each: (not each[1], each[1]))
        where = f"first at {stream_id_of(position)}, " if position else ""
        count = len(report.findings)
        wrong = "something is wrong" if count == 1 else f"{count} things are wrong"
        raise Damaged(f"{wrong}, {where}in the {part}: {why}", position)


def check(session: Session, begin: Position, projections: bool) -> Report:
    """Check a cluster's log from a position on (0: from its beginning), and what was made of it."""
    report, log = Report(begin), session.log
    _check_archive(report, log)
    _check_copies(report, session)
    _check_policies(report, session)
    verifier = Verifier(replay(log, begin) if begin else None)
    try:
        with _progress(log.last(), begin) as tell:
            _check_log(report, verifier, log, tell)
        _check_heads(report, verifier, log)
        if projections:
            _check_projections(report, verifier, session)
    except LostHistory as why:
        report.found("log", why)
    report.end, report.events = verifier.state.position, verifier.events
    report.objects, report.derived = len(verifier.state.objects), verifier.derived
    return report


def _check_archive(report: Report, log: Log) -> None:
    if not isinstance(log, ArchivedLog):
        return
    try:
        manifest = log.archive.refresh()
        report.segments = len(manifest.segments)
        for why in log.archive.check():
            report.found("archive", why)
    except LostHistory as why:
        report.found("archive", why)
    except Unavailable as why:
        report.found("archive", str(why))


def _check_copies(report: Report, session: Session) -> None:
    """Check that what is sealed is the same on the log's server, as far as it is there: others read it there."""
    stream, log = session.stream, session.log
    try:
        end, at = log.archive.manifest.end, stream.held()[0] - 1
        while at < end:
            here, sealed = (each.read(at, _CHUNK, end) for each in (stream, log.archive))
            at = sealed[-1].position if sealed else end
            if here == sealed:
                continue
            pairs = zip_longest(here, sealed)
            one, other = next((one, other) for one, other in pairs if one != other)
            position = min(each.position for each in (one, other) if each is not None)
            report.found("stream", f"{stream_id_of(position)} is not what was sealed of it", position)
            return
    except (LostHistory, Unavailable) as why:
        report.found("stream", str(why))


def _check_log(report: Report, verifier: Verifier, log: Log, tell: Any) -> None:
    """Check every entry up to the log's end, and each snapshot where it stands.

    Over what a retention policy has thinned it goes from one kept state to the next, with all events that are left.
    """
    due = _snapshots(log)
    while True:
        end = log.last()
        at = verifier.state.position
        while due and due[0].position <= at:
            due.pop(0)
        stop = due[0].position if due else end
        if gap := log.gap(at, stop):
            verifier.skip(gap.resources, stop)
        while at < stop and (entries := log.read(at, _CHUNK, stop)):
            verifier.take(entries)
            at = entries[-1].position
            tell(at)
        if due and gap:
            verifier.resume(_kept_state(log, due.pop(0)))
            report.snapshots += 1
        elif due and verifier.state.position == due[0].position:
            _check_snapshot(report, verifier, log, due.pop(0))
        elif at >= end or not due:
            break
        else:
            due.pop(0)
    verifier.end(end)


def _check_policies(report: Report, session: Session) -> None:
    """Check that what is thinned is what a policy said, that stood in the log, of events as old as it said."""
    manifest = session.log.archive.manifest
    try:
        versions = session.history.versions_of(RETENTION, _EVERY)
        given_up = _given_up(session)
    except LostHistory as why:
        report.found("archive", why)
        return
    said = {each.event.position: periods_of(each.new) for each in versions}
    moments = {each.position for each in manifest.snapshots}
    for row in (*manifest.thinned, *([manifest.sparse] if manifest.sparse else ())):
        what = f"{row.resource} is thinned up to {stream_id_of(row.until)}"
        if any(end < row.policy <= seen for end, seen in given_up):
            report.skipped.append(
                f"archive: {what} by a policy that was given up with the end of a log before"
            )
        elif said.get(row.policy, {}).get(row.resource) != row.keep:
            report.found("archive", f"{what}, which the policy at {stream_id_of(row.policy)} does not say")
        elif time_of(row.until) > row.at - row.keep or row.at > now_ms() + MAX_CLOCK_SKEW_MS:
            report.found("archive", f"{what}, before its time: {rfc3339(time_of(row.until) + row.keep)}")
        elif row.until not in moments and row.resource != SNAPSHOTS:
            report.found("archive", f"{what}, where no state is kept")
    until = max((row.until for row in manifest.thinned), default=0)
    report.thinned = {row.resource: row.until for row in manifest.thinned}
    for segment in manifest.segments:
        if segment.dropped and segment.last > until:
            report.found("archive", f"segment {segment.name} is thinned, behind all that is", segment.first)


def _given_up(session: Session) -> list[tuple[Position, Position]]:
    """Return from where to where each epoch gave up events of the log before it."""
    events = session.history.changes_of(LOG_KEY, _EVERY)
    bodies = [each.body for each in events if each.op == EPOCH and each.body]
    return [(position_of(body["end"]), position_of(body["seen"])) for body in bodies]


def _snapshots(log: Log) -> list[Any]:
    return list(log.archive.manifest.snapshots) if isinstance(log, ArchivedLog) else []


def _kept_state(log: Log, row: Snapshot) -> State:
    assert isinstance(log, ArchivedLog)
    return State.of(unpack_state(log.archive.content(row.name, row.digest), row.name))


def _check_snapshot(report: Report, verifier: Verifier, log: Log, row: Any) -> None:
    assert isinstance(log, ArchivedLog)
    try:
        kept = unpack_state(log.archive.store.get(row.name), row.name)
    except (LostHistory, NotFound, Unavailable) as why:
        report.found("snapshots", str(why), row.position)
        return
    report.snapshots += 1
    if what := states_differ(verifier.state, kept):
        report.found("snapshots", f"snapshot {row.name} differs from a replay in {what}", row.position)


def _check_heads(report: Report, verifier: Verifier, log: Log) -> None:
    """Check that the server's heads are what the fold says; those that move meanwhile are looked at again."""
    suspects = dict(verifier.state.heads())
    for _ in range(_ROUNDS):
        found: dict[Key, Position] = {}
        names = list(suspects)
        for start in range(0, len(names), _HEADS):
            found |= log.heads(names[start : start + _HEADS])
        before = verifier.state.position
        _catch_up(verifier, log)
        expected = dict(verifier.state.heads())
        suspects = {key: expected.get(key, 0) for key in found if found[key] != expected.get(key, 0)}
        if not suspects or verifier.state.position == before:
            break
    for key, position in sorted(suspects.items())[:_MOST_SHOWN]:
        actual = stream_id_of(found[key])
        report.found(
            "heads", f"the head of {key} is {actual}, a replay says {stream_id_of(position)}", position
        )


def _catch_up(verifier: Verifier, log: Log) -> list[Event]:
    """Check what was appended since; return the events."""
    events: list[Event] = []
    while entries := log.read(verifier.state.position, _CHUNK, log.last()):
        verifier.take(entries)
        events += map(decode, entries)
    return events


def _check_projections(report: Report, verifier: Verifier, session: Session) -> None:
    from services.connections import connect
    from services.projections.checking import projection_differences, read_projections

    try:
        session.catch_up(verifier.state.position)
        client = connect(session.settings.views_url, "cli")
        found = read_projections(client, session.settings.cluster)
    except Unavailable as why:
        report.skipped.append(f"projections: {why}")
        return
    if found.begin.log != verifier.state.log_id:
        report.found("projections", f"they are of log {found.begin.log}, not {verifier.state.log_id}")
        return
    events = _catch_up(verifier, session.log)
    differing = list(projection_differences(verifier.state, found, events))
    for key, problem in differing[:_MOST_SHOWN]:
        obj = verifier.state.get(key)
        report.found("projections", f"{key} {problem}", int(obj["metadata"]["resourceVersion"]) if obj else 0)


@contextmanager
def _progress(end: Position, begin: Position) -> Iterator[Any]:
    """Show on a terminal how far the log is checked, by its time."""
    if not sys.stderr.isatty():
        yield lambda _position: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("checking"), BarColumn(), TextColumn("{task.fields[at]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, at="")
        first = [time_of(begin)]

        def tell(position: Position) -> None:
            first[0] = first[0] or time_of(position)
            done = time_of(position) - first[0]
            bar.update(task, total=max(time_of(end) - first[0], 1), completed=done, at=stream_id_of(position))

        yield tell


def _text(report: Report) -> str:
    wrong = {part for part, _, _ in report.findings}
    begin = f" from {stream_id_of(report.begin)}" if report.begin else ""
    rows: Sequence[tuple[str, str]] = (
        (
            "log",
            f"{counted(report.events, 'event')}{begin} up to {stream_id_of(report.end)}, "
            f"{counted(report.derived, 'revision')} derived",
        ),
        ("heads", counted(report.objects, "object")),
        ("archive", counted(report.segments, "segment") + _thinned(report)),
        ("stream", "is the same where it is sealed"),
        ("snapshots", counted(report.snapshots, "snapshot")),
        ("projections", "equal a replay"),
    )
    skipped = {each.partition(":")[0] for each in report.skipped}
    lines = []
    for part, told in rows:
        if part in wrong or ("log" in wrong and part not in ("archive", "stream", "snapshots", "log")):
            mark = painted("WRONG  ", "bold", "red") if part in wrong else "not checked"
        else:
            mark = painted("whole  ", "green") if part not in skipped else "not checked"
        lines.append(
            f"{mark:<8} {part:<12} {told if part not in wrong and mark != 'not checked' else ''}".rstrip()
        )
    lines += [f"  {part}: {why}" for part, _, why in report.findings]
    return "\n".join(lines + report.skipped)


def _thinned(report: Report) -> str:
    told = (f"{resource} up to {stream_id_of(until)}" for resource, until in sorted(report.thinned.items()))
    return f"; thinned, as the policy says: {', '.join(told)}" if report.thinned else ""


def _record(report: Report) -> dict[str, Any]:
    return {
        "ok": not report.findings,
        "from": stream_id_of(report.begin) if report.begin else None,
        "to": stream_id_of(report.end),
        "events": report.events,
        "objects": report.objects,
        "derivedRevisions": report.derived,
        "segments": report.segments,
        "thinned": {resource: stream_id_of(until) for resource, until in report.thinned.items()},
        "snapshots": report.snapshots,
        "findings": [
            {"part": part, "position": stream_id_of(position) if position else None, "problem": why}
            for part, position, why in report.findings
        ],
        "notChecked": report.skipped,
    }
