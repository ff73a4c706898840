"""Looks at pods for what changes without telling: how much of the disk those take that have a limit, and whether what
was remarked on a pod's address still holds."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from schemas.objects import Object, uid_of
from schemas.times import Milliseconds
from services.agent.messages import Condemned, Remarked
from services.agent.statuses import ADDRESS_FREE
from services.agent.surroundings import Surroundings
from services.agent.verdicts import has_disk_limits, overuse_of
from services.agent.works import Work

PERIOD: Milliseconds = 10_000
"""How often (kubelet: monitoringInterval of its eviction manager)."""


class Inspections:
    """Makes its rounds in a thread of its own, one at a time, since a round may take long."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._looked_at: Milliseconds = 0
        self._inspector: threading.Thread | None = None

    @property
    def next_at(self) -> Milliseconds | None:
        """When to look again; None where there is nothing to look at."""
        return self._looked_at + PERIOD if self._limited() or self._remarked() else None

    def look(self, now: Milliseconds) -> None:
        """Begin a round where it is time and the last one is over."""
        at = self.next_at
        if at is None or now < at:
            return
        self._looked_at = now
        if self._inspector is None or not self._inspector.is_alive():
            addresses = [(work.pod, work.place.address) for work in self._remarked()]
            arguments = ([work.pod for work in self._limited()], addresses)
            name = f"{self._around.settings.name}-inspections"
            self._inspector = threading.Thread(target=self._inspect, args=arguments, name=name, daemon=True)
            self._inspector.start()

    def _limited(self) -> list[Work]:
        works = self._around.works.values()
        return [work for work in works if work.deadline is None and has_disk_limits(work.pod)]

    def _remarked(self) -> list[Work]:
        works = self._around.works.values()
        return [work for work in works if any(each.type == ADDRESS_FREE for each in work.place.remarks)]

    def _inspect(self, limited: Sequence[Object], addresses: Sequence[tuple[Object, str]]) -> None:
        around = self._around
        for pod in limited:
            usage = around.runtime.usage(uid_of(pod))
            if verdict := overuse_of(pod, usage.volumes, usage.containers):
                around.log.warning("evicting a pod", uid=uid_of(pod), why=verdict.message)
                around.post(Condemned(uid_of(pod), verdict))
        for pod, address in addresses:
            around.post(Remarked(uid_of(pod), around.runtime.remarks(pod, address)))
