"""How a PodDisruptionBudget stands: the pods it counts, how many must be healthy, how many are
(pkg/controller/disruption).

One place, since the controller writes it into the status and an eviction goes by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.event_types import condition_of
from schemas.kinds import BY_NAME, POD, STATEFUL_SET
from schemas.objects import (
    Key,
    Object,
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from schemas.percentages import is_percent, scaled_up
from schemas.selectors import is_selected
from schemas.times import Milliseconds, parse_rfc3339, rfc3339

DELETION_TIMEOUT: Milliseconds = 120_000
"""How long a pod in status.disruptedPods is taken for one that goes though nobody has asked it to (DeletionTimeout)."""
DISRUPTION_ALLOWED = "DisruptionAllowed"
_COUNTED = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")


class Objects(Protocol):
    """Where budgets are read: a State, or what a command is decided on."""

    def get(self, key: Key) -> Object | None:
        """Return the object under `key`, or None."""

    def list(self, resource: str, namespace: str = "") -> Sequence[Object]:
        """Return the objects of a resource in a namespace."""


@dataclass(frozen=True, slots=True)
class View:
    """A budget and the pods that it selects.

    Where its limit needs their scale: their controllers by uid, and why the scale of one is not known, if so.
    """

    budget: Object
    pods: tuple[Object, ...]
    owners: Mapping[str, Object] = field(default_factory=dict)
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands at a moment.

    healthy      the pods that count: Ready, and neither going nor expected to go
    disrupted    pod -> when its eviction was allowed, of those that nobody has asked to go yet
    recheck_at   when the first of these counts again
    failure      why the pods cannot be counted; then nothing is allowed
    """

    healthy: tuple[Object, ...] = ()
    desired: int = 0
    expected: int = 0
    allowed: int = 0
    disrupted: Mapping[str, str] = field(default_factory=dict)
    recheck_at: Milliseconds | None = None
    failure: str = ""


def selects(budget: Object, pod: Object) -> bool:
    """True if a budget of the pod's namespace is about the pod. No selector selects nothing, `{}` all."""
    return is_selected(budget["spec"].get("selector"), labels_of(pod))


def needs_scale(budget: Object) -> bool:
    """True if the limit is a share of what the pods' controllers want to have, not a plain minAvailable."""
    spec = budget["spec"]
    return "maxUnavailable" in spec or is_percent(spec.get("minAvailable"))


def is_healthy(pod: Object) -> bool:
    """True if the pod is Ready (IsPodReady goes by the condition alone)."""
    return condition_of(pod, "Ready") == "True"


def read(budget: Object, objects: Objects) -> View:
    """Return a budget with what it depends on. Cost: a look at each pod of its namespace."""
    selector = budget["spec"].get("selector")
    namespace = namespace_of(budget)
    pods = tuple(
        pod for pod in objects.list(POD.resource, namespace) if is_selected(selector, labels_of(pod))
    )
    return View(budget, pods, *_owners(pods, objects)) if needs_scale(budget) else View(budget, pods)


def standing_of(view: View, now: Milliseconds) -> Standing:
    """Count a budget's pods at `now`.

    A share is one of the replicas that all controllers of the pods want, and rounds up; a budget without a limit, or
    that expects no pods, allows nothing (getExpectedPodCount, updatePdbStatus).
    """
    spec, expected = view.budget["spec"], len(view.pods)
    if needs_scale(view.budget):
        if view.unknown:
            return Standing(failure=view.unknown)
        expected = sum(int(owner["spec"].get("replicas", 1)) for owner in view.owners.values())
    desired = 0
    if "maxUnavailable" in spec:
        desired = max(expected - scaled_up(spec["maxUnavailable"], expected), 0)
    elif "minAvailable" in spec:
        desired = scaled_up(spec["minAvailable"], expected)
    else:
        expected = 0
    disrupted = _disrupted(view, now)
    healthy = tuple(
        pod
        for pod in view.pods
        if is_healthy(pod) and not is_terminating(pod) and name_of(pod) not in disrupted
    )
    return Standing(
        healthy,
        desired,
        expected,
        allowed=max(len(healthy) - desired, 0) if expected > 0 else 0,
        disrupted=disrupted,
        recheck_at=min(map(_counts_again, disrupted.values()), default=None),
    )


def status_of(budget: Object, standing: Standing, now: Milliseconds) -> Object:
    """Return the status that says how a budget stands. Where it could not be counted, only that nothing is allowed."""
    before = budget.get("status") or {}
    conditions = before.get("conditions") or []
    if standing.failure:
        generation = before.get("observedGeneration", 0)
        told = _condition("SyncFailed", standing.failure, generation)
        kept = {name: before.get(name, 0) for name in _COUNTED}
        return {
            **before,
            **kept,
            "disruptionsAllowed": 0,
            "conditions": _with_condition(conditions, told, now),
        }
    generation = budget["metadata"].get("generation", 0)
    told = _condition("SufficientPods" if standing.allowed else "InsufficientPods", "", generation)
    return {
        "currentHealthy": len(standing.healthy),
        "desiredHealthy": standing.desired,
        "disruptionsAllowed": standing.allowed,
        "expectedPods": standing.expected,
        "observedGeneration": generation,
        **({"disruptedPods": dict(standing.disrupted)} if standing.disrupted else {}),
        "conditions": _with_condition(conditions, told, now),
    }


def _owners(pods: Iterable[Object], objects: Objects) -> tuple[dict[str, Object], str]:
    """Return the pods' controllers by uid, or why the scale of one cannot be known (getExpectedScale).

    A pod without a controller counts for nothing there.
    """
    owners: dict[str, Object] = {}
    for pod in pods:
        reference = controller_of(pod)
        if reference is None or reference["uid"] in owners:
            continue
        owner = None
        if BY_NAME.get((reference["apiVersion"], reference["kind"])) is STATEFUL_SET:
            owner = objects.get(key_of(STATEFUL_SET.resource, namespace_of(pod), reference["name"]))
        if owner is None or uid_of(owner) != reference["uid"]:
            return owners, _why_unknown(pod, reference)
        owners[uid_of(owner)] = owner
    return owners, ""


def _why_unknown(pod: Object, reference: Object) -> str:
    kind = BY_NAME.get((reference["apiVersion"], reference["kind"]))
    if kind is None:
        return f'no matches for kind "{reference["kind"]}" in version "{reference["apiVersion"]}"'
    if kind is not STATEFUL_SET:
        resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        return f"{resource} does not implement the scale subresource"
    return f'found no controllers for pod "{name_of(pod)}"'


def _disrupted(view: View, now: Milliseconds) -> dict[str, str]:
    """Return what of status.disruptedPods still holds (buildDisruptedPodMap).

    Ours: not for a pod that is younger than its entry, which is the successor of the one that was evicted.
    """
    entries = (view.budget.get("status") or {}).get("disruptedPods") or {}
    return {
        name_of(pod): since
        for pod in (view.pods if entries else ())
        if (since := entries.get(name_of(pod))) is not None
        and not is_terminating(pod)
        and _created_at(pod) <= parse_rfc3339(since)
        and now < _counts_again(since)
    }


def _created_at(pod: Object) -> Milliseconds:
    created = pod["metadata"].get("creationTimestamp")
    return parse_rfc3339(created) if created else 0


def _counts_again(since: str) -> Milliseconds:
    return parse_rfc3339(since) + DELETION_TIMEOUT


def _condition(reason: str, message: str, generation: int) -> Object:
    return {
        "type": DISRUPTION_ALLOWED,
        "status": "True" if reason == "SufficientPods" else "False",
        "reason": reason,
        "message": message,
        **({"observedGeneration": generation} if generation else {}),
    }


def _with_condition(conditions: Sequence[Object], told: Object, now: Milliseconds) -> list[Object]:
    """Return the conditions with one told anew; the time of its transition stays where its status does."""
    before = next((each for each in conditions if each["type"] == told["type"]), None)
    is_same = before is not None and before["status"] == told["status"]
    at = before["lastTransitionTime"] if before is not None and is_same else rfc3339(now)
    others = [each for each in conditions if each["type"] != told["type"]]
    return [*others, {**told, "lastTransitionTime": at}]
