"""What a set waits for, in one sentence for people: the first thing in the way, and how much more there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from schemas.counts import counted
from schemas.taints import ready_status_of
from schemas.times import Milliseconds, rfc3339
from services.controllers.daemonset.decide import Plan, Situation
from services.controllers.daemonset.view import Daemon, Place
from services.controllers.pods import why_not_ready

BEING_DELETED = "the set is being deleted"


def waiting_for(situation: Situation, plan: Plan, now: Milliseconds) -> str:
    """Return what must happen before there is more to do; empty where nothing must."""
    if plan.create:
        return f"{counted(len(plan.create), 'pod')} to be available: just created"
    if plan.delete:
        return f"{counted(len(plan.delete), 'pod')} to end: {_why_deleted(situation, plan.delete[0])}"
    if plan.held:
        return _why_held(plan)
    awaited = list(_awaited(situation, now))
    if awaited:
        more = f" (and {len(awaited) - 1} more nodes)" if len(awaited) > 1 else ""
        first = _why_awaited(*awaited[0])
        left, unavailable = plan.left
        if left:
            return (
                f"the update, {left} old pods are left: {unavailable} nodes count as unavailable; "
                f"{first}{more}"
            )
        return f"{first}{more}"
    return _why_nowhere(situation)


def _why_deleted(situation: Situation, daemon: Daemon) -> str:
    where = f"{daemon.name} on node {daemon.node}"
    place = situation.view.places[daemon.node]
    if not place.fit.stays:
        return f"{where}, {place.fit.why}"
    if daemon.is_finished:
        return f"{where} is replaced, {why_not_ready(daemon.pod)}"
    return f"{where} is replaced" if daemon.revision != situation.update else f"{where} is one too many"


def _why_held(plan: Plan) -> str:
    first = min(plan.held, key=lambda each: each.until)
    more = f" (and {len(plan.held) - 1} more)" if len(plan.held) > 1 else ""
    return (
        f"{first.daemon.name} on node {first.daemon.node} is replaced at {rfc3339(first.until)}, "
        f"after {counted(first.failures + 1, 'failure')} there: {why_not_ready(first.daemon.pod)}{more}"
    )


def _awaited(situation: Situation, now: Milliseconds) -> Iterator[tuple[Place, Daemon]]:
    """Yield, by the names of nodes, each that is to have an available pod and has none, or two, or a leaving one."""
    for place in situation.view.unsettled:
        daemons = place.daemons
        if len(daemons) == 1 and daemons[0].is_available(now) and not daemons[0].is_terminating:
            continue
        leaving = [each for each in daemons if each.is_terminating]
        unavailable = [each for each in daemons if not (each.is_terminating or each.is_available(now))]
        if leaving or (unavailable and place.fit.runs):
            yield place, (leaving or unavailable)[0]


def _why_awaited(place: Place, daemon: Daemon) -> str:
    if daemon.is_terminating:
        return f"{daemon.name} on node {place.name} to end"
    return f"{daemon.name} on node {place.name} to be available: {_why_unavailable(daemon, place)}"


def _why_unavailable(daemon: Daemon, place: Place) -> str:
    if daemon.available_at is not None:
        return f"it has not been Ready for minReadySeconds until {rfc3339(daemon.available_at)}"
    if daemon.is_scheduled and place.node is not None and ready_status_of(place.node) != "True":
        return "its node is not Ready"
    return why_not_ready(daemon.pod)


def _why_nowhere(situation: Situation) -> str:
    """Say why no node is to run a pod, counted by reason, where that is so."""
    if situation.desired:
        return ""
    reasons = Counter(place.fit.why for place in situation.view.places.values() if place.node is not None)
    if not reasons:
        return "a node: there is none"
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return f"a node that it may run on: 0 of {reasons.total()} fit ({told})"
