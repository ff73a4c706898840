"""The command that reads what is there now: get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from schemas.errors import BadRequest
from schemas.kinds import WORKLOADS, Kind
from schemas.objects import Object, labels_of
from schemas.selectors import parse_selector
from services.cli.columns import Layout, Setting
from services.cli.completions import complete_target
from services.cli.moments import parse_position
from services.cli.options import AllNamespaces, DataDir, Namespace, ReadFormat, ReadOutput
from services.cli.printing import listing_text, object_text, position_line, show
from services.cli.references import Reference, checked_namespace, none_found, parse_references
from services.cli.session import Session, now_ms, open_session
from services.cli.streams import aside


def get(
    target: Annotated[
        list[str],
        typer.Argument(
            metavar="KIND [NAME...]", help="Or KIND,KIND or KIND/NAME...", autocompletion=complete_target
        ),
    ],
    namespace: Namespace = "default",
    everywhere: AllNamespaces = False,
    selector: Annotated[
        str, typer.Option("--selector", "-l", metavar="SELECTOR", help="Labels, as app=web,tier!=cache.")
    ] = "",
    output: ReadFormat = ReadOutput.TABLE,
    at_least: Annotated[
        str, typer.Option(metavar="POSITION", help="Wait until the projections show this position.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with a row for every change.")] = False,
    watch_events: Annotated[
        bool, typer.Option("--output-watch-events", help="Say of each what it is: ADDED, MODIFIED, DELETED.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Show objects as they are now, from the projections, whose position is printed to stderr.

    With --watch it goes on with the log: a row, or a JSON object on a line, for every change. The last row of what is
    deleted, or is no longer selected, ends in <deleted>.

    \b
    Example:
      chronoset get sts,pods
      chronoset get pods -l app=db -o wide
      chronoset get pods --watch
      chronoset get sts/db -o yaml
    """
    references = parse_references(target)
    wanted = parse_selector(selector)
    if everywhere and any(reference.name for reference in references):
        raise BadRequest("--all-namespaces: a name is in one namespace; leave out one of them")
    if selector and any(reference.name for reference in references):
        raise BadRequest("--selector: a name is one object; leave out one of them")
    if watch_events and not watch:
        raise BadRequest("--output-watch-events: is for --watch")
    place = "" if everywhere else checked_namespace(namespace)
    least = parse_position(at_least) if at_least else 0
    session = open_session(data_dir)
    if least:
        session.catch_up(least)
    if watch:
        from services.cli.watching import Selection, Shape, watch_objects

        shape = Shape(output, Layout(output is ReadOutput.WIDE, everywhere), watch_events)
        watch_objects(session, Selection(references, place, wanted), shape)
        return
    position = session.views.position()
    found = [_found(session, reference, place) for reference in references]
    listing = grouped(
        [(kind, obj) for kind, objects in found for obj in objects if wanted.matches(labels_of(obj))]
    )
    if output in (ReadOutput.JSON, ReadOutput.YAML):
        listing = [(kind, [session.sources.unseal(obj) for obj in objects]) for kind, objects in listing]
    show(
        _text(listing, references, output, Layout(namespaces=everywhere), _setting(session, listing, output))
    )
    if not listing and output not in (ReadOutput.JSON, ReadOutput.YAML):
        aside(none_found(references, place))
    aside(position_line(position))


def grouped(objects: Sequence[tuple[Kind, Object]]) -> list[tuple[Kind, list[Object]]]:
    """Return objects by kind, in the order in which the kinds first come."""
    groups: dict[str, tuple[Kind, list[Object]]] = {}
    for kind, obj in objects:
        groups.setdefault(kind.resource, (kind, []))[1].append(obj)
    return list(groups.values())


def _found(session: Session, reference: Reference, namespace: str) -> tuple[Kind, Sequence[Object]]:
    from services.commands.sources import existing

    kind = reference.kind
    if reference.name:
        return kind, [existing(session.sources, reference.key(namespace))]
    return kind, session.sources.list(kind.resource, namespace if kind.namespaced else "")


def _setting(session: Session, listing: list[tuple[Kind, list[Object]]], output: ReadOutput) -> Setting:
    tables = output in (ReadOutput.TABLE, ReadOutput.WIDE)
    asks = tables and any(kind in WORKLOADS for kind, _ in listing)
    return Setting(now_ms(), session.waiting() if asks else {})


def _text(
    listing: list[tuple[Kind, list[Object]]],
    references: list[Reference],
    output: ReadOutput,
    layout: Layout,
    setting: Setting,
) -> str:
    single = len(references) == 1 and references[0].name
    if single and output in (ReadOutput.JSON, ReadOutput.YAML):
        return object_text(listing[0][1][0], output)
    several = len({reference.kind.resource for reference in references}) > 1
    shown = Layout(output is ReadOutput.WIDE, layout.namespaces, several)
    return listing_text(listing, output, setting, shown)
