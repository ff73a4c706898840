"""The status of a pod, in Kubernetes' shape, as a function of its containers (pkg/kubelet: kubelet_pods.go,
status/generate.go). Fields that others write (qosClass, their conditions) are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from schemas.node_reasons import NODE_NOT_READY
from schemas.objects import ENDED_PHASES, Object
from schemas.times import Milliseconds, rfc3339
from services.agent.lifecycle import INITIALIZING, Container, Exit, Hook, Phase, is_ready, is_started
from services.agent.plans import is_completed, is_past
from services.agent.restarts import is_restarted
from services.agent.specs import spec_of

VOLUMES_AT_MOUNT_PATH, IMAGE_VERIFIED = "VolumesAtMountPath", "ImageVerified"
LIMITS_ENFORCED, SECURITY_ENFORCED = "LimitsEnforced", "SecurityContextEnforced"
ADDRESS_FREE = "AddressFree"
REMARKS = frozenset((VOLUMES_AT_MOUNT_PATH, IMAGE_VERIFIED, LIMITS_ENFORCED, SECURITY_ENFORCED, ADDRESS_FREE))
"""The conditions that say what is not as Kubernetes has it; they go when it is."""
OUR_CONDITIONS = frozenset(
    (
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
        *REMARKS,
    )
)
"""The conditions that an agent writes; others are kept as they are."""
EVICTED = "Evicted"
MESSAGES_LIMIT = 12 << 10
"""Bytes of termination messages that a pod's status holds, each container an equal part (kubelet: normalizeStatus)."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A condition that a runtime adds: what it could not do as Kubernetes would (`status` is True or False)."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the node ends a pod that nobody has deleted: it is Failed for good, with this reason and message."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod runs: its own addresses and its node's, since when, and what the runtime remarks on it."""

    address: str
    host_address: str
    accepted_at: Milliseconds
    remarks: tuple[Remark, ...] = ()


def status_of(
    pod: Object, containers: tuple[Container, ...], place: Place, end: Verdict | bool, now: Milliseconds
) -> Object:
    """Return the whole status of `pod`; `end` says that all has ended, for a deletion (True) or by a verdict: the phase
    is final then.

    A condition keeps its lastTransitionTime while its status stays the same.
    """
    old: Object = pod.get("status") or {}
    inits = [container for container in containers if container.is_init]
    mains = [container for container in containers if not container.is_init]
    phase = _phase_of(pod, inits, mains, end)
    status: Object = {
        **old,
        "phase": phase,
        "conditions": _conditions(pod, (inits, mains), phase, place, now),
        "hostIP": place.host_address,
        "hostIPs": [{"ip": place.host_address}],
        "startTime": rfc3339(place.accepted_at),
        "containerStatuses": [_container_status(pod, container, inits) for container in mains],
    }
    if place.address:
        status |= {"podIP": place.address, "podIPs": [{"ip": place.address}]}
    if inits:
        status["initContainerStatuses"] = [_container_status(pod, container, ()) for container in inits]
    return with_verdict(status, end, now) if isinstance(end, Verdict) else status


def with_verdict(status: Object, verdict: Verdict, now: Milliseconds) -> Object:
    """Return a status that says why the node has ended the pod; an eviction has a condition too (kubelet: evictPod)."""
    ours = {"DisruptionTarget": ("True", "TerminationByKubelet", verdict.message)}
    conditions = status.get("conditions") or ()
    return {
        **status,
        "reason": verdict.reason,
        "message": verdict.message,
        "conditions": _merged(conditions, ours, now) if verdict.reason == EVICTED else conditions,
    }


def is_marked_with_its_node(pod: Object) -> bool:
    """True if the control plane has said that the pod is not Ready since nothing was heard of its node."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each.get("reason") == NODE_NOT_READY for each in conditions)


def rejection_of(pod: Object, reason: str, message: str, now: Milliseconds) -> Object:
    """Return the status of a pod that the node does not take (kubelet: rejectPod)."""
    kept = {
        name: value for name, value in (pod.get("status") or {}).items() if name in ("qosClass", "conditions")
    }
    return {
        **kept,
        "phase": "Failed",
        "reason": reason,
        "message": f"Pod was rejected: {message}",
        "startTime": rfc3339(now),
    }


def _phase_of(pod: Object, inits: list[Container], mains: list[Container], end: Verdict | bool) -> str:
    """Return Pending, Running, Succeeded or Failed (kubelet_pods.go: getPhase)."""
    if isinstance(end, Verdict):
        return "Failed"
    policy = pod["spec"].get("restartPolicy", "Always")
    failed_init = any(
        container.phase is Phase.EXITED and not is_completed(container) and policy == "Never"
        for container in inits
        if not container.is_sidecar
    )
    lingers = any(container.is_alive for container in inits if container.is_sidecar)
    if failed_init and not lingers:
        return "Failed"
    ended = [container.exit for container in mains if container.phase is Phase.EXITED and container.exit]
    if end and mains:
        return "Succeeded" if len(ended) == len(mains) and all(end.code == 0 for end in ended) else "Failed"
    if _undone(inits, mains) or any(map(_is_new, mains)):
        return "Pending"
    final = [end for end in ended if not is_restarted(policy, end.code)]
    if len(final) < len(mains) or not mains or lingers:
        return "Running"
    return "Succeeded" if all(end.code == 0 for end in final) else "Failed"


def _undone(inits: Iterable[Container], mains: Iterable[Container]) -> list[str]:
    """Return the init containers that hold up the others; a sidecar holds up nothing that has begun."""
    has_begun = any(main.attempt >= 0 for main in mains)
    return [init.name for init in inits if not is_past(init) and not (init.is_sidecar and has_begun)]


def _is_new(container: Container) -> bool:
    """Return whether the container has never run and is not running; a first run counts from its postStart hook on."""
    if container.attempt == 0 and container.post_start is not Hook.NONE:
        return True
    return container.attempt < 0 and container.phase in (Phase.WAITING, Phase.STARTING)


def _conditions(
    pod: Object,
    groups: tuple[list[Container], list[Container]],
    phase: str,
    place: Place,
    now: Milliseconds,
) -> list[Object]:
    inits, mains = groups
    sidecars = [container for container in inits if container.is_sidecar]
    unready = [container.name for container in (*sidecars, *mains) if not is_ready(container)]
    undone = _undone(inits, mains)
    is_done = phase in ENDED_PHASES
    not_ready = (
        ("False", "PodCompleted", "")
        if is_done and phase == "Succeeded"
        else ("False", "PodFailed", "")
        if is_done
        else ("False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
        if unready
        else ("True", "", "")
    )
    initialized = (
        ("False", "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(undone)}]")
        if undone
        else ("True", "", "")
    )
    ours = {
        "PodReadyToStartContainers": ("True" if place.address and not is_done else "False", "", ""),
        "Initialized": initialized,
        "Ready": not_ready if not_ready[0] == "False" else _gates(pod),
        "ContainersReady": not_ready,
        "PodScheduled": ("True", "", ""),
    }
    for remark in (*place.remarks, *_image_remarks((*inits, *mains))):
        ours[remark.type] = (remark.status, remark.reason, remark.message)
    before = (pod.get("status") or {}).get("conditions") or ()
    return _merged([each for each in before if each["type"] not in REMARKS - set(ours)], ours, now)


def _image_remarks(containers: Iterable[Container]) -> Iterable[Remark]:
    names = [container.name for container in containers if not container.is_verified]
    if names:
        message = f"the image store does not know the images of {names}: their commands run from the host"
        yield Remark(IMAGE_VERIFIED, "False", "UnknownImage", message)


def _gates(pod: Object) -> tuple[str, str, str]:
    """Return whether the pod's readinessGates, conditions that others write, are all True."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    held = {condition["type"] for condition in conditions if condition["status"] == "True"}
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    missing = [gate for gate in gates if gate not in held]
    if missing:
        return "False", "ReadinessGatesNotReady", f"the status of pod readiness gates {missing} is not True"
    return "True", "", ""


def _merged(old: Iterable[Object], ours: dict[str, tuple[str, str, str]], now: Milliseconds) -> list[Object]:
    before = {condition["type"]: condition for condition in old}
    stamp = rfc3339(now)
    merged = [condition for name, condition in before.items() if name not in ours]
    for name, (status, reason, message) in ours.items():
        known = before.get(name)
        since = (
            known["lastTransitionTime"]
            if known and known["status"] == status and known.get("lastTransitionTime")
            else stamp
        )
        condition = {"type": name, "status": status, "lastTransitionTime": since}
        merged.append(
            condition | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})
        )
    return merged


def _container_status(pod: Object, container: Container, before: Iterable[Container]) -> Object:
    spec = spec_of(pod, container.name)
    room = MESSAGES_LIMIT // len((*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]))
    shows_end = container.exit is not None and (container.phase is Phase.EXITED or container.shows_exit)
    if shows_end and container.exit is not None:
        state, last = {"terminated": _terminated(container.exit, room)}, container.last
    elif container.phase in (Phase.RUNNING, Phase.STOPPING) and container.post_start is not Hook.NONE:
        state, last = {"waiting": _waiting(container, before)}, container.last
    elif container.phase in (Phase.RUNNING, Phase.STOPPING):
        state, last = {"running": {"startedAt": rfc3339(container.started_at)}}, container.last
    else:
        state, last = {"waiting": _waiting(container, before)}, container.exit
    is_passing = container.is_init and not container.is_sidecar
    ready = is_completed(container) if is_passing else is_ready(container)
    status: Object = {
        "name": container.name,
        "state": state,
        "lastState": {"terminated": _terminated(last, room)} if last else {},
        "ready": ready,
        "restartCount": max(container.attempt, 0),
        "image": spec.get("image", ""),
        "imageID": container.image_id,
        "started": is_started(container),
    }
    return status | ({"containerID": container.container_id} if container.container_id else {})


def _waiting(container: Container, before: Iterable[Container]) -> Object:
    waits_for_init = container.attempt < 0 and not all(is_past(init) for init in before)
    reason = INITIALIZING if waits_for_init else container.reason
    return {"reason": reason} | ({"message": container.message} if container.message else {})


def _terminated(end: Exit, room: int) -> Object:
    fields: dict[str, Any] = {
        "exitCode": end.code,
        "signal": end.signal,
        "reason": end.reason,
        "message": end.message.encode()[:room].decode(errors="ignore"),
        "startedAt": rfc3339(end.started_at),
        "finishedAt": rfc3339(end.finished_at),
        "containerID": end.container_id,
    }
    return {name: value for name, value in fields.items() if value or name == "exitCode"}
