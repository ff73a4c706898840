"""Thousands of nodes in one thread, for load tests: pods get Ready after a while, end when they are to end, or fail.

It keeps nothing for a pod but one timer, and answers in batches, so that what a load test measures is the control
plane. What it reports is what the real agent reports: the same functions make it.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import count, islice
from typing import Protocol

import structlog

from schemas.errors import Unavailable
from schemas.objects import Object, is_terminating, uid_of
from schemas.positions import Position
from schemas.times import Milliseconds
from services.agent.addresses import address_of, identity_of
from services.agent.lifecycle import Begun, Blocked, Started
from services.agent.nodes import NodeSettings, node_object
from services.agent.runtimes.simulated import GOOD, IMAGE_ID, Behaviour
from services.agent.statuses import Place, rejection_of
from services.agent.works import new_work

BATCH = 500
HEARTBEAT: Milliseconds = 10_000
LONGEST_WAIT = 1.0


class Plane(Protocol):
    """What simulated nodes need of the control plane (services.agent.port): the same in batches."""

    def register_many(self, nodes: Sequence[Object]) -> None:
        """Register many nodes."""

    def heartbeat_many(self, nodes: Sequence[str]) -> None:
        """Say that many nodes live."""

    def changed_pods(self, after: Position, timeout: float) -> tuple[Position, Sequence[Object]]:
        """Return the pods changed after `after` as they are now, and a mark for the next call."""

    def report_many(self, reports: Sequence[tuple[Object, Object]]) -> None:
        """Report several (pod, status)."""

    def confirm_many(self, pods: Sequence[Object]) -> None:
        """Confirm many deletions."""


class SimulatedNodes:
    """Nodes `sim-0` ... `sim-<count - 1>`, made of `settings`. `run` blocks until `stop`."""

    def __init__(
        self,
        control_plane: Plane,
        nodes: Iterable[NodeSettings],
        clock: Callable[[], Milliseconds],
        behave: Callable[[Object], Behaviour] = lambda _: GOOD,
    ) -> None:
        self._control_plane = control_plane
        self._nodes = {settings.name: settings for settings in nodes}
        self._clock = clock
        self._behave = behave
        self._timers: list[tuple[Milliseconds, int, Object]] = []
        self._awaited: set[tuple[str, bool]] = set()
        self._order = count()
        self._stopped = threading.Event()
        self._log = structlog.get_logger("chronoset.simulated-nodes")
        self.started = 0
        self.ended = 0

    def register(self) -> None:
        """Make the nodes known."""
        now = self._clock()
        nodes = iter([node_object(settings, "simulated", now) for settings in self._nodes.values()])
        while batch := list(islice(nodes, BATCH)):
            self._control_plane.register_many(batch)

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    def run(self) -> None:
        """Let the pods live until `stop`; holds still while the control plane does not answer."""
        position, heartbeat_at = 0, 0
        while not self._stopped.is_set():
            try:
                now = self._clock()
                if now >= heartbeat_at:
                    self._control_plane.heartbeat_many(list(self._nodes))
                    heartbeat_at = now + HEARTBEAT
                position, pods = self._control_plane.changed_pods(position, self._wait())
                self._note(pods, self._clock())
                self._fire(self._clock())
            except Unavailable as error:
                self._log.warning("holding still", error=str(error))
                self._stopped.wait(LONGEST_WAIT)

    def _wait(self) -> float:
        if not self._timers:
            return LONGEST_WAIT
        return max(0.0, min(LONGEST_WAIT, (self._timers[0][0] - self._clock()) / 1000))

    def _note(self, pods: Iterable[Object], now: Milliseconds) -> None:
        """Set a timer for each pod that has something before it: to get Ready, or to be gone."""
        for pod in pods:
            if pod["spec"].get("nodeName") not in self._nodes:
                continue
            ends = is_terminating(pod)
            if not ends and "startTime" in (pod.get("status") or {}):
                continue
            if (uid_of(pod), ends) in self._awaited:
                continue
            self._awaited.add((uid_of(pod), ends))
            behaviour = self._behave(pod)
            delay = behaviour.stop_after if ends else behaviour.ready_after
            heapq.heappush(self._timers, (now + delay, next(self._order), pod))

    def _fire(self, now: Milliseconds) -> None:
        due: list[Object] = []
        while self._timers and self._timers[0][0] <= now and len(due) < BATCH:
            due.append(heapq.heappop(self._timers)[2])
        reports = [(pod, self._status_of(pod, now)) for pod in due if not is_terminating(pod)]
        ends = [pod for pod in due if is_terminating(pod)]
        try:
            if reports:
                self._control_plane.report_many(reports)
            if ends:
                self._control_plane.confirm_many(ends)
        except Unavailable:
            for pod in due:
                heapq.heappush(self._timers, (now, next(self._order), pod))
            raise
        self._awaited.difference_update((uid_of(pod), is_terminating(pod)) for pod in due)
        self.started += len(reports)
        self.ended += len(ends)

    def _status_of(self, pod: Object, now: Milliseconds) -> Object:
        behaviour = self._behave(pod)
        if behaviour.is_evicted:
            return rejection_of(pod, "Evicted", "simulated", now)
        settings = self._nodes[pod["spec"]["nodeName"]]
        place = Place(address_of(identity_of(pod, settings.cluster), ()), settings.address, now)
        work = new_work(pod, place)
        for name in work.containers:
            work.apply(name, Begun(now))
            container_id = f"simulated://{uid_of(pod)}/{name}"
            started = Started(container_id, IMAGE_ID, True, now)
            refused = Blocked(behaviour.refusal, "simulated", now)
            work.apply(name, refused if behaviour.refusal else started)
        return work.status(False, now)
