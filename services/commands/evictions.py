"""Eviction: the deletion of a pod that a PodDisruptionBudget may refuse (pkg/registry/core/pod/storage/eviction.go).

Ours: the budget is counted anew, from the pods as they are, and charged in the batch that asks the pod to end. The
batch expects the budget's head, so that of two evictions on one reading only one is committed, and the heads of as many
healthy pods as must be left. So no eviction takes the healthy pods below the budget, however late its status is.
"""

from __future__ import annotations

from dataclasses import replace

from schemas.budget_rules import ALWAYS_ALLOW
from schemas.changes import Change, Replace
from schemas.errors import BadRequest, Cause, PreconditionFailed, TooManyRequests, Unsupported
from schemas.kinds import BUDGET, POD
from schemas.objects import (
    Object,
    has_ended,
    is_terminating,
    name_of,
    namespace_of,
    split_key,
    uid_of,
    version_of,
    with_fields,
)
from schemas.times import Milliseconds, rfc3339
from services.commands.commands import Evict
from services.commands.deciding import Decided
from services.commands.sources import Sources, existing, subject_of
from services.controllers.disruption.budgets import (
    Standing,
    View,
    is_healthy,
    read,
    selects,
    standing_of,
    status_of,
)
from services.controllers.pods import disruption_of

CAUSE = "DisruptionBudget"
_TOLD = ("EvictionByEvictionAPI", "Eviction API: evicting")
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_AMBIGUOUS = (
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
)


def decide_eviction(command: Evict, sources: Sources, now: Milliseconds) -> Decided:
    """Return the changes that an eviction comes to.

    A pod that is Pending, has ended or is ending goes whatever its budget says. Raises NotFound, BadRequest for another
    kind, PreconditionFailed, TooManyRequests where the budget refuses, Unsupported where there are two budgets.
    """
    if split_key(command.key)[0] != POD.resource:
        raise BadRequest(f"{subject_of(command.key)} is no pod; only pods can be evicted")
    pod = existing(sources, command.key)
    _check_preconditions(command, pod)
    deletion = disruption_of(pod, *_TOLD, command.grace_seconds, now)
    if _is_exempt(pod):
        return Decided((deletion,))
    budgets = [each for each in sources.list(BUDGET.resource, namespace_of(pod)) if selects(each, pod)]
    if len(budgets) > 1:
        raise Unsupported(_AMBIGUOUS)
    if not budgets:
        return Decided((deletion,))
    view = read(budgets[0], sources)
    standing = standing_of(view, now)
    relied = _relied_upon(view, standing, pod)
    if not is_healthy(pod) and _lets_unhealthy_go(view.budget, standing):
        return Decided((deletion,), rests_on=(view.budget, *relied))
    return Decided((deletion, _charge(view.budget, standing, pod, now)), rests_on=relied)


def _check_preconditions(command: Evict, pod: Object) -> None:
    for what, wanted, actual in (
        ("UID", command.uid, uid_of(pod)),
        ("ResourceVersion", command.resource_version, str(version_of(pod))),
    ):
        if wanted and wanted != actual:
            raise PreconditionFailed(
                f"{subject_of(command.key)}: Precondition failed: {what} in precondition: {wanted}, "
                f"{what} in object meta: {actual}"
            )


def _is_exempt(pod: Object) -> bool:
    """True for a pod whose end disrupts nothing (canIgnorePDB)."""
    phase = (pod.get("status") or {}).get("phase", "Pending")
    return phase == "Pending" or has_ended(pod) or is_terminating(pod)


def _lets_unhealthy_go(budget: Object, standing: Standing) -> bool:
    """True if a pod that is not Ready may go without charge: always, or while enough of the others are healthy."""
    if budget["spec"].get("unhealthyPodEvictionPolicy") == ALWAYS_ALLOW:
        return True
    return not standing.failure and len(standing.healthy) >= standing.desired > 0


def _charge(budget: Object, standing: Standing, pod: Object, now: Milliseconds) -> Change:
    """Return the budget with one disruption less (checkAndDecrement). Raises TooManyRequests where none is left."""
    if not standing.allowed:
        raise TooManyRequests(_REFUSED, (Cause("", _why_refused(budget, standing), CAUSE),))
    after = replace(
        standing,
        allowed=standing.allowed - 1,
        disrupted={**standing.disrupted, name_of(pod): rfc3339(now)},
    )
    return Replace(budget, with_fields(budget, status=status_of(budget, after, now)))


def _why_refused(budget: Object, standing: Standing) -> str:
    name = name_of(budget)
    if standing.failure:
        return (
            f"The disruption budget {name} does not allow evicting pods currently because it failed sync: "
            f"{standing.failure}"
        )
    return (
        f"The disruption budget {name} needs {standing.desired} healthy pods and has "
        f"{len(standing.healthy)} currently"
    )


def _relied_upon(view: View, standing: Standing, pod: Object) -> tuple[Object, ...]:
    """Return what makes the eviction right: as many healthy pods as must be left, and what their number rests on."""
    others = [each for each in standing.healthy if uid_of(each) != uid_of(pod)]
    return (*others[: standing.desired], *view.owners.values())
