"""What of a pod is on the node's disk, whatever runs it: `<node>/pods/<uid>/`.

pod.json              the pod as it was accepted, and its address
hosts                 its hosts file
volumes/<name>/       its own volumes: emptyDir, configMap, secret, ...
containers/<name>/    what a runtime keeps of a container
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from schemas.objects import Object, uid_of
from schemas.times import Milliseconds
from services.agent.config_volumes import Files
from services.agent.folders import remove_tree, size_of
from services.agent.runtimes.log_files import write_file
from services.agent.runtimes.ownership import give_to_group, group_of
from services.agent.runtimes.payloads import write_payload

_log = structlog.get_logger("chronoset.pod-folders")


@dataclass(frozen=True, slots=True)
class Record:
    """A pod as it was when its folder was made."""

    pod: Object
    address: str
    accepted_at: Milliseconds


class PodFolders:
    """The folders of a node's pods. Every method may be called from any thread."""

    def __init__(self, node_directory: Path) -> None:
        self.path = node_directory.absolute() / "pods"
        self.path.mkdir(parents=True, exist_ok=True)
        self._writing = threading.Lock()

    def of(self, uid: str) -> Path:
        """Return the folder of a pod."""
        return self.path / uid

    def record_of(self, uid: str) -> Record | None:
        """Return what is known of a pod; None where nothing is."""
        try:
            return Record(**json.loads((self.of(uid) / "pod.json").read_bytes()))
        except FileNotFoundError:
            return None

    def remember(self, record: Record) -> None:
        """Make the pod's folder, with a hosts file to begin with; what is known of it is written anew."""
        uid = uid_of(record.pod)
        self.of(uid).mkdir(parents=True, exist_ok=True)
        if not (self.of(uid) / "hosts").exists():
            self.write_hosts(uid, "127.0.0.1 localhost\n")
        content = {"pod": record.pod, "address": record.address, "accepted_at": record.accepted_at}
        write_file(str(self.of(uid) / "pod.json"), content, sync=False)

    def found(self) -> Iterator[Record]:
        """Yield what is known of each pod; half-made folders, of pods that never ran anything, are removed."""
        for folder in sorted(self.path.iterdir()):
            record = self.record_of(folder.name)
            if record is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                yield record

    def write_hosts(self, uid: str, text: str) -> None:
        """Overwrite in place, since the file may be mounted over /etc/hosts, where none can take its place.

        One write, as long as what it replaces: a reader sees the old names or the new ones, never a torn line.
        """
        content = text.encode()
        descriptor = os.open(self.of(uid) / "hosts", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, content.ljust(os.fstat(descriptor).st_size, b"\n"))
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)

    def write_volume(self, uid: str, volume: str, files: Files) -> None:
        """See Runtime.write_volume. The pod's fsGroup may read the files."""
        record, folder = self.record_of(uid), self.of(uid) / "volumes" / volume
        group = group_of(record.pod) if record else None
        if group is not None:
            files = {path: replace(file, mode=file.mode | 0o440) for path, file in files.items()}
        with self._writing:
            if write_payload(folder, files) and group is not None:
                give_to_group(folder, group, is_written_by_us=True)

    def volume_sizes(self, uid: str) -> dict[str, int]:
        """Return the bytes that each of a pod's own volumes takes."""
        return {place.name: size_of(place) for place in (self.of(uid) / "volumes").glob("*")}

    def container_sizes(self, uid: str) -> dict[str, int]:
        """Return the bytes that what is kept here of each container takes: its working directory, its logs."""
        return {place.name: size_of(place) for place in (self.of(uid) / "containers").glob("*")}

    def empty(self, uid: str) -> None:
        """Remove what a pod has written into its volumes and where its containers work; logs stay."""
        for place in (self.of(uid) / "volumes", *self.of(uid).glob("containers/*/work")):
            try:
                remove_tree(place)
            except OSError as error:
                _log.error("an ended pod's files are not removed", uid=uid, error=str(error))

    def remove(self, uid: str) -> None:
        """Remove a pod's folder; the volumes of claims are not in it."""
        try:
            remove_tree(self.of(uid))
        except OSError as error:
            _log.error("a pod's folder is not removed", uid=uid, error=str(error))
