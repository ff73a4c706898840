"""The names that headless services publish: what `<pod>.<service>.<namespace>.svc.<domain>` means now (the DNS
specification of Kubernetes). Pure: agents on the log's machine and the API, for all others, compute the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.event_types import condition_of
from schemas.objects import Object, is_terminating, name_of, namespace_of
from services.backends import address_of, has_backends, is_reachable, ports_at, publishes_all, selects

DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a pod behind a service; it may have no name."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """A pod behind a headless service: its address, its own name there (empty where it has none), its ports."""

    address: str
    host: str
    service: str
    namespace: str
    ports: tuple[Port, ...] = ()


def records_of(services: Iterable[Object], pods: Iterable[Object]) -> tuple[Record, ...]:
    """Return what headless services publish: their Ready pods, all where publishNotReadyAddresses is set."""
    by_namespace: dict[str, list[Object]] = {}
    for pod in pods:
        if is_reachable(pod):
            by_namespace.setdefault(namespace_of(pod), []).append(pod)
    found = (
        _record(pod, service)
        for service in services
        if service["spec"].get("clusterIP") == "None" and has_backends(service)
        for pod in by_namespace.get(namespace_of(service), ())
        if selects(service, pod) and (publishes_all(service) or _is_serving(pod))
    )
    return tuple(sorted(found, key=lambda record: (record.namespace, record.service, record.host)))


def _record(pod: Object, service: Object) -> Record:
    is_named = pod["spec"].get("subdomain") == name_of(service)
    host = (pod["spec"].get("hostname") or name_of(pod)) if is_named else ""
    ports = tuple(
        Port(port.get("name", ""), port.get("protocol", "TCP"), number)
        for port, number in ports_at(pod, service)
    )
    return Record(address_of(pod), host, name_of(service), namespace_of(service), ports)


def _is_serving(pod: Object) -> bool:
    return not is_terminating(pod) and condition_of(pod, "Ready") == "True"
