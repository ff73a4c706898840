"""Removes the data of volumes that nobody wants any more, so that the cluster may forget them.

The controller of volumes marks one of ours with reclaim policy Delete when its claim is gone (finalizer
`chronoset.dev/data`); this node removes the directory and takes the finalizer away. What is removed lies in this
node's own folder `volumes/`, whatever the object says, and is mounted by no pod that is still here.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from schemas.errors import ChronosetError
from schemas.objects import Object, name_of, namespace_of
from schemas.times import Milliseconds
from services.agent.disks import VOLUMES
from services.agent.folders import remove_tree
from services.agent.lifecycle import Phase
from services.agent.surroundings import Surroundings
from services.agent.works import Work

RETRY: Milliseconds = 30_000
"""How long a volume whose data could not be removed is left alone."""


class Forbidden(Exception):
    """The volume's directory is none that this node may remove."""


class Reclaims:
    """Removes directories one at a time, in a thread of its own, since that may take long."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._remover: threading.Thread | None = None
        self._failed: dict[str, Milliseconds] = {}
        """Volume -> when to try again."""

    def look(self) -> bool:
        """Begin to remove what can be removed; return whether to look again soon. Raises Unavailable, LostHistory."""
        around, now = self._around, self._around.clock()
        wanted = around.control_plane.volumes_to_reclaim(around.settings.name)
        if not wanted:
            return False
        if self._remover is None or not self._remover.is_alive():
            due = [volume for volume in wanted if self._failed.get(name_of(volume), 0) <= now]
            mounted = around.runtime.mounted() if due else set()
            free = [volume for volume in due if not self._is_used(volume, mounted)]
            if free:
                name = f"{around.settings.name}-reclaim"
                self._remover = threading.Thread(target=self._remove, args=(free,), name=name, daemon=True)
                self._remover.start()
        return True

    def _is_used(self, volume: Object, mounted: set[str]) -> bool:
        """Tell whether a pod here mounts the directory, or is just being started with a claim of that name."""
        try:
            directory = directory_of(volume, self._around.settings.directory)
        except Forbidden:
            return False
        inside = f"{directory}/"
        return any(f"{each}/".startswith(inside) for each in mounted) or any(
            _is_starting_with(work, volume) for work in self._around.works.values()
        )

    def _remove(self, volumes: Sequence[Object]) -> None:
        around = self._around
        for volume in volumes:
            name = name_of(volume)
            try:
                directory = directory_of(volume, around.settings.directory)
                remove_tree(directory)
                around.control_plane.release_volume(around.settings.name, volume)
            except (OSError, Forbidden, ChronosetError) as error:
                self._failed[name] = around.clock() + RETRY
                around.log.error(
                    "a volume's data is not removed; trying again", volume=name, error=str(error)
                )
            else:
                around.log.info("removed a volume's data", volume=name, directory=str(directory))


def directory_of(volume: Object, node_directory: Path) -> Path:
    """Return the directory of a volume: one folder in the node's own `volumes/`, itself no link.

    Raises Forbidden where the volume names anything else.
    """
    path = PurePosixPath(str((volume["spec"].get("local") or {}).get("path", "")))
    folder = node_directory.absolute() / VOLUMES
    if len(path.parts) != 2 or path.parts[0] != VOLUMES or path.parts[1] == "..":
        raise Forbidden(f"{str(path)!r} is no folder directly below {VOLUMES}/ of this node")
    if folder.is_symlink():
        raise Forbidden(f"{folder} is a link")
    return folder / path.name


def _is_starting_with(work: Work, volume: Object) -> bool:
    """Tell whether a container of the pod is being started, in whose pod a claim has the name of the volume's."""
    reference = volume["spec"].get("claimRef") or {}
    claims = {
        (source.get("persistentVolumeClaim") or {}).get("claimName")
        for source in work.pod["spec"].get("volumes") or ()
    }
    return (
        namespace_of(work.pod) == reference.get("namespace")
        and reference.get("name") in claims
        and any(container.phase is Phase.STARTING for container in work.containers.values())
    )
