"""Which folder of the node a container finds at each of its mount paths (kubelet_pods.go: makeMounts)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.objects import Object
from services.agent.config_volumes import KINDS
from services.agent.host_paths import place_of
from services.agent.runtimes.port import Refused, Run


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of the node at a path of the container; `propagation` is Kubernetes' word, "" for none."""

    volume: str
    source: str
    target: str
    read_only: bool = False
    propagation: str = ""


def mounts_of(run: Run, spec: Object, pod_folder: Path) -> list[Mount]:
    """Return the mounts of the container `spec`, with their folders made. Raises Refused."""
    volumes = {volume["name"]: volume for volume in run.pod["spec"].get("volumes") or ()}
    return [_mount_of(mount, volumes, run, pod_folder) for mount in spec.get("volumeMounts") or ()]


def variable_of(mount: Mount) -> str:
    """Return the name of the variable that tells a program where a volume is: `VOLUME_<NAME>`."""
    return "VOLUME_" + re.sub(r"[^A-Za-z0-9]", "_", mount.volume).upper()


def _mount_of(mount: Object, volumes: Mapping[str, Object], run: Run, pod_folder: Path) -> Mount:
    volume = volumes.get(mount["name"])
    if volume is None:
        raise Refused("CreateContainerConfigError", f"volumeMounts: there is no volume {mount['name']!r}")
    folder = _folder_of(volume, pod_folder, run.claims)
    if below := mount.get("subPath"):
        if ".." in Path(below).parts or os.path.isabs(below):
            raise Refused("CreateContainerConfigError", f"volumeMounts: subPath {below!r} leaves the volume")
        folder = folder / below
    target = mount["mountPath"]
    if ".." in Path(target).parts:
        raise Refused(
            "CreateContainerConfigError", f"volumeMounts: mountPath {target!r} must not contain '..'"
        )
    if not folder.exists():
        folder.mkdir(parents=True)
        if "emptyDir" in volume:
            folder.chmod(0o777)
    claim = volume.get("persistentVolumeClaim") or {}
    is_ours = any(kind in volume for kind in KINDS)
    read_only = bool(mount.get("readOnly") or claim.get("readOnly") or is_ours)
    return Mount(mount["name"], str(folder), target, read_only, mount.get("mountPropagation") or "")


def _folder_of(volume: Object, pod_folder: Path, claims: Mapping[str, str]) -> Path:
    if "emptyDir" in volume or any(kind in volume for kind in KINDS):
        return pod_folder / "volumes" / str(volume["name"])
    if claim := volume.get("persistentVolumeClaim"):
        return Path(claims[claim["claimName"]])
    if path := volume.get("hostPath"):
        return place_of(pod_folder.parents[1], path["path"])
    source = next((name for name in volume if name != "name"), "none")
    raise Refused(
        "CreateContainerConfigError",
        f"volume {volume['name']!r}: {source} is not supported; accepted are emptyDir, persistentVolumeClaim, "
        f"hostPath, {', '.join(KINDS)}",
    )
