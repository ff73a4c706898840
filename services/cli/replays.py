"""`chronoset replay`: what the log remembers. Each question is a subcommand; without one it is the state then."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from events.history import Difference
from events.replay import check_whole, foldable_events
from events.state import State
from schemas.errors import BadRequest, NotFound
from schemas.kinds import CONTROLLER_REVISION, DAEMON_SET, NODE, POD, STATEFUL_SET
from schemas.objects import Key, split_key
from schemas.positions import Position, end_of_time, stream_id_of, time_of
from services.cli.completions import complete_target
from services.cli.histories import replay as show_state
from services.cli.moments import parse_moment
from services.cli.options import (
    ActorName,
    AllNamespaces,
    CommandId,
    DataDir,
    Namespace,
    Timeout,
    Wait,
    WriteFormat,
    WriteOutput,
    count_from,
)
from services.cli.pasts import place_of_words, tell_thinned
from services.cli.printing import show
from services.cli.records import AnswerFormat, Format, csv_text, document, full_record, painted
from services.cli.references import Reference, checked_namespace, parse_one, parse_references
from services.cli.session import Session, now_ms, open_session
from services.cli.shown_events import clock_time
from services.cli.streams import aside, show_json
from services.cli.telling import (
    broken_off,
    chain_record,
    chain_text,
    event_head,
    field_lines,
    fields_record,
    name_of_key,
    within,
)
from services.cli.told_rollouts import COLUMNS, flat, rollout_record, rollouts_text
from services.history.causes import chain_of
from services.history.changes import Change, changes_of, what_happened
from services.history.filters import Filter
from services.history.past import Past
from services.history.rollouts import rollouts_of

DEFAULT = "show"
EVERY = 10**9
_SIGNS = {
    "created": ("+", "green"),
    "deleted": ("-", "red"),
    "changed": ("~", "yellow"),
    "replaced": ("±", "yellow"),
}
_OF_ROLLOUTS = frozenset(each.resource for each in (STATEFUL_SET, DAEMON_SET, CONTROLLER_REVISION, POD))
_OF_PICTURES = _OF_ROLLOUTS | {NODE.resource}
_EVENT_COLUMNS = (
    "time",
    "position",
    "type",
    "key",
    "actor",
    "claim",
    "groups",
    "address",
    "agent",
    "command",
    "cause",
)
_FIELD_COLUMNS = ("field", "before", "after")


class Questions(TyperGroup):
    """A group whose first word may be left out: then it is `show`, which `replay` was before it had others."""

    default = DEFAULT

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] in ("-h", "--help"))
        if not named and (args or not ctx.resilient_parsing):
            args = [DEFAULT, *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Offer the subcommands, and what `show` takes."""
        found = super().shell_complete(ctx, incomplete)
        default: Any = self.commands[DEFAULT]
        with default.make_context(DEFAULT, [], parent=ctx, resilient_parsing=True) as below:
            found += default.shell_complete(below, incomplete)
            for parameter in default.params:
                if parameter.param_type_name == "argument":
                    found += parameter.shell_complete(below, incomplete)
        return found


app = typer.Typer(
    cls=Questions,
    add_completion=False,
    rich_markup_mode=None,
    help="""Ask the log: the state at any moment, what changed, who did it, and why.

    \b
    Example:
      chronoset replay --at "10 minutes ago" sts,pods
      chronoset replay why pod web-2
      chronoset replay history sts/web --field spec.replicas
    A time is 2026-11-23T14:03:07Z, 14:03 for today on this machine's clock, '10 minutes ago', or a position.
    """,
)
app.command(DEFAULT, short_help="the cluster as it was, or its events (may be left out)")(show_state)

Target = Annotated[
    list[str], typer.Argument(metavar="KIND NAME", help="Or KIND/NAME.", autocompletion=complete_target)
]
Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KIND [NAME...]]", help="All kinds if left out.", autocompletion=complete_target),
]
At = Annotated[str, typer.Option("--at", metavar="WHEN", help="As it was then (default: now).")]
Since = Annotated[str, typer.Option("--since", metavar="WHEN", help="From then on.")]
Until = Annotated[str, typer.Option("--until", metavar="WHEN", help="Up to then (default: now).")]
Field = Annotated[
    str, typer.Option("--field", metavar="PATH", help="Only this field, and what is in it: spec.replicas.")
]
NoStatus = Annotated[bool, typer.Option("--no-status", help="Leave out what was found to be so.")]


@app.command(short_help="what differs between two moments, field by field")
def diff(
    one: Annotated[str, typer.Argument(metavar="T1", help="A time or a position.")],
    other: Annotated[str, typer.Argument(metavar="T2", help="Another.")],
    target: Targets = None,
    no_status: NoStatus = False,
    field: Field = "",
    namespace: Namespace = "default",
    everywhere: AllNamespaces = False,
    output: AnswerFormat = Format.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Show what is different between two moments, field by field.

    \b
    Example:
      chronoset replay diff "10 minutes ago" now sts/web
      chronoset replay diff 14:00 14:05 --no-status -A
    """
    wanted = _Wanted(target, namespace, everywhere)
    session = open_session(data_dir)
    begin, end = _position(session, one, "T1"), _position(session, other, "T2")
    differing = session.history.differences(begin, end, wanted.resources)
    found = [each for each in differing if wanted.has(each.key)]
    shown = [(each, _fields(each, no_status, field)) for each in found]
    shown = [(each, fields) for each, fields in shown if fields]
    match output:
        case Format.CSV:
            rows = [
                {
                    "key": each.key,
                    "what": what_happened(each.old, each.new),
                    "field": path,
                    "before": old,
                    "after": new,
                }
                for each, fields in shown
                for path, old, new in fields
            ]
            show(csv_text(rows, ("key", "what", *_FIELD_COLUMNS)))
        case Format.TABLE:
            show("\n".join(line for each, fields in shown for line in _difference_lines(each, fields)))
        case _:
            values = [
                {"key": each.key, "what": what_happened(each.old, each.new), "fields": fields_record(fields)}
                for each, fields in shown
            ]
            show(document(values, output))
    differ = "1 object differs" if len(shown) == 1 else f"{len(shown)} objects differ"
    aside(f"from {_spoken(begin)} to {_spoken(end)}: {differ}")


@app.command(short_help="each change of an object: when, by whom, which fields")
def history(
    target: Target,
    field: Field = "",
    no_status: NoStatus = False,
    since: Since = "",
    until: Until = "",
    limit: Annotated[
        int, typer.Option(parser=count_from(1), metavar="N", help="At most the last N.", show_default=False)
    ] = EVERY,
    namespace: Namespace = "default",
    output: AnswerFormat = Format.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Show each change of an object: when, by whom, from where, which fields. Also of one that is gone.

    \b
    Example:
      chronoset replay history sts web
      chronoset replay history pod/web-2 --field spec.nodeName
    """
    key = parse_one(target).key(checked_namespace(namespace))
    session = open_session(data_dir)
    end = _position(session, until or "now", "--until")
    begin = _beginning(session, since)
    events = session.history.changes_of(key, EVERY, end)
    tell_thinned(session, frozenset((split_key(key)[0],)), begin)
    changes = [
        each
        for each in changes_of(events, partial(session.history.beginning_of, key))
        if each.event.position > begin and (fields := _fields(each, no_status, field)) is not None and fields
    ][-limit:]
    if not events and session.history.beginning_of(key) is None:
        check_whole(session.log, 0, end, frozenset((split_key(key)[0],)))
        raise NotFound(
            f"there never was a {name_of_key(key)} in namespace {namespace} up to {_spoken(end)}", key
        )
    _show_changes(key, changes, no_status, field, output)
    if events and not changes:
        aside(f"none of its {len(events)} events {f'changed {field}' if field else 'is one of these'}")


@app.command("log", short_help="the events of somebody, of some kind, of some time")
def show_log(
    actor: Annotated[
        str, typer.Option(metavar="WHO", help="By whom: alice, 'node:*', controller:statefulset.")
    ] = "",
    people: Annotated[bool, typer.Option("--people", help="Only what people wished for.")] = False,
    since: Since = "",
    until: Until = "",
    kind: Annotated[str, typer.Option(metavar="KIND[,KIND]", help="Of which kinds.")] = "",
    type_: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Of which type: PodBound, '*Deleted'.")
    ] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="Of which objects: web-2, 'web-*'.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only in this namespace.")] = "",
    output: AnswerFormat = Format.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Show the events that somebody wrote, or of some kind, in a stretch of time. JSON is a line for each.

    \b
    Example:
      chronoset replay log --actor alice --since "1 hour ago"
      chronoset replay log --people --since 14:00 --until 14:05 --kind sts,ds
    """
    place = checked_namespace(namespace) if namespace else ""
    kinds = frozenset(each.kind.resource for each in parse_references([kind])) if kind else frozenset[str]()
    wanted = Filter(actor, kinds, type_, place, name, people)
    session = open_session(data_dir)
    end = _position(session, until or "now", "--until")
    begin = _beginning(session, since)
    if begin > end:
        raise BadRequest(f"--until: {until!r} is before --since {since!r}")
    tell_thinned(session, kinds, begin)
    near = session.history.events_of(
        begin, end, wanted.has_key, wanted.has_actor if actor or people else None
    )
    events = filter(wanted.matches, near)
    match output:
        case Format.JSON:
            for event in events:
                show_json({**full_record(event), "body": event.body})
        case Format.YAML:
            show(document([full_record(event) for event in events], output))
        case Format.CSV:
            show(csv_text(map(full_record, events), _EVENT_COLUMNS))
        case Format.TABLE if sys.stdout.isatty():
            show("\n".join(map(event_head, events)))
        case Format.TABLE:
            for event in events:
                print(event_head(event))


@app.command(short_help="why something is as it is: back to a person's command")
def why(
    target: Target,
    at: At = "",
    namespace: Namespace = "default",
    output: AnswerFormat = Format.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Say why an object is as it is, or why it is gone: the chain of causes back to a person's command.

    \b
    Example:
      chronoset replay why pod web-2
      chronoset replay why sts/web --at 14:03
    """
    key = parse_one(target).key(checked_namespace(namespace))
    session = open_session(data_dir)
    position, then = place_of_words(session, at or "now", "--at")
    chain = chain_of(Past(session.history), key, position)
    if chain is None:
        check_whole(session.log, 0, position, frozenset((split_key(key)[0],)))
        raise NotFound(
            f"there never was a {name_of_key(key)} in namespace {namespace} up to {_spoken(position)}", key
        )
    match output:
        case Format.TABLE:
            show(chain_text(chain, f"at {clock_time(then)}" if at else "now"))
        case Format.CSV:
            rows = [{**record, "actor": record["actor"]} for record in chain_record(chain)["chain"]]
            show(csv_text(rows, ("because", *_EVENT_COLUMNS)))
            if not chain.whole:
                aside(broken_off(chain))
        case _:
            show(document(chain_record(chain), output))


@app.command(short_help="each rollout: who, which pods in which order, how it ended")
def rollouts(
    target: Targets = None,
    since: Since = "",
    until: Until = "",
    namespace: Namespace = "default",
    everywhere: AllNamespaces = False,
    output: AnswerFormat = Format.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Show each rollout: when, of which revision, by whom, which pods in which order, how long, how it ended.

    \b
    Example:
      chronoset replay rollouts sts/web
      chronoset replay rollouts --since "1 day ago" -A
    """
    wanted = _Wanted(target, namespace, everywhere)
    session = open_session(data_dir)
    end = _position(session, until or "now", "--until")
    begin = _beginning(session, since)
    events = foldable_events(session.log, begin, end, _OF_ROLLOUTS)
    state = session.history.state_at(begin, _OF_ROLLOUTS) if begin else State()
    found = rollouts_of(state, events)
    found = [each for each in found if wanted.has(each.key)]
    now = time_of(end) if until else now_ms()
    match output:
        case Format.TABLE:
            show(rollouts_text(found, now))
        case Format.CSV:
            show(csv_text((flat(rollout_record(each, now)) for each in found), COLUMNS))
        case _:
            show(document([rollout_record(each, now) for each in found], output))


@app.command(short_help="play a stretch of time in the terminal")
def play(
    from_: Annotated[str, typer.Option("--from", metavar="WHEN", help="Where it begins.")],
    to: Annotated[str, typer.Option("--to", metavar="WHEN", help="Where it ends (default: now).")] = "",
    speed: Annotated[
        int, typer.Option(parser=count_from(1), metavar="N", help="So many times as fast as it was.")
    ] = 60,
    data_dir: DataDir = None,
) -> None:
    """Play a stretch of time in the terminal: nodes and their pods, coloured by revision. Ctrl-C ends it.

    Without a terminal it prints each picture, at once. Where nothing happens for long it goes on sooner.

    \b
    Example:
      chronoset replay play --from "10 minutes ago" --speed 60
      chronoset replay play --from 14:00 --to 14:05 > pictures.txt
    """
    from services.cli.playing import play_out

    session = open_session(data_dir)
    begin, end = _position(session, from_, "--from"), _position(session, to or "now", "--to")
    if begin > end:
        raise BadRequest(f"--to: {to!r} is before --from {from_!r}")
    events = foldable_events(session.log, begin, end, _OF_PICTURES)
    play_out(session.history.state_at(begin, _OF_PICTURES), events, speed)


@app.command(short_help="make a spec what it was, by a new event")
def revert(
    target: Target,
    to: Annotated[str, typer.Option("--to", metavar="WHEN", help="As it was then.")],
    namespace: Namespace = "default",
    actor: ActorName = "",
    command_id: CommandId = "",
    wait: Wait = False,
    timeout: Timeout = "10m",  # type: ignore[assignment]
    output: WriteFormat = WriteOutput.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Make the spec of an object what it was: by a new event. Nothing in the log is rewritten.

    \b
    Example:
      chronoset replay revert sts web --to 14:03
      chronoset replay revert sts/web --to 1795404498048-0 --wait
    """
    from services.cli.writes import Manner, write
    from services.commands.commands import Revert

    key = parse_one(target).key(checked_namespace(namespace))
    session = open_session(data_dir)
    position = _position(session, to, "--to")
    then = session.history.state_at(position, frozenset((split_key(key)[0],))).get(key)
    if then is None:
        raise NotFound(
            f"there was no {name_of_key(key)} in namespace {namespace} at {_spoken(position)}", key
        )
    write([Revert(key, then)], Manner(data_dir, actor, command_id, output, wait, timeout))


class _Wanted:
    """Which objects are asked about."""

    def __init__(self, words: Sequence[str] | None, namespace: str, everywhere: bool) -> None:
        self._references: list[Reference] = parse_references(words) if words else []
        self._namespace = "" if everywhere else checked_namespace(namespace)

    @property
    def resources(self) -> frozenset[str] | None:
        """The resources that are asked about; None: all."""
        return frozenset(each.kind.resource for each in self._references) or None

    def has(self, key: Key) -> bool:
        """Say whether an object is asked about; those without a namespace are, wherever one looks."""
        if key.count("/") < 2:
            return False
        resource, namespace, name = split_key(key)
        if self._namespace and namespace not in ("", self._namespace):
            return False
        return not self._references or any(
            each.kind.resource == resource and each.name in ("", name) for each in self._references
        )


def _position(session: Session, text: str, option: str) -> Position:
    return place_of_words(session, text, option).position


def _beginning(session: Session, since: str) -> Position:
    """Return the position behind which to begin: 0 where nothing was said, or a time before the log began."""
    if not since:
        return 0
    moment = parse_moment(since, now_ms(), "--since")
    (first,) = session.log.read(0, 1)
    if moment.is_time and moment.position < first.position:
        aside(f"--since: the log began after that, at {clock_time(time_of(first.position))}")
        return 0
    return _position(session, since, "--since")


def _spoken(position: Position) -> str:
    """Return a position with its time; for a time that was asked for, which is no position of an event, only that."""
    when = clock_time(time_of(position))
    return when if position == end_of_time(time_of(position)) else f"{stream_id_of(position)} ({when})"


def _fields(each: Change | Difference, no_status: bool, field: str) -> Any:
    from services.history.fields import field_changes

    found = each.fields if isinstance(each, Change) else field_changes(each.old, each.new)
    kept = [one for one in within(found, field) if not (no_status and one.path.startswith("status"))]
    if no_status and all(one.path == "metadata.generation" for one in kept):
        return []
    return kept


def _difference_lines(each: Difference, fields: Sequence[Any]) -> Iterator[str]:
    what = what_happened(each.old, each.new)
    sign, colour = _SIGNS[what]
    yield painted(f"{sign} {name_of_key(each.key)}", "bold", colour) + f"  {what}"
    if what in ("changed", "replaced"):
        yield from field_lines(fields, "    ")


def _show_changes(key: Key, changes: Sequence[Change], no_status: bool, field: str, output: Format) -> None:
    match output:
        case Format.TABLE:
            lines: list[str] = []
            for each in changes:
                lines.append(event_head(each.event, key))
                fields = _fields(each, no_status, field)
                if field or (each.before is not None and each.after is not None):
                    lines += field_lines(fields, "    ")
            show("\n".join(lines))
        case Format.CSV:
            rows = [
                {**full_record(each.event), **one}
                for each in changes
                for one in fields_record(_fields(each, no_status, field))
            ]
            show(csv_text(rows, (*_EVENT_COLUMNS, *_FIELD_COLUMNS)))
        case _:
            values = [
                {**full_record(each.event), "fields": fields_record(_fields(each, no_status, field))}
                for each in changes
            ]
            show(document(values, output))
