"""What to do next: which nodes get a pod, which pods go, and when to look again.

`mend` gives every node the one pod that it is to have and takes away what is too much (podsShouldBeOnNode,
daemon_controller.go). Only where that leaves nothing to do does `update` go on with a rolling update, within its
budget (rollingUpdate, update.go): without surge by deleting old pods, whose successors `mend` creates; with surge by
creating new pods beside old ones, which `mend` deletes once the new ones are available.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from schemas.objects import Object
from schemas.percentages import scaled_up
from schemas.times import Milliseconds
from schemas.views import DaemonSetView
from services.controllers.backoff import delay_after
from services.controllers.daemonset.placing import down_since
from services.controllers.daemonset.view import Daemon, Place, View

COUNT_DOWN_NODES = "chronoset.dev/count-down-nodes"
"""On a DaemonSet: `true` makes nodes that were down before an update began count against its budget, as Kubernetes
does."""


@dataclass(frozen=True, slots=True)
class Situation:
    """A set as one pass sees it.

    update    the hash of its present template: the revision that pods are meant to be at
    began     since when that has been so
    desired   how many nodes are to run a pod
    """

    view: View
    update: str
    began: Milliseconds
    desired: int

    @property
    def owner(self) -> DaemonSetView:
        return self.view.owner

    @property
    def has_old(self) -> bool:
        """True while some place may have a pod of another revision."""
        if any(standing.revision not in ("", self.update) for standing in self.view.standings):
            return True
        return any(each.revision != self.update for place in self.view.unsettled for each in place.daemons)

    @property
    def surge(self) -> int:
        """How many nodes may have two pods: a percentage of the desired ones rounds up (SurgeCount)."""
        return scaled_up(self.owner.max_surge, self.desired) if self.owner.is_rolling else 0

    @property
    def budget(self) -> int:
        """How many nodes may be without an available pod: a percentage rounds up (UnavailableCount)."""
        return scaled_up(self.owner.max_unavailable, self.desired)

    def is_excused(self, place: Place) -> bool:
        """True where the node was down before the update began: it does not count against the budget (ours).

        kubernetes#117204: there one dead node stops an update of maxUnavailable 1 for ever.
        """
        if place.node is None or self.owner.annotations.get(COUNT_DOWN_NODES) == "true":
            return False
        since = down_since(place.node)
        return since is not None and since <= self.began


@dataclass(frozen=True, slots=True)
class Held:
    """A failed pod that stays until its back-off is over."""

    daemon: Daemon
    failures: int
    until: Milliseconds


@dataclass(frozen=True, slots=True)
class Plan:
    """What is concluded.

    create    the places that get a pod
    delete    the pods that go
    relies_on objects, as read, that it is right to delete for as long as they have not moved
    held      failed pods that wait to be replaced
    left      how many old pods an update has yet to replace, and how many nodes it found unavailable
    """

    create: tuple[Place, ...] = ()
    delete: tuple[Daemon, ...] = ()
    relies_on: tuple[Object, ...] = ()
    held: tuple[Held, ...] = ()
    left: tuple[int, int] = (0, 0)

    @property
    def acts(self) -> bool:
        return bool(self.create or self.delete)


def decide(situation: Situation, now: Milliseconds) -> Plan:
    """Conclude what to do at `now`."""
    plan = mend(situation, now)
    if plan.acts or not situation.owner.is_rolling or not situation.has_old:
        return plan
    update = update_by_surge if situation.surge else update_in_place
    return replace(update(situation, now), held=plan.held)


def mend(situation: Situation, now: Milliseconds) -> Plan:
    """Give each node its one pod, and take away what is too much."""
    create: list[Place] = []
    delete: list[Daemon] = []
    held: list[Held] = []
    relies_on: list[Object] = []
    surges = _allows_surge(situation.owner)
    for place in situation.view.unsettled:
        if place.is_calm:
            continue
        if not place.fit.stays:
            leaving = [each for each in place.daemons if not each.is_terminating]
            delete += leaving
            if leaving and place.node is not None:
                relies_on.append(place.node)
            continue
        due, waiting = _failed(situation, place, now)
        delete += due
        held += waiting
        running = [each for each in place.daemons if not (each.is_terminating or each.is_finished)]
        surplus = _surplus_of_surge(situation, running, now) if surges else running[1:]
        if surplus:
            delete += surplus
            relies_on += [each.pod.raw for each in running if each not in surplus]
        is_empty = not (running or waiting) if surges else not place.daemons
        if is_empty and place.fit.runs:
            create.append(place)
    return Plan(tuple(create), tuple(delete), tuple(relies_on), tuple(held))


def _allows_surge(owner: DaemonSetView) -> bool:
    return owner.is_rolling and owner.max_surge not in (0, "0%")


def _failed(situation: Situation, place: Place, now: Milliseconds) -> tuple[list[Daemon], list[Held]]:
    """Return the ended pods to delete now, and the failed ones whose back-off is not over (failedPodsBackoff)."""
    ended = [each for each in place.daemons if each.is_finished and not each.is_terminating]
    failure = situation.view.failures.get(place.name)
    until = failure.last + delay_after(failure.count) if failure is not None else 0
    if failure is None or until <= now:
        return ended, []
    due = [each for each in ended if not each.is_failed]
    return due, [Held(each, failure.count, until) for each in ended if each.is_failed]


def _surplus_of_surge(situation: Situation, running: list[Daemon], now: Milliseconds) -> list[Daemon]:
    """Return what is more than one old and one new pod; and the old one, where it is not Ready or not needed."""
    new = [each for each in running if each.revision == situation.update]
    old = [each for each in running if each.revision != situation.update]
    is_replaced = new and old and (not old[0].is_ready or new[0].is_available(now))
    return [*new[1:], *(old if is_replaced else old[1:])]


def _sides(place: Place, update: str) -> tuple[Daemon | None, Daemon | None, bool]:
    """Return (new pod, old pod, whether there is at most one of each), terminating ones apart."""
    new = [each for each in place.daemons if each.revision == update and not each.is_terminating]
    old = [each for each in place.daemons if each.revision != update and not each.is_terminating]
    return next(iter(new), None), next(iter(old), None), len(new) < 2 and len(old) < 2


def update_in_place(situation: Situation, now: Milliseconds) -> Plan:
    """Delete as many old pods as the budget allows, by the names of their nodes; `mend` creates their successors.

    Invariant: deleting an available old pod leaves no more than `budget` nodes without an available pod. Nodes
    without a pod, or with only terminating ones, count as unavailable; so do unavailable old pods, which are
    replaced whatever the budget is.
    """
    unavailable = 0
    at_once: list[Daemon] = []
    candidates: list[Daemon] = []
    available: list[Object] = []
    for place in situation.view.places.values():
        if not (place.fit.runs or place.daemons):
            continue
        staying = [each for each in place.daemons if not each.is_terminating]
        alone = staying[0] if len(staying) == 1 else None
        is_old = alone is not None and alone.revision != situation.update
        if alone is not None and alone.is_available(now):
            available.append(alone.pod.raw)
            if is_old:
                candidates.append(alone)
            continue
        if alone is not None and is_old:
            at_once.append(alone)
        unavailable += not situation.is_excused(place)
    chosen = candidates[: max(0, situation.budget - unavailable)]
    return Plan(
        delete=(*at_once, *chosen),
        relies_on=tuple(available) if chosen else (),
        left=(len(candidates) - len(chosen), unavailable),
    )


def update_by_surge(situation: Situation, now: Milliseconds) -> Plan:
    """Create new pods beside as many old ones as the surge allows, and beside every unavailable one.

    An old pod on a node that is not to run one any more goes when enough others are available: with surge a set is
    never to have fewer than desired.
    """
    surging = 0
    at_once: list[Place] = []
    candidates: list[Place] = []
    replaced: list[Daemon] = []
    sunset: list[Daemon] = []
    counted: list[Object] = []
    for place in situation.view.places.values():
        if not place.daemons:
            continue
        new, old, is_clear = _sides(place, situation.update)
        if not is_clear:
            surging += 1
            continue
        serving = old or new
        if serving is not None and serving.is_available(now):
            counted.append(serving.pod.raw)
        if old is None or old.is_finished:
            continue
        if new is not None:
            surging += not new.is_available(now)
        elif not place.fit.runs:
            (sunset if old.is_available(now) else replaced).append(old)
        else:
            (candidates if old.is_available(now) else at_once).append(place)
    ending = sunset[: max(0, len(counted) - situation.desired)]
    chosen = candidates[: max(0, situation.surge - surging)]
    return Plan(
        create=(*at_once, *chosen),
        delete=(*replaced, *ending),
        relies_on=tuple(counted) if ending else (),
        left=(len(candidates) - len(chosen), surging),
    )
