"""Whether a node takes a pod that was bound to it (pkg/kubelet/lifecycle/predicate.go): the scheduler's answer may be
old, or a user set nodeName by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schemas.objects import Object, labels_of
from schemas.quantities import parse_quantity
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
    ports = _all_ports if shares_address else _host_ports
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
    for resource, wanted in requests_of(pod).items():
        free = parse_quantity(room.get(resource, "0")).nanos
        used = sum(requests_of(other).get(resource, 0) for other in others)
        if wanted and used + wanted > free:
            reason = _SHORT.get(resource, f"OutOf{resource}")
            return Rejection(reason, f"Node didn't have enough resource: {resource}")
    return None


def _port_rejection(
    pod: Object, others: tuple[Object, ...], ports_of: Callable[[Object], Iterable[tuple[str, int]]]
) -> Rejection | None:
    taken = {port for other in others for port in ports_of(other)}
    if taken & set(ports_of(pod)):
        return Rejection("NodePorts", "Predicate NodePorts failed")
    return None


def requests_of(pod: Object) -> dict[str, int]:
    """Return what a pod requests, in 10^-9 units: its containers and sidecars together, or the largest moment of its
    initialization, when one init container runs beside the sidecars before it (resource.PodRequests)."""
    spec = pod["spec"]
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        beside = _sum((sidecars, _requests(container)))
        peak = {name: max(peak.get(name, 0), beside.get(name, 0)) for name in peak | beside}
        if container.get("restartPolicy") == "Always":
            sidecars = beside
    total = _sum((sidecars, *map(_requests, spec.get("containers") or ())))
    return {name: max(total.get(name, 0), peak.get(name, 0)) for name in total | peak}


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for resource, amount in part.items():
            total[resource] = total.get(resource, 0) + amount
    return total


def _requests(container: Object) -> dict[str, int]:
    resources = container.get("resources") or {}
    wanted = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {resource: parse_quantity(amount).nanos for resource, amount in wanted.items()}


def _host_ports(pod: Object) -> Iterable[tuple[str, int]]:
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("protocol", "TCP"), port["hostPort"]


def _all_ports(pod: Object) -> Iterable[tuple[str, int]]:
    yield from _host_ports(pod)
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            yield port.get("protocol", "TCP"), port["containerPort"]
