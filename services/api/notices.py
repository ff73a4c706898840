"""Kubernetes' Events, derived: what a change of an object means to those who run it, in its controllers' words. Pure.

A notice follows from one change of the log, so it does not expire, and whoever computes it again finds the same, under
the same name. Its sentences are those of pkg/controller/{statefulset,daemon,nodelifecycle}, pkg/scheduler, pkg/kubelet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from schemas.event_types import condition_of
from schemas.kinds import CLAIM, DAEMON_SET, EVENT, NODE, POD, STATEFUL_SET
from schemas.node_reasons import NODE_NOT_READY
from schemas.objects import (
    Key,
    Object,
    controller_of,
    has_ended,
    is_terminating,
    key_of,
    name_of,
    namespace_of,
)
from schemas.positions import Position, time_of
from schemas.times import rfc3339
from services.api.ring import Change

NORMAL, WARNING = "Normal", "Warning"
DEFAULT_NAMESPACE = "default"
"""Where the Events of objects without a namespace are (client-go/tools/record makeEvent)."""
SETS, DAEMONS = "statefulset-controller", "daemonset-controller"
SCHEDULER, KUBELET, NODES = "default-scheduler", "kubelet", "node-controller"
EVICTIONS, VOLUMES = "taint-eviction-controller", "persistentvolume-controller"
KEPT = 16_384
"""Events that are kept as objects."""
_REJECTED = "Pod was rejected: "
_PULLING = ("ErrImagePull", "ImagePullBackOff")
_RUNS = ("running", "terminated")


class Reference(NamedTuple):
    """What a notice is about; `field` is a part of it (`spec.containers{main}`)."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    field: str = ""


class Said(NamedTuple):
    """A notice before it has a place: what a change means, about what, and which component would say so."""

    about: Reference
    type: str
    reason: str
    message: str
    component: str
    host: str = ""


class Notice(NamedTuple):
    """What was said of the change at `position`, in the batch that ends at `version`; `number` is its place there."""

    position: Position
    version: Position
    number: int
    said: Said

    @property
    def namespace(self) -> str:
        return self.said.about.namespace or DEFAULT_NAMESPACE

    @property
    def name(self) -> str:
        """`web-0.18a5f2c3b4d5e6f7`: as client-go names Events, with the position in the place of the time."""
        suffix = f"-{self.number}" if self.number else ""
        return f"{self.said.about.name}.{self.position:x}{suffix}"

    @property
    def key(self) -> Key:
        return key_of(EVENT.resource, self.namespace, self.name)


def notices_of(change: Change) -> list[Notice]:
    """Return what a change means; of most, nothing."""
    reader = _READERS.get(change.resource)
    if reader is None:
        return []
    said = reader(change.old, change.new, change.actor)
    return [Notice(change.position, change.version, number, each) for number, each in enumerate(said)]


@lru_cache(KEPT)
def event_of(notice: Notice) -> Object:
    """Return a notice as an Event of `v1`; not to be edited, as all objects."""
    said = notice.said
    about, time = said.about, rfc3339(time_of(notice.position))
    involved = {
        "kind": about.kind,
        "namespace": about.namespace,
        "name": about.name,
        "uid": about.uid,
        "apiVersion": about.api_version,
        "resourceVersion": str(notice.version),
        "fieldPath": about.field,
    }
    return {
        "kind": EVENT.kind,
        "apiVersion": EVENT.api_version,
        "metadata": {
            "name": notice.name,
            "namespace": notice.namespace,
            "uid": _uid_of(notice),
            "resourceVersion": str(notice.version),
            "creationTimestamp": time,
        },
        "involvedObject": {name: value for name, value in involved.items() if value},
        "reason": said.reason,
        "message": said.message,
        "source": {"component": said.component, **({"host": said.host} if said.host else {})},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
        "type": said.type,
        "eventTime": None,
        "reportingComponent": said.component,
        "reportingInstance": said.host,
    }


def _uid_of(notice: Notice) -> str:
    """Return the same uid for the same notice, and no other one's of this log."""
    place = f"{notice.position:016x}"
    about = crc32(notice.said.about.uid.encode())
    return f"{place[:8]}-{place[8:12]}-{place[12:]}-{notice.number:04x}-{about:012x}"


def _of_pod(old: Object | None, new: Object | None, actor: str) -> Iterator[Said]:
    if old is None and new is not None:
        yield from _by_controller(new, "Create", actor)
    elif old is not None and new is None and not is_terminating(old):
        yield from _by_controller(old, "Delete", actor)
    elif old is not None and new is not None:
        if is_terminating(new) and not is_terminating(old):
            yield from _ending(old, new, actor)
        if (node := new["spec"].get("nodeName", "")) and not old["spec"].get("nodeName"):
            message = f"Successfully assigned {namespace_of(new)}/{name_of(new)} to {node}"
            yield Said(_about(new), NORMAL, "Scheduled", message, SCHEDULER)
        if new.get("status") is not old.get("status"):
            yield from _of_pod_status(old, new)


def _by_controller(pod: Object, verb: str, actor: str) -> Iterator[Said]:
    """Yield what a workload's controller says that has created or deleted a pod (stateful_pod_control.go)."""
    owner = controller_of(pod)
    if owner is None or actor != f"controller:{owner['kind'].lower()}":
        return
    about = Reference(owner["apiVersion"], owner["kind"], namespace_of(pod), owner["name"], owner["uid"])
    if owner["kind"] == STATEFUL_SET.kind:
        message = f"{verb.lower()} Pod {name_of(pod)} in StatefulSet {owner['name']} successful"
        yield Said(about, NORMAL, f"Successful{verb}", message, SETS)
    else:
        yield Said(about, NORMAL, f"Successful{verb}", f"{verb}d pod: {name_of(pod)}", DAEMONS)


def _ending(old: Object, new: Object, actor: str) -> Iterator[Said]:
    """Yield what a pod's deletion begins with."""
    owner = controller_of(old)
    if owner is not None and actor == "controller:daemonset" and has_ended(old):
        phase = old["status"]["phase"]
        about = Reference(owner["apiVersion"], owner["kind"], namespace_of(old), owner["name"], owner["uid"])
        where = f"{namespace_of(old)}/{name_of(old)} on node {old['spec'].get('nodeName', '')}"
        what = "failed" if phase == "Failed" else "succeeded"
        verb = "kill" if phase == "Failed" else "delete"
        type_ = WARNING if phase == "Failed" else NORMAL
        yield Said(
            about,
            type_,
            f"{phase}DaemonPod",
            f"Found {what} daemon pod {where}, will try to {verb} it",
            DAEMONS,
        )
    yield from _by_controller(old, "Delete", actor)
    if actor == "controller:nodes":
        message = f"Marking for deletion Pod {namespace_of(old)}/{name_of(old)}"
        yield Said(_about(old), NORMAL, "TaintManagerEviction", message, EVICTIONS)
    for field, container in _statuses(old.get("status") or {}):
        if "running" in _state(container):
            yield _of_container(
                new, field, container, NORMAL, "Killing", f"Stopping container {container['name']}"
            )


def _of_pod_status(old: Object, new: Object) -> Iterator[Said]:
    before, after = old.get("status") or {}, new.get("status") or {}
    misfit = _unschedulable(after)
    if misfit and misfit != _unschedulable(before):
        yield Said(_about(new), WARNING, "FailedScheduling", misfit, SCHEDULER)
    if _is_lost(after) and not _is_lost(before):
        yield Said(_about(new), WARNING, NODE_NOT_READY, "Node is not ready", NODES)
    known = {(field, each["name"]): each for field, each in _statuses(before)}
    for field, each in _statuses(after):
        was = known.get((field, each["name"]))
        if was != each:
            yield from _of_container_status(new, field, was, each)
    reason = after.get("reason", "")
    if reason and after.get("phase") == "Failed" != before.get("phase"):
        message = str(after.get("message", "")).removeprefix(_REJECTED)
        yield Said(_about(new), WARNING, reason, message, KUBELET, new["spec"].get("nodeName", ""))


def _of_container_status(pod: Object, field: str, was: Object | None, new: Object) -> Iterator[Said]:
    """Yield what the kubelet says of a container that has become another one (kuberuntime_container.go, images)."""
    name, image = new["name"], new.get("image", "")
    waited = _state(was or {}).get("waiting", {}).get("reason", "")
    if _has_run(new) and not (was and _has_run(was) and was["containerID"] == new["containerID"]):
        pulled = f'Successfully pulled image "{image}"' if waited in _PULLING else ""
        there = f'Container image "{image}" already present on machine'
        yield _of_container(pod, field, new, NORMAL, "Pulled", pulled or there)
        yield _of_container(pod, field, new, NORMAL, "Created", f"Created container: {name}")
        yield _of_container(pod, field, new, NORMAL, "Started", f"Started container {name}")
    elif was and _stopped_being_ready(was, new) and not is_terminating(pod) and _is_probed(pod, name):
        yield _of_container(pod, field, new, WARNING, "Unhealthy", "Readiness probe failed")
    waiting = _state(new).get("waiting", {})
    if waiting.get("reason", "") != waited:
        yield from _of_waiting(pod, field, new, waiting)


def _of_waiting(pod: Object, field: str, container: Object, waiting: Object) -> Iterator[Said]:
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    name, image = container["name"], container.get("image", "")
    match reason:
        case "CrashLoopBackOff":
            where = f"{name_of(pod)}_{namespace_of(pod)}({pod['metadata']['uid']})"
            text = f"Back-off restarting failed container {name} in pod {where}"
            yield _of_container(pod, field, container, WARNING, "BackOff", text)
        case "ErrImagePull":
            text = f'Failed to pull image "{image}": {message}'
            yield _of_container(pod, field, container, WARNING, "Failed", text)
            yield _of_container(pod, field, container, WARNING, "Failed", f"Error: {reason}")
        case "ImagePullBackOff":
            text = f'Back-off pulling image "{image}"'
            yield _of_container(pod, field, container, NORMAL, "BackOff", text)
            yield _of_container(pod, field, container, WARNING, "Failed", f"Error: {reason}")
        case "InvalidImageName":
            text = f'Failed to apply default image tag "{image}": {message}'
            yield _of_container(pod, field, container, WARNING, "InspectFailed", text)
        case "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError":
            yield _of_container(pod, field, container, WARNING, "Failed", f"Error: {message or reason}")


def _of_workload(old: Object | None, new: Object | None, actor: str) -> Iterator[Said]:
    """Yield what a set's rollout is at: ours, since Kubernetes' controllers say nothing of it."""
    if old is None or new is None:
        return
    component = SETS if new["kind"] == STATEFUL_SET.kind else DAEMONS
    was, spec = old["spec"], new["spec"]
    if was is not spec and was["template"] != spec["template"]:
        how = (spec.get("updateStrategy") or {}).get("type") or "RollingUpdate"
        reason = "RollingUpdate" if how == "RollingUpdate" else "TemplateChanged"
        told = "" if how == "RollingUpdate" else f"; {how}: a pod follows once it is deleted"
        yield Said(_about(new), NORMAL, reason, f"Pod template changed by {actor}{told}", component)
    if was is not spec and was.get("replicas") != spec.get("replicas"):
        message = f"Scaled from {was.get('replicas')} to {spec.get('replicas')} by {actor}"
        yield Said(_about(new), NORMAL, "Scaled", message, component)
    before, after = old.get("status") or {}, new.get("status") or {}
    current, revision = before.get("currentRevision"), after.get("currentRevision")
    if current and revision != current and revision == after.get("updateRevision"):
        yield Said(_about(new), NORMAL, "RollingUpdate", f"Rolling update to {revision} complete", component)


def _of_node(old: Object | None, new: Object | None, _actor: str) -> Iterator[Said]:
    name = name_of(new or old or {})
    if old is None and new is not None:
        message = f"Node {name} event: Registered Node {name} in Controller"
        yield Said(_about(new), NORMAL, "RegisteredNode", message, NODES)
        if condition_of(new, "Ready") == "True":
            yield _of_node_status(new, "NodeReady", KUBELET)
    elif old is not None and new is None:
        message = f"Node {name} event: Removing Node {name} from Controller"
        yield Said(_about(old), NORMAL, "RemovingNode", message, NODES)
    elif old is not None and new is not None:
        was, ready = condition_of(old, "Ready") == "True", condition_of(new, "Ready") == "True"
        if was != ready:
            yield _of_node_status(new, "NodeReady" if ready else "NodeNotReady", KUBELET if ready else NODES)
        closed = bool(new.get("spec", {}).get("unschedulable"))
        if closed != bool(old.get("spec", {}).get("unschedulable")):
            yield _of_node_status(new, "NodeNotSchedulable" if closed else "NodeSchedulable", KUBELET)


def _of_node_status(node: Object, what: str, component: str) -> Said:
    name = name_of(node)
    host = name if component == KUBELET else ""
    return Said(_about(node), NORMAL, what, f"Node {name} status is now: {what}", component, host)


def _of_claim(old: Object | None, new: Object | None, _actor: str) -> Iterator[Said]:
    volume = (new or {}).get("spec", {}).get("volumeName")
    if old is not None and new is not None and volume and not old.get("spec", {}).get("volumeName"):
        message = f"Successfully provisioned volume {volume}"
        yield Said(_about(new), NORMAL, "ProvisioningSucceeded", message, VOLUMES)


_Reader = Callable[[Object | None, Object | None, str], Iterator[Said]]
_READERS: Mapping[str, _Reader] = {
    POD.resource: _of_pod,
    STATEFUL_SET.resource: _of_workload,
    DAEMON_SET.resource: _of_workload,
    NODE.resource: _of_node,
    CLAIM.resource: _of_claim,
}


def _about(obj: Object, field: str = "") -> Reference:
    uid = obj["metadata"]["uid"]
    return Reference(obj["apiVersion"], obj["kind"], namespace_of(obj), name_of(obj), uid, field)


def _of_container(pod: Object, field: str, container: Object, type_: str, reason: str, message: str) -> Said:
    about = _about(pod, f"spec.{field}{{{container['name']}}}")
    return Said(about, type_, reason, message, KUBELET, pod["spec"].get("nodeName", ""))


def _statuses(status: Object) -> Iterator[tuple[str, Object]]:
    """Yield the statuses of containers, with the field of the spec that they are of."""
    for each in status.get("initContainerStatuses") or ():
        yield "initContainers", each
    for each in status.get("containerStatuses") or ():
        yield "containers", each


def _state(container: Object) -> Object:
    state: Object = container.get("state") or {}
    return state


def _has_run(container: Object) -> bool:
    return bool(container.get("containerID")) and any(word in _state(container) for word in _RUNS)


def _stopped_being_ready(was: Object, new: Object) -> bool:
    return "running" in _state(new) and bool(was.get("ready")) and not new.get("ready")


def _is_probed(pod: Object, name: str) -> bool:
    specs = (each for field in ("containers", "initContainers") for each in pod["spec"].get(field) or ())
    return any(each["name"] == name and "readinessProbe" in each for each in specs)


def _unschedulable(status: Object) -> str:
    """Return why a pod finds no node; empty where it has one, or has not been looked at."""
    for each in status.get("conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return str(each.get("message", "")) if each.get("reason") == "Unschedulable" else ""
    return ""


def _is_lost(status: Object) -> bool:
    return any(
        each["type"] == "Ready" and each.get("reason") == NODE_NOT_READY
        for each in status.get("conditions") or ()
    )
