"""What an EndpointSlice says of the pods behind a Service, and which pods stand in which slice (staging endpointslice,
reconciler.go and utils.go).

A slice has one kind of addresses and one list of ports, so pods whose container ports of one name differ stand in
different slices. A pod stays in the slice where it is: otherwise one that comes would move all after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from hashlib import sha256
from itertools import count

from schemas.event_types import condition_of
from schemas.kinds import ENDPOINT_SLICE
from schemas.objects import (
    Object,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
    with_metadata,
)
from schemas.revisions import safe_encode
from services.backends import address_of, ports_at, publishes_all
from services.controllers.references import controller_reference

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
MOST_ENDPOINTS = 100
"""In one slice, as by Kubernetes' default (maxEndpointsPerSlice)."""
_HEADLESS = "service.kubernetes.io/headless"
_SUFFIX = 5

Shape = tuple[str, tuple[tuple[tuple[str, object], ...], ...]]
"""What all endpoints of a slice have in common: the type of their addresses, and the fields of their ports."""
NO_SHAPE: Shape = ("IPv4", ())
"""The shape of the one slice of a Service without pods."""


def shape_of(found: Object) -> Shape:
    """Return what all endpoints of a slice have in common."""
    return found["addressType"], tuple(tuple(sorted(port.items())) for port in found.get("ports") or ())


def grouped(service: Object, pods: Sequence[Object], zones: Mapping[str, str]) -> dict[Shape, list[Object]]:
    """Return the endpoints of a Service's pods, in the order of these, by what they have in common."""
    groups: dict[Shape, list[Object]] = {}
    for pod in pods:
        kind = "IPv6" if ":" in address_of(pod) else "IPv4"
        ports = [_port(port, number) for port, number in ports_at(pod, service)]
        shape = shape_of({"addressType": kind, "ports": ports})
        groups.setdefault(shape, []).append(endpoint_of(service, pod, zones))
    return groups


def endpoint_of(service: Object, pod: Object, zones: Mapping[str, str]) -> Object:
    """Return what a slice says of a pod; `zones` has the zones of nodes that are in one (podToEndpoint).

    A pod that ends is not ready, though it may still serve, unless publishNotReadyAddresses has it so.
    """
    serving, terminating = condition_of(pod, "Ready") == "True", is_terminating(pod)
    spec = pod["spec"]
    node = spec.get("nodeName", "")
    is_named = spec.get("hostname") and spec.get("subdomain") == name_of(service)
    return {
        "addresses": [address_of(pod)],
        "conditions": {
            "ready": publishes_all(service) or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        **({"hostname": spec["hostname"]} if is_named else {}),
        **({"nodeName": node} if node else {}),
        "targetRef": {
            "kind": "Pod",
            "name": name_of(pod),
            "namespace": namespace_of(pod),
            "uid": uid_of(pod),
        },
        **({"zone": zones[node]} if node in zones else {}),
    }


def placed(
    endpoints: Sequence[Object], slices: Sequence[Object]
) -> tuple[list[list[Object]], list[list[Object]]]:
    """Return what stands in each of the slices, and in new ones: each pod where it was, new ones where there is room.

    Slices that change anyway are filled first, of these the fullest. Each is in the order of the pods' names.
    """
    homes = {
        _uid_in(endpoint): index
        for index, found in enumerate(slices)
        for endpoint in found.get("endpoints") or ()
    }
    parts: list[list[Object]] = [[] for _ in slices]
    homeless: list[Object] = []
    for endpoint in endpoints:
        home = homes.get(_uid_in(endpoint))
        is_home = home is not None and len(parts[home]) < MOST_ENDPOINTS
        (parts[home] if home is not None and is_home else homeless).append(endpoint)

    def costs(index: int) -> tuple[bool, int]:
        return parts[index] == slices[index].get("endpoints"), -len(parts[index])

    for index in sorted(range(len(slices)), key=costs):
        room = MOST_ENDPOINTS - len(parts[index])
        parts[index] += homeless[:room]
        del homeless[:room]
    new = [homeless[first : first + MOST_ENDPOINTS] for first in range(0, len(homeless), MOST_ENDPOINTS)]
    return [sorted(part, key=_name_in) for part in parts], new


def free_names(service: Object, taken: Set[str]) -> Iterator[str]:
    """Yield names for new slices: the Service's, and five characters that follow from its uid."""
    for number in count():
        digest = sha256(f"{uid_of(service)}/{number}".encode()).digest()
        name = f"{name_of(service)}-{safe_encode(int.from_bytes(digest[:8], 'big'))[:_SUFFIX]}"
        if name not in taken:
            yield name


def new_slice(service: Object, name: str) -> Object:
    """Return an empty slice, to be filled by `filled`."""
    metadata = {
        "name": name,
        "generateName": f"{name_of(service)}-",
        "namespace": namespace_of(service),
    }
    return {"apiVersion": ENDPOINT_SLICE.api_version, "kind": ENDPOINT_SLICE.kind, "metadata": metadata}


def filled(found: Object, service: Object, shape: Shape, endpoints: Sequence[Object]) -> Object:
    """Return a slice with the labels that its Service gives it, its owner, and what it says.

    What is empty is absent, as in every object of the log.
    """
    kept = {name: value for name, value in found.items() if name not in ("addressType", "endpoints", "ports")}
    address_type, ports = shape
    return {
        **with_metadata(kept, labels=_labels(service), ownerReferences=[controller_reference(service)]),
        "addressType": address_type,
        **({"endpoints": [*endpoints]} if endpoints else {}),
        **({"ports": [dict(port) for port in ports]} if ports else {}),
    }


def _port(port: Object, number: int) -> Object:
    application = {"appProtocol": port["appProtocol"]} if "appProtocol" in port else {}
    return {
        "name": port.get("name", ""),
        "port": number,
        "protocol": port.get("protocol", "TCP"),
        **application,
    }


def _labels(service: Object) -> dict[str, str]:
    """Return the Service's own labels and those by which its slices are found (setEndpointSliceLabels)."""
    reserved = (SERVICE_NAME, MANAGED_BY, _HEADLESS)
    return {
        **{key: value for key, value in labels_of(service).items() if key not in reserved},
        **({_HEADLESS: ""} if service["spec"].get("clusterIP") == "None" else {}),
        MANAGED_BY: MANAGER,
        SERVICE_NAME: name_of(service),
    }


def _uid_in(endpoint: Object) -> str:
    return str((endpoint.get("targetRef") or {}).get("uid", ""))


def _name_in(endpoint: Object) -> str:
    return str(endpoint["targetRef"]["name"])
