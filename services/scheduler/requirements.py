"""What a pod asks of a node, read once from its spec.

Pods of one template ask the same, so what is found for one holds for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from schemas.demands import Amounts as Amounts
from schemas.demands import Port as Port
from schemas.demands import all_ports_of as all_ports_of
from schemas.demands import amounts_of as amounts_of
from schemas.demands import is_port_taken as is_port_taken
from schemas.demands import ports_of as ports_of
from schemas.demands import requests_of as requests_of
from schemas.demands import sum_of
from schemas.objects import Object
from schemas.storage import STORAGE


@dataclass(frozen=True, slots=True, eq=False)
class Requirements:
    """What a pod asks of a node, volumes apart.

    place   equal for pods that ask for the same kind of node (selector, affinity, tolerations), room apart
    room    equal for pods that ask for the same room (requests and ports)
    ports   what is taken of a node's ports; `all_ports` on one whose address its pods have (schemas.demands)
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
    all_ports: frozenset[Port]
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
    ports, all_ports = ports_of(pod), all_ports_of(pod)
    place = repr((selector, required, preferred, tolerations))
    room = repr((requests, sorted(ports), sorted(all_ports)))
    return Requirements(
        place,
        room,
        selector,
        required,
        preferred,
        tolerations,
        requests,
        ports,
        all_ports,
        _names_in(required),
    )


def with_storage(wanted: Requirements, amount: int) -> Requirements:
    """Return the requirements of a pod whose new volumes take `amount` bytes on its node."""
    if not amount:
        return wanted
    requests = sum_of((dict(wanted.requests), {STORAGE: amount}))
    return replace(
        wanted,
        requests=tuple(sorted(requests.items())),
        room=repr((sorted(requests.items()), sorted(wanted.ports), sorted(wanted.all_ports))),
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
