"""What a pod takes from a node: amounts of its resources, and ports. The scheduler and the node's agent go by the same
(pkg/kubelet/lifecycle/predicate.go runs the scheduler's plugins)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from schemas.objects import Object
from schemas.quantities import parse_quantity

_NANOS_OF_MILLI = 10**6
_EVERY_ADDRESS = ("", "0.0.0.0", "::")
SHARED_ADDRESS = "chronoset.dev/shared-address"
"""The annotation of a node whose pods all have its own address, so that every port of theirs is one of the node's."""

Amounts = dict[str, int]
"""Amounts by resource name: milli-CPUs for `cpu`, pods for `pods`, units (bytes) for the rest."""


class Port(NamedTuple):
    """A port that a pod takes on its node. `address` is empty for all addresses."""

    address: str
    protocol: str
    number: int


def requests_of(pod: Object) -> Amounts:
    """Return what a pod takes from its node, `pods: 1` included.

    The sum over containers and sidecars, or the most that one init container needs beside the sidecars started
    before it; pod-level requests stand for both; overhead is added (component-helpers resource.PodRequests).
    """
    spec = pod["spec"]
    total = sum_of(_requests(container) for container in spec.get("containers") or ())
    peak: Amounts = {}
    sidecars: Amounts = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            sidecars = sum_of((sidecars, _requests(container)))
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, sum_of((sidecars, _requests(container))))
    total = _most(sum_of((total, sidecars)), peak)
    total |= _requests(spec)
    if spec.get("overhead"):
        total = sum_of((total, amounts_of(spec["overhead"])))
    return total | {"pods": 1}


def amounts_of(resources: Mapping[str, str | int | float]) -> Amounts:
    """Return a resource list as integers: milli-CPUs, and whole units of the rest, rounded up."""
    return {name: _amount(name, value) for name, value in resources.items()}


def ports_of(pod: Object) -> frozenset[Port]:
    """Return the host ports of a pod's containers and sidecars (plugins/nodeports)."""
    return frozenset(
        Port(_address(port.get("hostIP", "")), port.get("protocol", "TCP"), port["hostPort"])
        for port in _declared(pod)
        if port.get("hostPort")
    )


def all_ports_of(pod: Object) -> frozenset[Port]:
    """Return the ports that a pod takes on a node whose address it has: its host ports, and those that it serves on."""
    return ports_of(pod) | {
        Port("", port.get("protocol", "TCP"), port["containerPort"]) for port in _declared(pod)
    }


def shares_address(node: Object) -> bool:
    """True if the pods of a node have its own address."""
    return (node["metadata"].get("annotations") or {}).get(SHARED_ADDRESS) == "true"


def is_port_taken(wanted: Port, taken: Iterable[Port]) -> bool:
    """True if a port cannot be had beside those taken: same protocol and number, and addresses that overlap."""
    return any(
        port.number == wanted.number
        and port.protocol == wanted.protocol
        and (port.address == wanted.address or not port.address or not wanted.address)
        for port in taken
    )


def _declared(pod: Object) -> Iterator[Object]:
    """Yield the ports of a pod's containers and sidecars."""
    spec = pod["spec"]
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *sidecars):
        yield from container.get("ports") or ()


def _address(text: str) -> str:
    return "" if text in _EVERY_ADDRESS else text


def _requests(holder: Object) -> Amounts:
    return amounts_of((holder.get("resources") or {}).get("requests") or {})


def _amount(name: str, value: str | int | float) -> int:
    quantity = parse_quantity(value)
    return -(-quantity.nanos // _NANOS_OF_MILLI) if name == "cpu" else quantity.rounded_up()


def sum_of(parts: Iterable[Amounts]) -> Amounts:
    """Return amounts added up, resource by resource."""
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _most(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in {**left, **right}}
