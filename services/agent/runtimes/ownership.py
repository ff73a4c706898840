"""fsGroup: the files of a pod's volumes belong to a group (pkg/volume/volume_linux.go: SetVolumeOwnership).

Files may be read and written by the group, those that the cluster writes only read; folders may be entered too, and
what is made in them belongs to the group again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from schemas.objects import Object
from services.agent.runtimes.volumes import Mount

_WRITE, _READ, _ENTER = 0o660, 0o440, 0o110


def group_of(pod: Object) -> int | None:
    """Return the pod's fsGroup, where the agent may give files to it."""
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return int(group) if group is not None and os.getuid() == 0 else None


def give_mounts(pod: Object, mounts: Iterable[Mount]) -> None:
    """See to it that the volumes of a container belong to the pod's fsGroup; hostPaths stay as they are."""
    group = group_of(pod)
    if group is None:
        return
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    policy = pod["spec"]["securityContext"].get("fsGroupChangePolicy") or "Always"
    for mount in mounts:
        volume = volumes[mount.volume]
        if "emptyDir" in volume or "persistentVolumeClaim" in volume:
            give_to_group(Path(mount.source), group, policy)


def give_to_group(folder: Path, group: int, policy: str = "Always", is_written_by_us: bool = False) -> None:
    """Give a volume to `group`; by the policy OnRootMismatch only if its own folder is not so yet. Raises OSError."""
    bits = _READ if is_written_by_us else _WRITE
    found = folder.lstat()
    is_so = (
        found.st_gid == group
        and found.st_mode & (bits | _ENTER | stat.S_ISGID) == bits | _ENTER | stat.S_ISGID
    )
    if policy == "OnRootMismatch" and is_so:
        return
    for path in _tree(str(folder)):
        _give(path, group, bits)


def _tree(folder: str) -> Iterator[str]:
    """Yield everything in a volume, itself last: who stops half-way must begin again."""
    for above, folders, files in os.walk(folder, topdown=False):
        yield from (os.path.join(above, name) for name in (*files, *folders))
    yield folder


def _give(path: str, group: int, bits: int) -> None:
    """Give one file; links are given and not followed, and what has just gone is left out."""
    try:
        mode = os.lstat(path).st_mode
        os.chown(path, -1, group, follow_symlinks=False)
        if stat.S_ISDIR(mode):
            os.chmod(path, stat.S_IMODE(mode) | bits | _ENTER | stat.S_ISGID)
        elif not stat.S_ISLNK(mode):
            os.chmod(path, stat.S_IMODE(mode) | bits)
    except FileNotFoundError:
        return
