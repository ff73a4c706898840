"""The downward API: what a pod may read of itself, by fieldRef and resourceFieldRef.

The rules are those of pkg/fieldpath and pkg/api/v1/resource.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from schemas.objects import Object
from schemas.quantities import NANO, parse_quantity
from services.agent.sources import BadConfiguration
from services.agent.specs import spec_of

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
_MILLI = NANO // 1000


def field_of(pod: Object, path: str) -> str:
    """Return the value of a downward API field of `pod`; a label or annotation that is missing is empty.

    Raises BadConfiguration for a path that Kubernetes does not offer to environments.
    """
    if match := _SUBSCRIPT.fullmatch(path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    if path not in _FIELDS:
        raise BadConfiguration(
            f"fieldPath {path!r} is not supported; accepted are {', '.join(_FIELDS)}, "
            "metadata.labels['<KEY>'], metadata.annotations['<KEY>']"
        )
    return _FIELDS[path](pod)


def file_field_of(pod: Object, path: str) -> str:
    """Return as `field_of`; `metadata.labels` and `metadata.annotations`, which files may show, are sorted lines."""
    if path in ("metadata.labels", "metadata.annotations"):
        entries: dict[str, str] = pod["metadata"].get(path.removeprefix("metadata.")) or {}
        return "\n".join(f"{key}={_quoted(text)}" for key, text in sorted(entries.items()))
    return field_of(pod, path)


def referred_to(pod: Object, reference: Object, container: Object | None) -> Object:
    """Return the container that a resourceFieldRef means: the one it names, else `container`."""
    name = reference.get("containerName")
    if not name and container is not None:
        return container
    try:
        return spec_of(pod, name or "")
    except KeyError:
        raise BadConfiguration(f"resourceFieldRef: there is no container {name!r}") from None


def resource_of(container: Object, reference: Object, allocatable: Mapping[str, str]) -> str:
    """Return a limit or request of `container` in units of the divisor, rounded up.

    A limit that is not set is what the node has; a request that is not set is 0. Raises BadConfiguration.
    """
    kind, _, resource = reference["resource"].partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise BadConfiguration(
            f"resourceFieldRef: {reference['resource']!r} is not supported; accepted are limits.* and requests.*"
        )
    amount = ((container.get("resources") or {}).get(kind) or {}).get(resource)
    if amount is None:
        amount = allocatable.get(resource, "0") if kind == "limits" else "0"
    unit = _MILLI if resource == "cpu" else NANO
    divisor = parse_quantity(reference.get("divisor") or "1").nanos or NANO
    return str(-(-_whole(parse_quantity(amount).nanos, unit) // _whole(divisor, unit)))


def _whole(nanos: int, unit: int) -> int:
    return -(-nanos // unit)


def _quoted(text: str) -> str:
    """Return `text` as Go's %q writes it, for what labels and annotations hold."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped.replace(chr(13), chr(92) + "r")}"'


def _ips(items: Any) -> str:
    return ",".join(item["ip"] for item in items or ())


_FIELDS: dict[str, Callable[[Object], str]] = {
    "metadata.name": lambda pod: str(pod["metadata"]["name"]),
    "metadata.namespace": lambda pod: str(pod["metadata"]["namespace"]),
    "metadata.uid": lambda pod: str(pod["metadata"]["uid"]),
    "spec.nodeName": lambda pod: str(pod["spec"].get("nodeName", "")),
    "spec.serviceAccountName": lambda pod: str(pod["spec"].get("serviceAccountName", "")),
    "status.hostIP": lambda pod: str(pod.get("status", {}).get("hostIP", "")),
    "status.hostIPs": lambda pod: _ips(pod.get("status", {}).get("hostIPs")),
    "status.podIP": lambda pod: str(pod.get("status", {}).get("podIP", "")),
    "status.podIPs": lambda pod: _ips(pod.get("status", {}).get("podIPs")),
}
