"""What a container's program finds in its environment, and `$(VAR)` in its command and arguments.

The rules are Kubernetes': `env` overlays `envFrom`, an entry may use entries above it, an unknown name stays as it is
written, `$$` is a dollar sign (third_party/forked/golang/expansion; kubelet_pods.go makeEnvironmentVariables).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from schemas.objects import Object, namespace_of
from services.agent.downward import field_of, referred_to, resource_of
from services.agent.sources import NOTHING, BadConfiguration, Sources

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with `$(NAME)` replaced where `values` has NAME, and `$$` by `$`."""

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else values.get(name, match[0])

    return _REFERENCE.sub(replacement, text)


def environment_of(
    pod: Object, container: Object, base: Mapping[str, str], sources: Sources = NOTHING
) -> dict[str, str]:
    """Return the environment of `container`: `base` (the runtime's own variables), its `envFrom`, its `env`.

    `pod` carries the status fields podIP and hostIP that field references read. Raises BadConfiguration where an
    entry refers to something that is not there and is not optional.
    """
    values = dict(base)
    for entry in container.get("envFrom") or ():
        values |= _all_of(entry, sources)
    for entry in container.get("env") or ():
        value = _value_of((pod, container), entry, values, sources)
        if value is not None:
            values[entry["name"]] = value
    return values


def _all_of(entry: Object, sources: Sources) -> dict[str, str]:
    """Return what an `envFrom` entry brings; a key that can be no variable's name is left out."""
    found: dict[str, bytes] | None = None
    if reference := entry.get("configMapRef"):
        found = sources.config_texts(reference["name"], bool(reference.get("optional")))
    elif reference := entry.get("secretRef"):
        found = sources.secret(reference["name"], bool(reference.get("optional")))
    named = {f"{entry.get('prefix', '')}{key}": content for key, content in (found or {}).items()}
    return {name: _text_of(name, content) for name, content in named.items() if name and "=" not in name}


def _value_of(
    owner: tuple[Object, Object], entry: Object, values: Mapping[str, str], sources: Sources
) -> str | None:
    """Return the value of an `env` entry of (pod, container); None where its source is missing and may be."""
    pod, container = owner
    source = entry.get("valueFrom")
    if not source:
        return expand(entry.get("value") or "", values)
    if reference := source.get("fieldRef"):
        return field_of(pod, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        return resource_of(referred_to(pod, reference, container), reference, sources.allocatable)
    if reference := source.get("configMapKeyRef"):
        found = sources.config_texts(reference["name"], bool(reference.get("optional")))
        return _key_of(pod, reference, "ConfigMap", found)
    if reference := source.get("secretKeyRef"):
        found = sources.secret(reference["name"], bool(reference.get("optional")))
        return _key_of(pod, reference, "Secret", found)
    raise BadConfiguration(
        f"env {entry['name']!r}: valueFrom.{next(iter(source), '')} is not supported; accepted are fieldRef, "
        "resourceFieldRef, configMapKeyRef and secretKeyRef"
    )


def _key_of(pod: Object, reference: Object, kind: str, found: dict[str, bytes] | None) -> str | None:
    """Return one value of a ConfigMap or Secret; None where it, or the key, is missing and may be."""
    key = reference["key"]
    if found is not None and key in found:
        return _text_of(f"{kind} {reference['name']}: {key}", found[key])
    if reference.get("optional"):
        return None
    raise BadConfiguration(f"couldn't find key {key} in {kind} {namespace_of(pod)}/{reference['name']}")


def _text_of(what: str, content: bytes) -> str:
    """Return a value as a variable can hold it: any bytes but NUL. Raises BadConfiguration."""
    if b"\0" in content:
        raise BadConfiguration(f"{what} contains a NUL byte, which no environment variable can hold")
    return content.decode(errors="surrogateescape")
