"""From a command and what is known to changes: pure, so that a conflict is answered by deciding again.

What needs the schemas (apply, patch) is imported when it is needed: reading them takes longer than all else that
`scale` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.changes import Change, Create, Replace
from schemas.deletion import BACKGROUND, FOREGROUND, ORPHAN, deletion_of
from schemas.errors import BadRequest, Cause, Invalid
from schemas.kinds import STATEFUL_SET
from schemas.objects import Object, split_key
from schemas.retention import ACCEPTED, SNAPSHOTS, parse_period, resource_named, with_periods
from schemas.retention import KEY as RETENTION
from schemas.times import Milliseconds
from schemas.workload_rules import MOST_REPLICAS
from services.commands.admission import check_deletion
from services.commands.commands import (
    Apply,
    Command,
    Cordon,
    Delete,
    Evict,
    Patch,
    Restart,
    Retain,
    Revert,
    Scale,
    Switch,
    Taint,
    Undo,
)
from services.commands.rollouts import decide_restart, decide_undo
from services.commands.sources import Sources, existing, subject_of

_PROPAGATIONS = {"background": BACKGROUND, "foreground": FOREGROUND, "orphan": ORPHAN}
CASCADES = tuple(_PROPAGATIONS)


@dataclass(frozen=True, slots=True)
class Decided:
    """The changes a command comes to (those that change nothing append nothing), and what its author should know.

    `rests_on` are objects, as read, that must not have moved when the changes are committed.
    """

    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    rests_on: tuple[Object, ...] = ()


def decide(command: Command, sources: Sources, now: Milliseconds) -> Decided:
    """Conclude what a command comes to. Raises NotFound, BadRequest, Invalid, Forbidden, Conflict, TooManyRequests."""
    match command:
        case Apply():
            from services.commands.manifests import decide_apply

            return Decided(*decide_apply(command, sources))
        case Patch():
            from services.commands.manifests import decide_patch

            return Decided(*decide_patch(command, sources))
        case Scale():
            return Decided((_decide_scale(command, sources),))
        case Delete():
            return Decided((_decide_delete(command, sources, now),))
        case Evict():
            from services.commands.evictions import decide_eviction

            return decide_eviction(command, sources, now)
        case Undo():
            return Decided((decide_undo(command, sources),))
        case Restart():
            return Decided((decide_restart(command, sources, now),))
        case Revert():
            from services.commands.manifests import decide_revert

            return Decided(*decide_revert(command, sources))
        case Cordon():
            from services.commands.nodes import decide_cordon

            return Decided((decide_cordon(command, sources),))
        case Taint():
            from services.commands.nodes import decide_taint

            return Decided((decide_taint(command, sources, now),))
        case Switch():
            return Decided((_decide_switch(command, sources),))
        case Retain():
            return Decided((_decide_retention(command, sources),))


def _decide_scale(command: Scale, sources: Sources) -> Change:
    if split_key(command.key)[0] != STATEFUL_SET.resource:
        raise BadRequest(f"{subject_of(command.key)} has no replicas to scale; name a statefulset")
    if not 0 <= command.replicas <= MOST_REPLICAS:
        problem = f"Invalid value: {command.replicas}: must be a whole number from 0 to {MOST_REPLICAS}"
        raise Invalid(subject_of(command.key), (Cause("spec.replicas", problem),))
    old = existing(sources, command.key)
    return Replace(old, {**old, "spec": {**old["spec"], "replicas": command.replicas}})


def _decide_delete(command: Delete, sources: Sources, now: Milliseconds) -> Change:
    old = existing(sources, command.key)
    check_deletion(old)
    propagation = _PROPAGATIONS.get(command.cascade)
    if propagation is None:
        raise BadRequest(f"--cascade: {command.cascade!r} is unknown; write one of {', '.join(CASCADES)}")
    return deletion_of(old, now, command.grace_seconds, propagation)


def _decide_switch(command: Switch, sources: Sources) -> Change:
    from services.controllers.switches import KEY, with_switch

    found = sources.get(KEY)
    new = found
    for controller in command.controllers:
        new = with_switch(new, controller, command.paused)
    if new is None:
        raise BadRequest("no controller is named; write one, as statefulset")
    return Create(new) if found is None else Replace(found, new)


def _decide_retention(command: Retain, sources: Sources) -> Change:
    resources = []
    for name in command.kinds:
        resource = resource_named(name)
        if not resource:
            raise BadRequest(f"KIND: {name!r} is no kind that is kept in the log, nor {SNAPSHOTS}")
        resources.append(resource)
    if not resources:
        raise BadRequest("KIND: is missing; write one, as pods")
    if command.period and parse_period(command.period) is None:
        raise BadRequest(f"--keep: {command.period[:40]!r} is no period; write {ACCEPTED}")
    found = sources.get(RETENTION)
    new = with_periods(found, resources, command.period)
    return Create(new) if found is None else Replace(found, new)
