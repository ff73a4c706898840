"""The folder in which log collectors find what a node's containers print: a link to each log, named as the kubelet
names it, `<pod>_<namespace>_<container>-<64 hex digits>.log` (pkg/kubelet/kuberuntime/legacy.go)."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from schemas.objects import Object, name_of, namespace_of

_LONGEST = 251


class LogLinks:
    """Keeps the links in `directory`. A link whose log is gone goes with the next `tidy`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def add(self, pod: Object, container: str, container_id: str, log: Path) -> None:
        """Link the log of a run, which is made if it is not there yet."""
        log.touch(0o600)
        digest = hashlib.sha256(container_id.encode()).hexdigest()
        title = f"{name_of(pod)}_{namespace_of(pod)}_{container}"
        with suppress(FileExistsError):
            (self._directory / f"{title[: _LONGEST - 69]}-{digest}.log").symlink_to(log)

    def tidy(self) -> None:
        """Remove the links that lead nowhere."""
        for entry in os.scandir(self._directory):
            if not os.path.exists(entry.path):
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)
