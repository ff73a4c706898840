"""Endpoints as they follow from EndpointSlices: for clients of before there were slices. Pure.

(pkg/controller/endpoint; a subset for each set of ports, as endpoints.RepackSubsets has it)
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from schemas.kinds import ENDPOINTS
from schemas.objects import Object, labels_of, name_of, namespace_of, uid_of, version_of

DEPRECATED = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
_SERVICE = "kubernetes.io/service-name"
_OF_SLICES = (_SERVICE, "endpointslice.kubernetes.io/managed-by")


def endpoints_of(slices: Iterable[Object]) -> tuple[Object, ...]:
    """Return the Endpoints of every service that slices are of, sorted by namespace and name.

    Each has the newest version of its slices, the age of the oldest, and a uid that follows from that one's.
    """
    of_services: dict[tuple[str, str], list[Object]] = {}
    for each in slices:
        if (service := labels_of(each).get(_SERVICE)) and each.get("addressType") != "FQDN":
            of_services.setdefault((namespace_of(each), service), []).append(each)
    return tuple(_endpoints(*place, found) for place, found in sorted(of_services.items()))


def _endpoints(namespace: str, service: str, slices: list[Object]) -> Object:
    oldest = min(slices, key=lambda each: (each["metadata"]["creationTimestamp"], name_of(each)))
    labels = {name: value for name, value in labels_of(oldest).items() if name not in _OF_SLICES}
    metadata = {
        "name": service,
        "namespace": namespace,
        "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, uid_of(oldest))),
        "resourceVersion": str(max(map(version_of, slices))),
        "creationTimestamp": oldest["metadata"]["creationTimestamp"],
        **({"labels": labels} if labels else {}),
    }
    found: Object = {"apiVersion": ENDPOINTS.api_version, "kind": ENDPOINTS.kind, "metadata": metadata}
    subsets = _subsets(slices)
    return {**found, "subsets": subsets} if subsets else found


def _subsets(slices: list[Object]) -> list[Object]:
    of_ports: dict[str, Object] = {}
    for each in slices:
        ports = [_port(port) for port in each.get("ports") or ()]
        subset = of_ports.setdefault(repr(ports), {"ports": ports})
        for endpoint in each.get("endpoints") or ():
            field = "addresses" if endpoint["conditions"].get("ready", True) else "notReadyAddresses"
            subset.setdefault(field, []).extend(_addresses(endpoint))
    return [_sorted(subset) for subset in of_ports.values() if len(subset) > 1]


def _port(port: Object) -> Object:
    """Return a port; the only one of a service may have an empty name, which is left out."""
    return {name: value for name, value in port.items() if value != ""}


def _addresses(endpoint: Object) -> Iterable[Object]:
    kept: Object = {
        name: endpoint[name] for name in ("hostname", "nodeName", "targetRef") if name in endpoint
    }
    return ({"ip": address, **kept} for address in endpoint["addresses"])


def _sorted(subset: Object) -> Object:
    def by_address(address: Any) -> Any:
        return address["ip"]

    fields = ("addresses", "notReadyAddresses")
    lists = {name: sorted(subset[name], key=by_address) for name in fields if name in subset}
    return {**lists, **({"ports": subset["ports"]} if subset["ports"] else {})}
