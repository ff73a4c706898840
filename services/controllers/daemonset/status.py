"""The status of a set as it will be once a plan is carried out.

It is committed in the same batch as the pods that it counts, so a reader never sees one without the other
(updateDaemonSetStatus, daemon_controller.go).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import replace

from schemas.objects import Object
from schemas.times import Milliseconds
from services.controllers.daemonset.decide import Plan, Situation
from services.controllers.daemonset.view import Standing

_OMITTED_IF_0 = ("observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable")
_KEPT = ("collisionCount", "conditions")


def status_of(
    situation: Situation, plan: Plan, removed: Set[str], before: Object, now: Milliseconds
) -> Object:
    """Return the status after `plan`; `removed` names the pods that it removes at once, without grace.

    What of the status `before` is not counted here stays: the collisions, and the conditions, which are others'.

    Of a node with several pods the first counts: scheduled before unscheduled, then the oldest.
    """
    current = misscheduled = ready = available = updated = 0
    for standing, count in _standings_after(situation, plan, removed).items():
        if not standing.revision:
            continue
        if not standing.runs:
            misscheduled += count
            continue
        current += count
        ready += count * standing.is_ready
        available += count * (standing.available_at is not None and standing.available_at <= now)
        updated += count * (standing.revision == situation.update)
    status = {
        "observedGeneration": situation.owner.generation,
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": situation.desired,
        "numberReady": ready,
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": situation.desired - available,
    }
    counts = {name: value for name, value in status.items() if value or name not in _OMITTED_IF_0}
    return counts | {name: before[name] for name in _KEPT if name in before}


def _standings_after(situation: Situation, plan: Plan, removed: Set[str]) -> Counter[Standing]:
    """Return how many places have which standing once the plan is carried out."""
    standings = Counter(situation.view.standings)
    created = {place.name for place in plan.create}
    for name in created | {daemon.node for daemon in plan.delete}:
        place = situation.view.places[name]
        if place.node is None:
            continue
        standings[place.standing] -= 1
        left = replace(place, daemons=tuple(each for each in place.daemons if each.name not in removed))
        if name in created and not left.daemons:
            standings[Standing(True, situation.update, False, None)] += 1
        else:
            standings[left.standing] += 1
    return standings
