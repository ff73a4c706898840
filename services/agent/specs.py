"""Where in a pod a container is written down."""

from __future__ import annotations

from schemas.objects import Object


def spec_of(pod: Object, name: str) -> Object:
    """Return the specification of the container `name` of `pod`. Raises KeyError where there is none."""
    spec = pod["spec"]
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        if container["name"] == name:
            found: Object = container
            return found
    raise KeyError(name)
