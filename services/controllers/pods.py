"""What controllers ask of pods, and how they tell people about them.

Predicates follow pkg/api/v1/pod/util.go and statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

from schemas.changes import Change, Delete, Replace
from schemas.deletion import deletion_of
from schemas.objects import ENDED_PHASES, Object
from schemas.revisions import REVISION_LABEL
from schemas.times import Milliseconds, parse_rfc3339, rfc3339
from schemas.views import PodView

DISRUPTION_TARGET = "DisruptionTarget"
STUCK_REASONS = frozenset(
    {
        "CrashLoopBackOff",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Reasons for which a container waits that another revision may cure, and time alone seldom does."""


def is_failed(pod: PodView) -> bool:
    return pod.phase == "Failed"


def is_finished(pod: PodView) -> bool:
    """True if the pod has ended, well or not, and will not run again."""
    return pod.phase in ENDED_PHASES


def is_pending(pod: PodView) -> bool:
    return pod.phase == "Pending"


def ready_condition(pod: PodView) -> Object | None:
    """Return the Ready condition of a pod that is Running and Ready, else None."""
    if pod.phase != "Running":
        return None
    condition = pod.condition("Ready")
    return condition if condition is not None and condition["status"] == "True" else None


def is_ready(pod: PodView) -> bool:
    """True if the pod is Running and its Ready condition holds; a terminating pod may still be ready."""
    return ready_condition(pod) is not None


def available_at(pod: PodView, min_ready_seconds: int) -> Milliseconds | None:
    """Return from when on the pod counts as available, or None while it is not Ready (IsPodAvailable)."""
    condition = ready_condition(pod)
    if condition is None:
        return None
    if not min_ready_seconds:
        return 0
    since = condition.get("lastTransitionTime")
    return parse_rfc3339(since) + min_ready_seconds * 1000 if since else None


def is_available(pod: PodView, min_ready_seconds: int, now: Milliseconds) -> bool:
    """True if the pod has been Ready for at least `min_ready_seconds`."""
    since = available_at(pod, min_ready_seconds)
    return since is not None and since <= now


def revision_of(pod: PodView) -> str:
    """Return the pod's `controller-revision-hash`: a StatefulSet's revision name, a DaemonSet's bare hash."""
    return pod.labels.get(REVISION_LABEL, "")


def is_unschedulable(pod: PodView) -> bool:
    """True if the scheduler found no node for the pod."""
    condition = pod.condition("PodScheduled")
    return (
        condition is not None
        and condition["status"] == "False"
        and condition.get("reason") == "Unschedulable"
    )


def is_failing(pod: PodView) -> bool:
    """True if something is known to be wrong: a container cannot start or was restarted, or no node fits."""
    if is_unschedulable(pod):
        return True
    return any(each.restarts or each.waiting.get("reason") in STUCK_REASONS for each in pod.containers)


def why_not_ready(pod: PodView) -> str:
    """Return, for people, what keeps a pod from being Ready: `it waits for a node`."""
    if is_finished(pod):
        return f"it is {pod.phase}" + (f" ({pod.reason or pod.message})" if pod.reason or pod.message else "")
    if not pod.node:
        scheduled = pod.condition("PodScheduled")
        if is_unschedulable(pod) and scheduled is not None:
            return f"no node fits ({scheduled.get('message', 'Unschedulable')})"
        return "it waits for a node"
    for container in pod.containers:
        if reason := container.waiting.get("reason"):
            return f"container {container.name} waits in {reason} ({container.image})"
        if ended := container.terminated:
            return f"container {container.name} ended with exit code {ended.get('exitCode', 0)}"
    if is_pending(pod):
        return f"it starts on node {pod.node}"
    unready = [container.name for container in pod.containers if not container.is_ready]
    return f"container {unready[0]} is not ready yet" if unready else "its Ready condition does not hold"


def disruption_of(
    pod: Object, reason: str, message: str, grace_seconds: int | None, now: Milliseconds
) -> Change:
    """Return the change that asks a pod to end, and says in its condition DisruptionTarget who does and why.

    The time of an earlier such condition stays. Nothing is left to say it where the pod goes at once.
    """
    status = pod.get("status") or {}
    conditions = status.get("conditions") or ()
    before = [each for each in conditions if each["type"] == DISRUPTION_TARGET and each["status"] == "True"]
    target = {
        "type": DISRUPTION_TARGET,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": before[0].get("lastTransitionTime", rfc3339(now)) if before else rfc3339(now),
    }
    others = [each for each in conditions if each["type"] != DISRUPTION_TARGET]
    told = {**pod, "status": {**status, "conditions": [*others, target]}}
    change = deletion_of(told, now, grace_seconds)
    return Replace(pod, change.new) if isinstance(change, Replace) else Delete(pod)
