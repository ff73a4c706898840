"""Does to the sets of a cluster what a profile says, and follows what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from events.log import Log
from events.memory import wall_clock
from schemas.changes import Change, Create
from schemas.kinds import STATEFUL_SET
from schemas.objects import Key
from services.broker.keys import Keys
from services.broker.streams import StreamsBroker
from services.connections import connect
from services.loadtest.checks import differences, wait_until_calm
from services.loadtest.churning import Churner
from services.loadtest.clusters import Running
from services.loadtest.hands import LogHand
from services.loadtest.profiles import Profile
from services.loadtest.sets import (
    Phase,
    a_daemonset,
    creations,
    key_of_daemons,
    key_of_set,
    phases,
    unsettled,
)
from services.loadtest.statistics import Moment
from services.loadtest.usage import Server, server_of
from services.loadtest.watching import Watch
from services.projections.reader import Views
from services.wiring import edges_of, open_log

AT_ONCE = 100
"""Sets changed by one batch."""
CALM_SECONDS = 20.0

T = TypeVar("T")
Changes = Callable[[], Sequence[Change]]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How a phase went: pods made or ended in it (0 where that is chance), events, seconds."""

    phase: str
    pods: int
    events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Until:
    deadline: float
    progress: Progress


class Driver:
    """A writer and a follower of a measured cluster."""

    def __init__(self, profile: Profile, cluster: Running) -> None:
        settings = cluster.settings
        self.paces: list[Pace] = []
        self.trace: Path = cluster.trace
        self.log: Log = open_log(settings, "loadtest")
        self.watch = Watch(self.log)
        self._profile = profile
        self._queue = connect(settings.queue_url, "loadtest")
        self._server = connect(settings.log_url, "loadtest")
        self._views = Views(self._queue, settings.cluster)
        self._broker = StreamsBroker(self._queue, Keys(settings.cluster), middleware=[])
        self._broker.declare_queue("hints")
        self._hand = LogHand(self.log, self.watch, edges_of(settings), profile.timeout)
        self._sets = [key_of_set(f"load-{index}") for index in range(profile.sets)]
        self._daemons = [key_of_daemons(f"daemons-{index}") for index in range(profile.daemonsets)]
        self._churner = Churner(self._hand, self.watch, [*self._sets, *self._daemons], profile.replicas)

    def wait_for_nodes(self) -> None:
        """Wait until all nodes take pods. Raises Unavailable."""
        self.watch.wait_for_nodes(self._profile.nodes)

    def play(self, progress: Progress) -> list[str]:
        """Go through all phases; return what did not settle within the profile's time."""
        profile = self._profile
        until = _Until(time.monotonic() + profile.timeout, progress)
        left = self._create(until)
        for phase in phases(profile.replicas):
            if phase.deletes and not left:
                left = self._churn(until)
            if left:
                break
            if phase.group in profile.phases:
                left = self._change(phase, until)
        if left:
            return [f"{self.paces[-1].phase}: {len(left)} sets are not settled, the first is {left[0]}"]
        return []

    def rest(self) -> list[str]:
        """Wait until nothing is left to do; return what keeps on moving."""
        if wait_until_calm(self.log, self._is_idle, CALM_SECONDS):
            return []
        return [f"the cluster does not come to rest within {CALM_SECONDS:.0f} s"]

    def check(self) -> list[str]:
        """Return how replay, projections, live replica and heads differ."""
        return differences(self.log, self._server, self._views, self.watch)

    def depth(self) -> int:
        """Return how many hints wait, or are at work."""
        depth = self._broker.depth("hints")
        return depth.ready + depth.pending + depth.delayed

    def served(self) -> dict[str, Server]:
        """Return what each server holds and has done."""
        return {"log": server_of(self._server), "queue": server_of(self._queue)}

    def writes(self, begun: float) -> list[Moment]:
        """Return how long each change of the churn took to be accepted, in seconds since `begun` (time.monotonic)."""
        return [(at - begun, took) for at, took in self._churner.writes]

    def close(self) -> None:
        """Let go of the cluster."""
        self.watch.stop()
        self.log.close()
        self._queue.close()
        self._server.close()

    def _create(self, until: _Until) -> Sequence[Key]:
        profile = self._profile
        self.watch.await_settled([*self._sets, *self._daemons])
        created: list[Change] = creations(profile.sets, profile.replicas, profile.scenario)
        created += [Create(a_daemonset(f"daemons-{index}", "20%")) for index in range(profile.daemonsets)]
        pods = profile.sets * profile.replicas + profile.daemonsets * profile.nodes
        return self._timed("create", pods, [partial(list, chunk) for chunk in _chunks(created)], until)

    def _change(self, phase: Phase, until: _Until) -> Sequence[Key]:
        keys = self._sets[:: phase.every] + (self._daemons if phase.daemons else [])
        if not keys:
            return ()
        (self.watch.await_gone if phase.deletes else self.watch.await_settled)(keys)
        pods = sum(self._pods(phase, key) for key in keys)
        batches = [partial(self._changes, phase, chunk) for chunk in _chunks(keys)]
        return self._timed(phase.name, pods, batches, until)

    def _pods(self, phase: Phase, key: Key) -> int:
        is_set = key.startswith(f"{STATEFUL_SET.resource}/")
        return phase.pods(self._profile.replicas if is_set else self._profile.nodes)

    def _churn(self, until: _Until) -> Sequence[Key]:
        """Change things at the profile's rates, and wait until the cluster is at rest after that."""
        churn, keys = self._profile.churn, [*self._sets, *self._daemons]
        if not churn.seconds:
            return ()
        begun, events = time.monotonic(), self.watch.events
        self._churner.play(churn, lambda: until.progress("churn", self.watch.waiting, self.watch.events))
        left: Sequence[Key] = keys
        while left and time.monotonic() < until.deadline:
            wait_until_calm(self.log, self._is_idle, 2.0)
            left = unsettled(keys, self.watch.replica.get, deletes=False)
            until.progress("after the churn", len(left), self.watch.events)
        self.paces.append(Pace("churn", 0, self.watch.events - events, time.monotonic() - begun))
        return left

    def _timed(self, name: str, pods: int, batches: Iterable[Changes], until: _Until) -> Sequence[Key]:
        begun, events = time.monotonic(), self.watch.events
        for changes in batches:
            self._hand.commit(changes)
        left = self.watch.wait(until.deadline, lambda sets, count: until.progress(name, sets, count))
        self.paces.append(Pace(name, pods, self.watch.events - events, time.monotonic() - begun))
        return left

    def _changes(self, phase: Phase, keys: Sequence[Key]) -> list[Change]:
        now = wall_clock()
        found = (self.watch.replica.get(key) for key in keys)
        return [phase.change(obj, now) for obj in found if obj is not None]

    def _is_idle(self) -> bool:
        return self.depth() == 0


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
