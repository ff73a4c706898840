"""What a pod's configuration comes from: the ConfigMaps and Secrets that it names, read once for a decision.

The messages are the kubelet's (kubelet_pods.go makeEnvironmentVariables; pkg/volume/configmap), so that who knows
one knows the other.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from schemas.kinds import CONFIG_MAP, NODE, SECRET
from schemas.objects import Object, namespace_of

_SEALED = "sealed:"


class BadConfiguration(Exception):
    """The container's configuration cannot be used: it waits with CreateContainerConfigError and this message."""


class Reader(Protocol):
    """The one question that is asked of a control plane here."""

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        """Return one object, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """The ConfigMaps and Secrets of one pod, and what its node has to give (for resourceFieldRef)."""

    config_maps: Mapping[str, Object] = field(default_factory=dict)
    secrets: Mapping[str, Object] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)

    def config_texts(self, name: str, is_optional: bool) -> dict[str, bytes] | None:
        """Return key -> content of `data` only, as environments see it. See `config_map`."""
        found = self.config_maps.get(name)
        if found is None and not is_optional:
            raise BadConfiguration(f'configmap "{name}" not found')
        if found is None:
            return None
        return {key: text.encode() for key, text in (found.get("data") or {}).items()}

    def config_map(self, name: str, is_optional: bool) -> dict[str, bytes] | None:
        """Return key -> content; None where it is missing and may be. Raises BadConfiguration."""
        texts = self.config_texts(name, is_optional)
        if texts is None:
            return None
        binary: dict[str, str] = self.config_maps[name].get("binaryData") or {}
        return texts | {key: base64.b64decode(text) for key, text in binary.items()}

    def secret(self, name: str, is_optional: bool) -> dict[str, bytes] | None:
        """Return key -> content; None where it is missing and may be. Raises BadConfiguration."""
        found = self.secrets.get(name)
        if found is None and not is_optional:
            raise BadConfiguration(f'secret "{name}" not found')
        if found is None:
            return None
        data: dict[str, str] = found.get("data") or {}
        if any(text.startswith(_SEALED) for text in data.values()):
            raise BadConfiguration(f'secret "{name}" cannot be opened: its key is not at hand on this node')
        return {key: base64.b64decode(text) for key, text in data.items()}


NOTHING = Sources()


def sources_of(pod: Object, reader: Reader) -> Sources:
    """Return what `pod` names, as it is now; what is missing is left out. Raises what `reader` raises."""
    namespace = namespace_of(pod)
    found: dict[str, dict[str, Object]] = {CONFIG_MAP.resource: {}, SECRET.resource: {}}
    for resource, name in set(references_of(pod["spec"])):
        if obj := reader.get(resource, namespace, name):
            found[resource][name] = obj
    node = reader.get(NODE.resource, "", pod["spec"].get("nodeName", "")) or {}
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return Sources(found[CONFIG_MAP.resource], found[SECRET.resource], allocatable)


def references_of(spec: Object) -> Iterator[tuple[str, str]]:
    """Yield (resource, name) of every ConfigMap and Secret that a pod's spec names."""
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for entry in container.get("envFrom") or ():
            yield from _named(entry, "configMapRef", "secretRef", "name")
        for entry in container.get("env") or ():
            yield from _named(entry.get("valueFrom") or {}, "configMapKeyRef", "secretKeyRef", "name")
    for volume in spec.get("volumes") or ():
        yield from _named(volume, "configMap", "secret", "name")
        yield from _named(volume, "configMap", "secret", "secretName")
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield from _named(source, "configMap", "secret", "name")


def _named(holder: Object, config_map: str, secret: str, name: str) -> Iterator[tuple[str, str]]:
    for part, resource in ((config_map, CONFIG_MAP.resource), (secret, SECRET.resource)):
        if wanted := (holder.get(part) or {}).get(name):
            yield resource, wanted
