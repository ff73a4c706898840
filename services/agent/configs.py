"""Keeps the files of mounted ConfigMaps, Secrets and downward API volumes as the cluster has them now."""

from __future__ import annotations

from schemas.objects import Object
from services.agent.config_volumes import config_volumes_of, files_of
from services.agent.runtimes.port import Refused, Runtime
from services.agent.sources import BadConfiguration, Sources, sources_of
from services.agent.surroundings import Surroundings


def write_configs(pod: Object, sources: Sources, runtime: Runtime, is_first: bool = True) -> None:
    """Write the volumes of `pod`, before one of its containers starts: what is missing is so only for the first run.

    Raises OSError, and Refused (ContainerCreating, as a mount that fails in Kubernetes) where a source is missing.
    """
    for volume in config_volumes_of(pod):
        try:
            files = files_of(pod, volume, sources)
        except BadConfiguration as error:
            if not is_first:
                continue
            message = f'MountVolume.SetUp failed for volume "{volume["name"]}": {error}'
            raise Refused("ContainerCreating", message) from None
        runtime.write_volume(pod["metadata"]["uid"], volume["name"], files)


class Configs:
    """Writes what has changed. A source that has gone since leaves the files as they are, as the kubelet does."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._seen: dict[str, tuple[Object, Sources]] = {}

    def write_all(self) -> None:
        """Look at every pod that mounts a configuration. Raises OSError, Unavailable."""
        around = self._around
        self._seen = {uid: seen for uid, seen in self._seen.items() if uid in around.works}
        for uid, work in around.works.items():
            if not work.has_begun or not config_volumes_of(work.pod):
                continue
            now = (work.pod["metadata"], sources_of(work.pod, around.control_plane))
            if self._seen.get(uid) == now:
                continue
            self._write({**work.pod, "status": work.addresses}, now[1])
            self._seen[uid] = now

    def _write(self, pod: Object, sources: Sources) -> None:
        try:
            write_configs(pod, sources, self._around.runtime)
        except Refused as error:
            self._around.log.warning(
                "a mounted configuration stays as it is", pod=pod["metadata"]["name"], error=str(error)
            )
