"""`chronoset describe`: all about an object, and who changed it last and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from events.codec import decode
from schemas import kinds
from schemas.envelopes import Event
from schemas.kinds import KINDS, POD
from schemas.objects import Object, key_of_object, kind_of, labels_of, name_of, namespace_of, uid_of
from schemas.positions import Position
from services.cli.completions import complete_target
from services.cli.described_pods import claims_of_pod
from services.cli.descriptions import Subject, description
from services.cli.options import DataDir, Namespace, count_from
from services.cli.printing import position_line, show
from services.cli.references import checked_namespace, none_found, parse_references
from services.cli.session import Session, now_ms, open_session
from services.cli.streams import aside
from services.commands.rollouts import history
from services.commands.sources import existing

if TYPE_CHECKING:
    from services.projections.reader import Change


def describe(
    target: Annotated[
        list[str],
        typer.Argument(metavar="KIND [NAME...]", help="Or KIND/NAME...", autocompletion=complete_target),
    ],
    namespace: Namespace = "default",
    changes: Annotated[
        int,
        typer.Option(parser=count_from(0), metavar="N", help="How many of its last changes (at most 100)."),
    ] = 10,
    data_dir: DataDir = None,
) -> None:
    """Show all about an object: spec, status, conditions, pods, revisions, and who changed it last and why.

    A Secret's values are never shown.

    \b
    Example:
      chronoset describe sts db
      chronoset describe pod/db-0 --changes 30
    """
    references = parse_references(target)
    place = checked_namespace(namespace)
    session = open_session(data_dir)
    position = session.views.position()
    found = [
        obj
        for each in references
        for obj in (
            [existing(session.sources, each.key(place))]
            if each.name
            else session.views.list(each.kind.resource, place if each.kind.namespaced else "")
        )
    ]
    show("\n\n\n".join(description(_subject(session, obj, changes)) for obj in found))
    if not found:
        aside(none_found(references, place))
    aside(position_line(position))


def _subject(session: Session, obj: Object, count: int) -> Subject:
    """Ask for all that is told about an object."""
    views, key = session.views, key_of_object(obj)
    is_workload = kind_of(obj) in kinds.WORKLOADS
    changes = views.changes_of(key)[:count]
    return Subject(
        session.sources.unseal(obj),
        now_ms(),
        session.waiting().get(key, "") if is_workload else "",
        _pods(session, obj),
        history(session.sources, obj) if is_workload else (),
        _claims(session, obj),
        _events(session, obj),
        _counts(session, obj),
        changes,
        _causes(session, changes),
    )


def _pods(session: Session, obj: Object) -> Sequence[Object]:
    views = session.views
    match kind_of(obj):
        case kinds.STATEFUL_SET | kinds.DAEMON_SET:
            return [each for each in views.owned_by(uid_of(obj)) if each["kind"] == POD.kind]
        case kinds.NODE:
            return views.pods_on(name_of(obj))
        case kinds.CLAIM:
            pods = views.list(POD.resource, namespace_of(obj))
            return [pod for pod in pods if name_of(obj) in claims_of_pod(pod)]
        case kinds.SERVICE if obj["spec"].get("selector"):
            wanted = obj["spec"]["selector"].items()
            pods = views.list(POD.resource, namespace_of(obj))
            return [pod for pod in pods if wanted <= labels_of(pod).items()]
    return ()


def _claims(session: Session, obj: Object) -> Sequence[Object]:
    """Return the claims that the templates of a StatefulSet have led to, those of no pod any more too."""
    if kind_of(obj) is not kinds.STATEFUL_SET:
        return ()
    prefixes = [f"{name_of(each)}-{name_of(obj)}-" for each in obj["spec"].get("volumeClaimTemplates") or ()]
    if not prefixes:
        return ()
    claims = session.views.list(kinds.CLAIM.resource, namespace_of(obj))
    return [each for each in claims if any(_is_numbered(name_of(each), prefix) for prefix in prefixes)]


def _is_numbered(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name.removeprefix(prefix).isdecimal()


def _events(session: Session, obj: Object) -> Sequence[Object]:
    found = session.views.list(kinds.EVENT.resource, namespace_of(obj) or "default")
    return [each for each in found if (each.get("involvedObject") or {}).get("uid") == uid_of(obj)]


def _counts(session: Session, obj: Object) -> Sequence[tuple[str, int]]:
    if kind_of(obj) is not kinds.NAMESPACE:
        return ()
    inside = [kind for kind in KINDS if kind.namespaced]
    return [(kind.plural, len(session.views.list(kind.resource, name_of(obj)))) for kind in inside]


def _causes(session: Session, changes: Sequence[Change]) -> Mapping[Position, Event]:
    """Return the events that led to changes, as far as the log still has them."""
    wanted = {change.cause for change in changes if change.cause}
    found = (session.log.read(position - 1, 1, position) for position in sorted(wanted))
    return {entry.position: decode(entry) for entries in found for entry in entries}
