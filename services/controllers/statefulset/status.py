"""The status of a set as it will be once a plan is carried out.

It is committed in the same batch as the pods that it counts, so a reader never sees one without the other
(computeReplicaStatus, completeRollingUpdate).
"""

from __future__ import annotations

from collections import Counter

from schemas.objects import Object
from schemas.times import Milliseconds
from services.controllers.statefulset.decide import Plan
from services.controllers.statefulset.members import Standing
from services.controllers.statefulset.situation import Situation

_ALWAYS_WRITTEN = ("replicas", "availableReplicas", "collisionCount")


def status_of(
    situation: Situation, plan: Plan, removed: frozenset[str], collision_count: int, now: Milliseconds
) -> Object:
    """Return the status after `plan`; `removed` names the pods that it removes at once, without grace.

    `replicas` counts terminating, condemned and failed pods too; current and updated replicas exclude
    terminating ones. Counts of 0 that Kubernetes' types omit are left out.
    """
    owner = situation.owner
    present = _standings_after(situation, plan, removed)
    revisions = Counter(situation.revision_of_new(index) for index in plan.create)
    for standing, count in present.items():
        if not standing.is_terminating:
            revisions[standing.revision] += count
    status = {
        "observedGeneration": owner.generation,
        "replicas": present.total() + len(plan.create),
        "readyReplicas": sum(count for standing, count in present.items() if standing.is_ready),
        "availableReplicas": sum(
            count
            for standing, count in present.items()
            if standing.available_at is not None and standing.available_at <= now
        ),
        "currentReplicas": revisions[situation.current],
        "updatedReplicas": revisions[situation.update],
        "currentRevision": situation.current,
        "updateRevision": situation.update,
        "collisionCount": collision_count,
    }
    if (
        owner.is_rolling
        and owner.replicas == status["updatedReplicas"] == status["readyReplicas"] == status["replicas"]
    ):
        status["currentReplicas"] = status["updatedReplicas"]
        status["currentRevision"] = situation.update
    return {name: value for name, value in status.items() if value or name in _ALWAYS_WRITTEN}


def _standings_after(situation: Situation, plan: Plan, removed: frozenset[str]) -> Counter[Standing]:
    """Return how many members stand how once those that the plan deletes terminate, or are gone."""
    standings = Counter(situation.view.standings)
    for member in plan.delete:
        standings[member.standing] -= 1
        if member.pod.name not in removed:
            standings[member.standing._replace(is_terminating=True)] += 1
    return standings
