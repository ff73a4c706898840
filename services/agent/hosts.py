"""Keeps the hosts files of an agent's pods up to date with the names of their peers."""

from __future__ import annotations

from services.agent.names import hosts_of
from services.agent.surroundings import Surroundings
from services.agent.works import Work
from services.headless import Record


class HostsFiles:
    """Writes a file only where it says something new."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._written: dict[str, str] = {}

    def write(self, work: Work) -> None:
        """Write the file of one pod. Raises OSError."""
        self._write(work, self._around.control_plane.published())

    def write_all(self) -> None:
        """Write the files of all pods. Raises OSError after the others were written."""
        records = self._around.control_plane.published()
        failures: list[OSError] = []
        for work in self._around.works.values():
            try:
                self._write(work, records)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def forget(self, uid: str) -> None:
        """Forget a pod that has ended."""
        self._written.pop(uid, None)

    def _write(self, work: Work, records: tuple[Record, ...]) -> None:
        text = hosts_of(work.pod, work.place.address, records, self._around.settings.domain)
        if self._written.get(work.uid) != text:
            self._around.runtime.write_hosts(work.uid, text)
            self._written[work.uid] = text
