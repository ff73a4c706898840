"""Whether a node takes a pod that was bound to it (pkg/kubelet/lifecycle/predicate.go): the scheduler's answer may be
old, or a user set nodeName by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.demands import (
    Amounts,
    all_ports_of,
    amounts_of,
    is_port_taken,
    ports_of,
    requests_of,
    shares_address,
    sum_of,
)
from schemas.objects import Object, labels_of
from schemas.selectors import matches_node
from schemas.taints import first_untolerated

_SHORT = {"cpu": "OutOfcpu", "memory": "OutOfmemory", "ephemeral-storage": "OutOfephemeral-storage"}
_ENDS = frozenset({"NoExecute"})
"""A node goes by the taints that would end the pod; the others are the scheduler's affair."""
_WHY = {
    "NodeAffinity": "node(s) didn't match Pod's node affinity/selector",
    "NodePorts": "node(s) didn't have free ports for the requested pod ports",
    "TaintToleration": "node(s) had taints that the pod didn't tolerate",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the node does not take the pod: Kubernetes' reason (NodeAffinity, NodePorts, OutOfcpu, ...)."""

    reason: str
    message: str

    @property
    def is_of_the_node(self) -> bool:
        """True if it rests on what people have said of the node, its labels and taints."""
        return self.reason in ("NodeAffinity", "TaintToleration")


def rejection_of(pod: Object, node: Object, accepted: Iterable[Object]) -> Rejection | None:
    """Return why `node`, which already runs `accepted`, cannot take `pod`: the first reason in the kubelet's order.

    None where it can.
    """
    others = tuple(accepted)
    if short := _shortage(pod, node, others):
        return short
    for reason, fits in (
        ("NodeAffinity", _matches(pod, node)),
        ("NodePorts", _has_ports(pod, node, others)),
        ("TaintToleration", _tolerates(pod, node)),
    ):
        if not fits:
            return Rejection(reason, f"Predicate {reason} failed: {_WHY[reason]}")
    return None


def _matches(pod: Object, node: Object) -> bool:
    labels = labels_of(node)
    selector: dict[str, str] = pod["spec"].get("nodeSelector") or {}
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return all(labels.get(key) == value for key, value in selector.items()) and matches_node(required, node)


def _shortage(pod: Object, node: Object, others: tuple[Object, ...]) -> Rejection | None:
    """Return what there is too little of, pods first. A resource of other people's that no node has is none."""
    room = amounts_of((node.get("status") or {}).get("allocatable") or {})
    used = sum_of(map(requests_of, others))
    wanted = requests_of(pod)
    for resource in ("pods", *(name for name in wanted if name != "pods")):
        amount, most = wanted[resource], room.get(resource)
        if most is None and (resource == "pods" or _is_extended(resource)):
            continue
        if amount and used.get(resource, 0) + amount > (most or 0):
            return _out_of(resource, wanted, used, room)
    return None


def _out_of(resource: str, wanted: Amounts, used: Amounts, room: Amounts) -> Rejection:
    return Rejection(
        _SHORT.get(resource, f"OutOf{resource}"),
        f"Node didn't have enough resource: {resource}, requested: {wanted[resource]}, "
        f"used: {used.get(resource, 0)}, capacity: {room.get(resource, 0)}",
    )


def _is_extended(resource: str) -> bool:
    """True for a resource with a domain that is not Kubernetes' (pkg/apis/core/v1/helper, IsExtendedResourceName)."""
    return "/" in resource and "kubernetes.io/" not in resource


def _has_ports(pod: Object, node: Object, others: tuple[Object, ...]) -> bool:
    of = all_ports_of if shares_address(node) else ports_of
    taken = [port for other in others for port in of(other)]
    return not any(is_port_taken(port, taken) for port in of(pod))


def _tolerates(pod: Object, node: Object) -> bool:
    taints = (node.get("spec") or {}).get("taints") or ()
    return first_untolerated(taints, pod["spec"].get("tolerations") or (), _ENDS) is None
