"""The status of a set as it will be once a plan is carried out.

It is committed in the same batch as the pods that it counts, so a reader never sees one without the other
(computeReplicaStatus, completeRollingUpdate).
"""

from __future__ import annotations

from collections.abc import Iterator

from schemas.objects import Object
from services.controllers.statefulset.classify import Member, Situation
from services.controllers.statefulset.decide import Plan

_ALWAYS_WRITTEN = ("replicas", "availableReplicas", "collisionCount")


def status_of(situation: Situation, plan: Plan, removed: frozenset[str], collision_count: int) -> Object:
    """Return the status after `plan`; `removed` names the pods that it removes at once, without grace.

    `replicas` counts terminating, condemned and failed pods too; current and updated replicas exclude
    terminating ones. Counts of 0 that Kubernetes' types omit are left out.
    """
    owner = situation.owner
    present = [member for member in situation.members if member.pod.name not in removed]
    leaving = {member.pod.name for member in plan.delete}
    revisions = [*_revisions(present, leaving), *(situation.revision_of_new(index) for index in plan.create)]
    status = {
        "observedGeneration": owner.generation,
        "replicas": len(present) + len(plan.create),
        "readyReplicas": sum(member.is_ready for member in present),
        "availableReplicas": sum(member.is_available for member in present),
        "currentReplicas": revisions.count(situation.current),
        "updatedReplicas": revisions.count(situation.update),
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


def _revisions(present: list[Member], leaving: set[str]) -> Iterator[str]:
    for member in present:
        if not member.is_terminating and member.pod.name not in leaving:
            yield member.revision
