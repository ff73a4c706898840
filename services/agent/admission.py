"""Whether a node takes a pod that was bound to it (pkg/kubelet/lifecycle/predicate.go): the scheduler's answer may be
old, or a user set nodeName by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schemas.demands import Port, amounts_of, is_port_taken, ports_of, requests_of, sum_of
from schemas.objects import Object, labels_of
from schemas.selectors import matches_node

_SHORT = {"cpu": "OutOfcpu", "memory": "OutOfmemory", "ephemeral-storage": "OutOfephemeral-storage"}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the node does not take the pod: Kubernetes' reason (NodeAffinity, NodePorts, OutOfcpu, ...)."""

    reason: str
    message: str


def rejection_of(
    pod: Object, node: Object, accepted: Iterable[Object], shares_address: bool = False
) -> Rejection | None:
    """Return why `node`, which already runs `accepted`, cannot take `pod`; None where it can.

    Where pods have the node's own address (`shares_address`), all their ports are the node's.
    """
    others = tuple(accepted)
    ports = _all_ports if shares_address else ports_of
    return (
        _affinity_rejection(pod, node)
        or _room_rejection(pod, node, others)
        or _port_rejection(pod, others, ports)
    )


def _affinity_rejection(pod: Object, node: Object) -> Rejection | None:
    labels = labels_of(node)
    selector: dict[str, str] = pod["spec"].get("nodeSelector") or {}
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if any(labels.get(key) != value for key, value in selector.items()) or not matches_node(required, node):
        return Rejection("NodeAffinity", "Predicate NodeAffinity failed")
    return None


def _room_rejection(pod: Object, node: Object, others: tuple[Object, ...]) -> Rejection | None:
    room: dict[str, str] = (node.get("status") or {}).get("allocatable") or {}
    if "pods" in room and len(others) + 1 > int(room["pods"]):
        return Rejection(
            "OutOfpods", f"Node didn't have enough resource: pods, requested: 1, used: {len(others)}"
        )
    allocatable = amounts_of(room)
    used = sum_of(map(requests_of, others))
    for resource, wanted in requests_of(pod).items():
        if resource != "pods" and wanted and used.get(resource, 0) + wanted > allocatable.get(resource, 0):
            reason = _SHORT.get(resource, f"OutOf{resource}")
            return Rejection(reason, f"Node didn't have enough resource: {resource}")
    return None


def _port_rejection(
    pod: Object, others: tuple[Object, ...], of: Callable[[Object], Iterable[Port]]
) -> Rejection | None:
    taken = [port for other in others for port in of(other)]
    if any(is_port_taken(port, taken) for port in of(pod)):
        return Rejection("NodePorts", "Predicate NodePorts failed")
    return None


def _all_ports(pod: Object) -> Iterable[Port]:
    yield from ports_of(pod)
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            yield Port("", port.get("protocol", "TCP"), port["containerPort"])
