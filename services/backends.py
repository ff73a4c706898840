"""What stands behind a Service: the pods that it selects, and its ports there. Pure.

One place, since the names of headless services (services.headless) and EndpointSlices (services.controllers.endpoints)
must say the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from schemas.objects import Object, has_ended, labels_of


def address_of(pod: Object) -> str:
    """Return a pod's address; empty where it has none yet."""
    return str((pod.get("status") or {}).get("podIP", ""))


def is_reachable(pod: Object) -> bool:
    """True if a pod has an address and has not ended (ShouldPodBeInEndpoints); it may be on its way out."""
    return bool(address_of(pod)) and not has_ended(pod)


def has_backends(service: Object) -> bool:
    """True if a Service selects pods; what stands behind all others is for somebody else to say."""
    spec = service["spec"]
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def selects(service: Object, pod: Object) -> bool:
    """True if a Service that has a selector selects a pod of its namespace."""
    labels = labels_of(pod)
    return all(labels.get(key) == value for key, value in service["spec"]["selector"].items())


def publishes_all(service: Object) -> bool:
    """True if pods count as ready though they are not (publishNotReadyAddresses)."""
    return bool(service["spec"].get("publishNotReadyAddresses"))


def ports_at(pod: Object, service: Object) -> Iterator[tuple[Object, int]]:
    """Yield each port of a Service with its number at a pod: targetPort, by name one that a container has.

    A name that no container has leaves the port out (FindPort).
    """
    named = {
        (port.get("name"), port.get("protocol", "TCP")): port["containerPort"]
        for container in _serving_containers(pod["spec"])
        for port in container.get("ports") or ()
    }
    for port in service["spec"].get("ports") or ():
        target = port.get("targetPort") or port["port"]
        number = target if isinstance(target, int) else named.get((target, port.get("protocol", "TCP")))
        if number:
            yield port, number


def _serving_containers(spec: Object) -> Iterator[Object]:
    """Yield sidecars, then containers: where two have a port of one name, the container's counts."""
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            yield container
    yield from spec.get("containers") or ()
