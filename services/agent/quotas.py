"""Measures what pods take of the disk, those only that have a limit, and tells the loop of those that take too much."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from schemas.objects import Object, uid_of
from schemas.times import Milliseconds
from services.agent.messages import Condemned
from services.agent.surroundings import Surroundings
from services.agent.verdicts import has_disk_limits, overuse_of

PERIOD: Milliseconds = 10_000
"""How often the disk is measured (kubelet: monitoringInterval of its eviction manager)."""


class Quotas:
    """Measures in a thread of its own, one round at a time, since a round may take long."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._measured_at: Milliseconds = 0
        self._measurer: threading.Thread | None = None

    @property
    def next_at(self) -> Milliseconds | None:
        """When to measure again; None where no pod has a limit."""
        return self._measured_at + PERIOD if self._limited() else None

    def look(self, now: Milliseconds) -> None:
        """Begin a round where it is time and the last one is over."""
        if now < self._measured_at + PERIOD or not (pods := self._limited()):
            return
        self._measured_at = now
        if self._measurer is None or not self._measurer.is_alive():
            name = f"{self._around.settings.name}-quotas"
            self._measurer = threading.Thread(target=self._measure, args=(pods,), name=name, daemon=True)
            self._measurer.start()

    def _limited(self) -> list[Object]:
        works = self._around.works.values()
        return [work.pod for work in works if work.deadline is None and has_disk_limits(work.pod)]

    def _measure(self, pods: Sequence[Object]) -> None:
        around = self._around
        for pod in pods:
            usage = around.runtime.usage(uid_of(pod))
            if verdict := overuse_of(pod, usage.volumes, usage.containers):
                around.log.warning("evicting a pod", uid=uid_of(pod), why=verdict.message)
                around.post(Condemned(uid_of(pod), verdict))
