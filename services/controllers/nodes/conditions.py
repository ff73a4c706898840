"""A node's Ready condition, and the taints that its state asks for (pkg/controller/nodelifecycle)."""

from __future__ import annotations

from schemas.node_reasons import KUBELET_NOT_READY, NETWORK_READY, NODE_LOST, NODE_NOT_READY
from schemas.objects import Object, name_of
from schemas.taints import NOT_READY, UNREACHABLE, UNSCHEDULABLE, ready_status_of, which_taint
from schemas.times import Milliseconds, rfc3339

_SILENT = ("Unknown", "NodeStatusUnknown", "Its agent has stopped sending heartbeats.")
_BACK = ("True", "KubeletReady", "Its agent sends heartbeats again.")
_BACK_WITHOUT_NETWORK = (
    "False",
    KUBELET_NOT_READY,
    "Its agent sends heartbeats again; its network is not up.",
)
_OURS = (NOT_READY, UNREACHABLE, UNSCHEDULABLE)


def silenced(node: Object, now: Milliseconds) -> Object:
    """Return a node of which nothing is heard any more: Ready is Unknown, and it is tainted so."""
    return with_taints(_with_ready(node, _SILENT, now), now)


def revived(node: Object, now: Milliseconds) -> Object:
    """Return a node that is heard again: without the taints of its silence, and Ready if its network is."""
    said = _BACK_WITHOUT_NETWORK if _lacks_network(node) else _BACK
    return with_taints(_with_ready(node, said, now), now)


def with_taints(node: Object, now: Milliseconds) -> Object:
    """Return a node with exactly those of our taints that its state asks for; the same object where it has them.

    Ready False: not-ready, Unknown: unreachable, both NoSchedule and NoExecute; cordoned: unschedulable. The
    NoSchedule taint of a node without the condition is left alone: it was given at its registration. A NoExecute
    taint of anybody without a time gets the present one, since evictions are counted from there.
    """
    present = node["spec"].get("taints") or []
    wanted = _wanted(node)
    allowed = wanted if ready_status_of(node) else [*wanted, (NOT_READY, "NoSchedule")]
    kept = [taint for taint in present if taint["key"] not in _OURS or which_taint(taint) in allowed]
    has = {which_taint(taint) for taint in kept}
    added = [{"key": key, "effect": effect} for key, effect in wanted if (key, effect) not in has]
    taints = [_timed(taint, now) for taint in (*kept, *added)]
    if taints == present:
        return node
    spec = {name: value for name, value in node["spec"].items() if name != "taints"}
    return {**node, "spec": {**spec, "taints": taints} if taints else spec}


def with_pod_not_ready(pod: Object, now: Milliseconds) -> Object:
    """Return a pod that is no longer Ready since its node is not (MarkPodsNotReady), the same one if it was not."""
    status = pod.get("status") or {}
    conditions = status.get("conditions") or ()
    if not any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
        return pod
    lost = {"type": "Ready", "status": "False", "reason": NODE_NOT_READY, "lastTransitionTime": rfc3339(now)}
    return {
        **pod,
        "status": {
            **status,
            "conditions": [lost if each["type"] == "Ready" else each for each in conditions],
        },
    }


def with_node_lost(pod: Object, node: Object) -> Object:
    """Return a pod whose status says that its node is lost (SetPodTerminationReason)."""
    message = f"Node {name_of(node)} which was running pod {name_of(pod)} is unresponsive"
    return {**pod, "status": {**(pod.get("status") or {}), "reason": NODE_LOST, "message": message}}


def _wanted(node: Object) -> list[tuple[str, str]]:
    ready = ready_status_of(node)
    key = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(ready)
    wanted = [(key, "NoSchedule"), (key, "NoExecute")] if key else []
    return [*wanted, *([(UNSCHEDULABLE, "NoSchedule")] if node["spec"].get("unschedulable") else [])]


def _lacks_network(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(each["type"] == NETWORK_READY and each["status"] == "False" for each in conditions)


def _timed(taint: Object, now: Milliseconds) -> Object:
    if taint["effect"] != "NoExecute" or "timeAdded" in taint:
        return taint
    return {**taint, "timeAdded": rfc3339(now)}


def _with_ready(node: Object, said: tuple[str, str, str], now: Milliseconds) -> Object:
    status, reason, message = said
    ready = {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": rfc3339(now),
    }
    before = node.get("status") or {}
    others = [each for each in before.get("conditions") or () if each["type"] != "Ready"]
    return {**node, "status": {**before, "conditions": [*others, ready]}}
