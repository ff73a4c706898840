"""What a container's program finds in its environment, and `$(VAR)` in its command and arguments.

The rules are Kubernetes': an entry may use entries above it, an unknown name stays as it is written, `$$` is a
dollar sign (third_party/forked/golang/expansion; kubelet_pods.go makeEnvironmentVariables).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from schemas.objects import Object

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


class BadConfiguration(Exception):
    """The container's configuration cannot be used: it waits with CreateContainerConfigError and this message."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with `$(NAME)` replaced where `values` has NAME, and `$$` by `$`."""

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else values.get(name, match[0])

    return _REFERENCE.sub(replacement, text)


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


def environment_of(pod: Object, container: Object, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of `container`: `base` (the runtime's own variables) overlaid by its `env`.

    `pod` carries the status fields podIP and hostIP that field references read. Raises BadConfiguration where an
    entry refers to something that is not there.
    """
    values = dict(base)
    if container.get("envFrom"):
        raise BadConfiguration("envFrom is not supported; accepted are env entries with value or fieldRef")
    for entry in container.get("env") or ():
        values[entry["name"]] = _value_of(pod, entry, values)
    return values


def _value_of(pod: Object, entry: Object, values: Mapping[str, str]) -> str:
    source = entry.get("valueFrom")
    if not source:
        return expand(entry.get("value") or "", values)
    if reference := source.get("fieldRef"):
        return field_of(pod, reference["fieldPath"])
    raise BadConfiguration(
        f"env {entry['name']!r}: valueFrom.{next(iter(source), '')} is not supported; accepted is fieldRef"
    )


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
