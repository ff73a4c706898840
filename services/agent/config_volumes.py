"""Volumes whose files the cluster writes: configMap, secret, downwardAPI and projected, as values.

The rules are the kubelet's (pkg/volume/{configmap,secret,downwardapi,projected}): all keys, or the `items` under the
paths they name; modes by item, else by defaultMode; a missing source or key is an error unless it is optional.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from schemas.objects import Object
from services.agent.downward import file_field_of, referred_to, resource_of
from services.agent.sources import BadConfiguration, Sources

DEFAULT_MODE = 0o644
KINDS = ("configMap", "secret", "downwardAPI", "projected")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a volume: what it holds, and its permission bits."""

    content: bytes
    mode: int


Files = dict[str, File]
"""path below the volume -> file"""


def config_volumes_of(pod: Object) -> list[Object]:
    """Return the volumes of `pod` whose files the cluster writes."""
    return [volume for volume in pod["spec"].get("volumes") or () if any(kind in volume for kind in KINDS)]


def files_of(pod: Object, volume: Object, sources: Sources) -> Files:
    """Return the files of one of `config_volumes_of(pod)`. Raises BadConfiguration.

    `pod` carries podIP and hostIP in its status.
    """
    kind = next(kind for kind in KINDS if kind in volume)
    source = volume[kind]
    mode = int(source.get("defaultMode", DEFAULT_MODE))
    if kind == "projected":
        files: Files = {}
        for part in source.get("sources") or ():
            files |= _projected(pod, part, mode, sources)
        return files
    return _MAKERS[kind](pod, source, mode, sources)


def _projected(pod: Object, part: Object, mode: int, sources: Sources) -> Files:
    for kind, make in _MAKERS.items():
        if kind in part:
            return make(pod, part[kind], mode, sources)
    raise BadConfiguration(
        f"projected: {next(iter(part), 'an empty source')} is not supported; accepted are {', '.join(_MAKERS)}"
    )


def _from_config_map(pod: Object, source: Object, mode: int, sources: Sources) -> Files:
    del pod
    is_optional = bool(source.get("optional"))
    found = sources.config_map(source.get("name", ""), is_optional)
    return _selected(found or {}, source, mode, is_optional)


def _from_secret(pod: Object, source: Object, mode: int, sources: Sources) -> Files:
    del pod
    is_optional = bool(source.get("optional"))
    found = sources.secret(source.get("secretName") or source.get("name", ""), is_optional)
    return _selected(found or {}, source, mode, is_optional)


def _from_pod(pod: Object, source: Object, mode: int, sources: Sources) -> Files:
    files: Files = {}
    for item in source.get("items") or ():
        if reference := item.get("fieldRef"):
            text = file_field_of(pod, reference["fieldPath"])
        else:
            reference = item.get("resourceFieldRef") or {}
            text = resource_of(referred_to(pod, reference, None), reference, sources.allocatable)
        files[_inside(item["path"])] = File(text.encode(), int(item.get("mode", mode)))
    return files


def _selected(found: dict[str, bytes], source: Object, mode: int, is_optional: bool) -> Files:
    if not source.get("items"):
        return {key: File(content, mode) for key, content in found.items()}
    files: Files = {}
    for item in source["items"]:
        if item["key"] in found:
            files[_inside(item["path"])] = File(found[item["key"]], int(item.get("mode", mode)))
        elif not is_optional:
            raise BadConfiguration(f"references non-existent config key: {item['key']}")
    return files


def _inside(path: str) -> str:
    """Return a path that stays in the volume and is none of its own hidden names. Raises BadConfiguration."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or not pure.parts or any(part.startswith("..") for part in pure.parts):
        raise BadConfiguration(f"path {path!r} must be relative, and no part of it may begin with '..'")
    return str(pure)


_MAKERS: dict[str, Callable[[Object, Object, int, Sources], Files]] = {
    "configMap": _from_config_map,
    "secret": _from_secret,
    "downwardAPI": _from_pod,
}
