"""Host paths as their `type` wants them: checked, or made, before a pod starts (pkg/volume/hostpath/host_path.go)."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from schemas.objects import Object
from services.agent.host_paths import place_of
from services.agent.runtimes.port import Refused


def prepare_host_paths(pod: Object, node_directory: Path) -> None:
    """See to every host path of a pod. Raises Refused (ContainerCreating) where one is not of its type."""
    for volume in pod["spec"].get("volumes") or ():
        if source := volume.get("hostPath"):
            prepare_host_path(volume["name"], source, node_directory)


def prepare_host_path(volume_name: str, source: Object, node_directory: Path) -> None:
    """Make what may be made at a host path, then check it. Raises Refused; an empty type asks for nothing."""
    kind, path = source.get("type") or "", place_of(node_directory, source["path"])
    if not kind:
        return
    try:
        if not path.exists():
            _make(kind, path)
        mode = path.stat().st_mode if path.exists() else 0
    except OSError as error:
        raise _refusal(volume_name, str(error)) from None
    is_right, noun = _TYPES[kind]
    if not is_right(mode):
        raise _refusal(volume_name, f"hostPath type check failed: {path} is not {noun}")


def _make(kind: str, path: Path) -> None:
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(mode=0o644)


def _refusal(volume_name: str, why: str) -> Refused:
    return Refused("ContainerCreating", f'MountVolume.SetUp failed for volume "{volume_name}" : {why}')


_TYPES: dict[str, tuple[Callable[[int], bool], str]] = {
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "Directory": (stat.S_ISDIR, "a directory"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}
"""What the mode of a file must say, and what it is called otherwise; 0 is nothing at all."""
