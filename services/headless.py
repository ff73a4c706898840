"""The names that headless services publish: what `<pod>.<service>.<namespace>.svc.<domain>` means now (the DNS
specification of Kubernetes). Pure: agents on the log's machine and the API, for all others, compute the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from schemas.objects import Object, is_terminating, labels_of, name_of, namespace_of

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
        if _address_of(pod) and (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded"):
            by_namespace.setdefault(namespace_of(pod), []).append(pod)
    found = (
        _record(pod, service)
        for service in services
        if service["spec"].get("clusterIP") == "None" and service["spec"].get("selector")
        for pod in by_namespace.get(namespace_of(service), ())
        if _is_selected(pod, service) and (_publishes_all(service) or _is_serving(pod))
    )
    return tuple(sorted(found, key=lambda record: (record.namespace, record.service, record.host)))


def _record(pod: Object, service: Object) -> Record:
    is_named = pod["spec"].get("subdomain") == name_of(service)
    host = (pod["spec"].get("hostname") or name_of(pod)) if is_named else ""
    ports = tuple(_ports_of(pod, service))
    return Record(_address_of(pod), host, name_of(service), namespace_of(service), ports)


def _ports_of(pod: Object, service: Object) -> Iterator[Port]:
    """Yield where the service's ports are at the pod: targetPort, by name one that a container has (FindPort)."""
    named = {
        (port.get("name"), port.get("protocol", "TCP")): port["containerPort"]
        for container in pod["spec"].get("containers") or ()
        for port in container.get("ports") or ()
    }
    for port in service["spec"].get("ports") or ():
        protocol, target = port.get("protocol", "TCP"), port.get("targetPort") or port["port"]
        number = target if isinstance(target, int) else named.get((target, protocol))
        if number:
            yield Port(port.get("name", ""), protocol, number)


def _address_of(pod: Object) -> str:
    return str((pod.get("status") or {}).get("podIP", ""))


def _is_selected(pod: Object, service: Object) -> bool:
    labels = labels_of(pod)
    return all(labels.get(key) == value for key, value in service["spec"]["selector"].items())


def _publishes_all(service: Object) -> bool:
    return bool(service["spec"].get("publishNotReadyAddresses"))


def _is_serving(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return not is_terminating(pod) and any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )
