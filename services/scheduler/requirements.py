"""What a pod asks of a node, read once from its spec.

Pods of one template ask the same, so what is found for one holds for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from schemas.objects import Object
from schemas.quantities import parse_quantity
from schemas.storage import STORAGE

_NANOS_OF_MILLI = 10**6
_EVERY_ADDRESS = ("", "0.0.0.0", "::")

Amounts = dict[str, int]
"""Amounts by resource name: milli-CPUs for `cpu`, pods for `pods`, units (bytes) for the rest."""


class Port(NamedTuple):
    """A port that a pod takes on its node. `address` is empty for all addresses."""

    address: str
    protocol: str
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class Requirements:
    """What a pod asks of a node, volumes apart.

    place   equal for pods that ask for the same kind of node (selector, affinity, tolerations), room apart
    room    equal for pods that ask for the same room (requests and ports)
    names   the only nodes that the required affinity can match, by name; None where it names none
    """

    place: str
    room: str
    selector: dict[str, str]
    required: Object | None
    preferred: tuple[Object, ...]
    tolerations: tuple[Object, ...]
    requests: tuple[tuple[str, int], ...]
    ports: frozenset[Port]
    names: frozenset[str] | None


def requirements_of(pod: Object) -> Requirements:
    """Return what a pod asks of its node (component-helpers nodeaffinity; apis/core/v1/resource/helpers.go)."""
    spec = pod["spec"]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    preferred = tuple(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ())
    selector = spec.get("nodeSelector") or {}
    tolerations = tuple(spec.get("tolerations") or ())
    requests = tuple(sorted((name, amount) for name, amount in requests_of(pod).items() if amount))
    ports = ports_of(pod)
    place = repr((selector, required, preferred, tolerations))
    room = repr((requests, sorted(ports)))
    return Requirements(
        place, room, selector, required, preferred, tolerations, requests, ports, _names_in(required)
    )


def with_storage(wanted: Requirements, amount: int) -> Requirements:
    """Return the requirements of a pod whose new volumes take `amount` bytes on its node."""
    if not amount:
        return wanted
    requests = _sum((dict(wanted.requests), {STORAGE: amount}))
    return replace(
        wanted,
        requests=tuple(sorted(requests.items())),
        room=repr((sorted(requests.items()), sorted(wanted.ports))),
    )


def requests_of(pod: Object) -> Amounts:
    """Return what a pod takes from its node, `pods: 1` included.

    The sum over containers and sidecars, or the most that one init container needs beside the sidecars started
    before it; pod-level requests stand for both; overhead is added (component-helpers resource.PodRequests).
    """
    spec = pod["spec"]
    total = _sum(_requests(container) for container in spec.get("containers") or ())
    peak: Amounts = {}
    sidecars: Amounts = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            sidecars = _sum((sidecars, _requests(container)))
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _sum((sidecars, _requests(container))))
    total = _most(_sum((total, sidecars)), peak)
    total |= _requests(spec)
    if spec.get("overhead"):
        total = _sum((total, amounts_of(spec["overhead"])))
    return total | {"pods": 1}


def amounts_of(resources: dict[str, str | int | float]) -> Amounts:
    """Return a resource list as integers: milli-CPUs, and whole units of the rest, rounded up."""
    return {name: _amount(name, value) for name, value in resources.items()}


def ports_of(pod: Object) -> frozenset[Port]:
    """Return the host ports of a pod's containers and sidecars (plugins/nodeports)."""
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return frozenset(
        Port(_address(port.get("hostIP", "")), port.get("protocol", "TCP"), port["hostPort"])
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def is_port_taken(wanted: Port, taken: Iterable[Port]) -> bool:
    """True if a port cannot be had beside those taken: same protocol and number, and addresses that overlap."""
    return any(
        port.number == wanted.number
        and port.protocol == wanted.protocol
        and (port.address == wanted.address or not port.address or not wanted.address)
        for port in taken
    )


def _names_in(required: Object | None) -> frozenset[str] | None:
    """Return the names that a required affinity can match at most; None if some term does not name its nodes."""
    names: set[str] = set()
    for term in (required or {}).get("nodeSelectorTerms") or [{}]:
        named = [field["values"] for field in term.get("matchFields") or () if field["operator"] == "In"]
        if not named:
            return None
        names.update(named[0])
    return frozenset(names)


def _address(text: str) -> str:
    return "" if text in _EVERY_ADDRESS else text


def _requests(holder: Object) -> Amounts:
    return amounts_of((holder.get("resources") or {}).get("requests") or {})


def _amount(name: str, value: str | int | float) -> int:
    quantity = parse_quantity(value)
    return -(-quantity.nanos // _NANOS_OF_MILLI) if name == "cpu" else quantity.rounded_up()


def _sum(parts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _most(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in {**left, **right}}
