"""One run of the load test: create, roll, scale and delete sets on a cluster of its own, measure, and check."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from events.commit import Committer, Intent, Proposal
from events.log import Log
from events.memory import wall_clock
from events.replay import events_between
from schemas.changes import Change
from schemas.envelopes import Actor
from schemas.errors import Unavailable
from schemas.objects import Key
from schemas.positions import Position
from services.broker.keys import Keys
from services.broker.streams import StreamsBroker
from services.connections import connect
from services.loadtest.checks import differences, wait_until_calm
from services.loadtest.clusters import Running, Shape, running_cluster
from services.loadtest.hops import calls_of, hops
from services.loadtest.sets import Phase, Scenario, creations, key_of_set, phases
from services.loadtest.statistics import Spread, spread
from services.loadtest.traces import beginnings
from services.loadtest.usage import Usage, load_average, server_of, usage_of, used_between
from services.loadtest.watching import Watch
from services.projections.reader import Views
from services.settings import Durability
from services.wiring import CONTROLLERS, edges_of, open_log

AT_ONCE = 100
"""Sets changed by one batch."""
CALM_SECONDS = 20.0

T = TypeVar("T")
Changes = Callable[[], Sequence[Change]]
Progress = Callable[[str, int, int], None]
"""Is told the phase, how many sets are not settled yet, and the events so far."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do. `timeout` (seconds) bounds all of its phases together; the cluster lives inside `place`."""

    workers: int
    sets: int
    replicas: int
    nodes: int
    scenario: Scenario = Scenario.MIXED
    timeout: float = 300.0
    durability: Durability = Durability.ALWAYS
    place: Path = Path()


@dataclass(frozen=True, slots=True)
class Pace:
    """How a phase went: pods made or ended in it, events, seconds."""

    phase: str
    pods: int
    events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    hop          append to start of reconcile, milliseconds
    processes    name -> CPU seconds and wakes over the phases, PSS at the end
    servers      name -> (bytes of memory, commands for each event)
    conflicts    commits that another writer was faster than, of all workers
    problems     what did not converge or is not the same everywhere; empty: the run has passed
    load         load average of the machine when it began
    """

    plan: Plan
    paces: tuple[Pace, ...]
    hop: Spread
    processes: dict[str, Usage]
    servers: dict[str, tuple[int, float]]
    conflicts: int
    problems: tuple[str, ...]
    load: float


def run(plan: Plan, progress: Progress, tamper: Callable[[Running], None] = lambda _: None) -> Result:
    """Carry a plan out. `tamper` is called before the checks (tests damage something there).

    Raises Unavailable where the cluster does not start, or one of its programs has ended.
    """
    load = load_average()
    with running_cluster(Shape(plan.workers, plan.nodes, plan.durability), plan.place) as cluster:
        driver = _Driver(plan, cluster)
        try:
            before = driver.usage()
            problems = driver.play(progress)
            after = driver.usage()
            if not problems:
                progress("checking", 0, driver.watch.events)
                tamper(cluster)
                problems = driver.check()
            hop = driver.hop()
        finally:
            driver.close()
        cluster.end()
        conflicts = _conflicts(cluster)
    return Result(
        plan,
        tuple(driver.paces),
        hop,
        used_between(before.processes, after.processes),
        _served(before, after, sum(pace.events for pace in driver.paces)),
        conflicts,
        tuple(problems),
        load,
    )


@dataclass(frozen=True, slots=True)
class _Used:
    processes: dict[str, Usage]
    commands: dict[str, int]
    memory: dict[str, int]


class _Until(NamedTuple):
    deadline: float
    progress: Progress


class _Driver:
    """Does to the sets what the plan says, and follows what comes of it."""

    def __init__(self, plan: Plan, cluster: Running) -> None:
        settings = cluster.settings
        self.paces: list[Pace] = []
        self._plan = plan
        self._cluster = cluster
        self._log: Log = open_log(settings, "loadtest")
        self.watch = Watch(self._log)
        self._queue = connect(settings.queue_url, "loadtest")
        self._server = connect(settings.log_url, "loadtest")
        self._views = Views(self._queue, settings.cluster)
        self._broker = StreamsBroker(self._queue, Keys(settings.cluster), middleware=[])
        self._broker.declare_queue("hints")
        self._committer = Committer(self._log, self.watch.replica, self._catch_up, edges_of(settings))

    def play(self, progress: Progress) -> list[str]:
        """Go through all phases; return what did not settle within the plan's time."""
        plan, watch = self._plan, self.watch
        until = _Until(time.monotonic() + plan.timeout, progress)
        keys = [key_of_set(f"load-{index}") for index in range(plan.sets)]
        created = creations(plan.sets, plan.replicas, plan.scenario)
        watch.await_settled(keys)
        batches: list[Changes] = [partial(list, chunk) for chunk in _chunks(created)]
        left = self._timed("create", plan.sets * plan.replicas, batches, until)
        for phase in phases(plan.replicas):
            if left:
                break
            chosen = keys[:: phase.every]
            (watch.await_gone if phase.deletes else watch.await_settled)(chosen)
            pods = len(chosen) * phase.pods(plan.replicas)
            batches = [partial(self._changes, phase, chunk) for chunk in _chunks(chosen)]
            left = self._timed(phase.name, pods, batches, until)
        if left:
            return [f"{self.paces[-1].phase}: {len(left)} sets are not settled, the first is {left[0]}"]
        if not wait_until_calm(self._log, self._is_idle, CALM_SECONDS):
            return [f"the cluster does not come to rest within {CALM_SECONDS:.0f} s"]
        return []

    def check(self) -> list[str]:
        """Return how replay, projections, live replica and heads differ."""
        return differences(self._log, self._server, self._views, self.watch)

    def hop(self) -> Spread:
        """Return how long it took from each append to the beginning of the reconcile that it called for."""
        calls = calls_of(events_between(self._log, 0, self._log.last()), CONTROLLERS)
        epoch = time.time_ns() - time.monotonic_ns()
        return spread(hops(calls, beginnings(self._cluster.trace), epoch))

    def usage(self) -> _Used:
        """Return what every process and server has used so far."""
        processes = {}
        for name, pid in self._cluster.pids.items():
            try:
                processes[name] = usage_of(pid)
            except OSError as error:
                raise Unavailable(f"{name} has ended while it was measured") from error
        servers = {"log": server_of(self._server), "queue": server_of(self._queue)}
        commands = {name: server.commands for name, server in servers.items()}
        return _Used(processes, commands, {name: server.memory for name, server in servers.items()})

    def close(self) -> None:
        """Let go of the cluster."""
        self.watch.stop()
        self._log.close()
        self._queue.close()
        self._server.close()

    def _timed(self, name: str, pods: int, batches: Iterable[Changes], until: _Until) -> Sequence[Key]:
        begun, events = time.monotonic(), self.watch.events
        for changes in batches:
            self._commit(changes)
        left = self.watch.wait(until.deadline, lambda sets, count: until.progress(name, sets, count))
        self.paces.append(Pace(name, pods, self.watch.events - events, time.monotonic() - begun))
        return left

    def _changes(self, phase: Phase, keys: Sequence[Key]) -> list[Change]:
        now = wall_clock()
        found = (self.watch.replica.get(key) for key in keys)
        return [phase.change(obj, now) for obj in found if obj is not None]

    def _commit(self, changes: Changes) -> None:
        """Commit changes to several sets at once; decided again where one has moved."""
        intent = Intent(Actor("socket:loadtest", "socket", "user:loadtest"), uuid.uuid4().hex)
        self._committer.commit(lambda: Proposal(changes()), intent)

    def _catch_up(self, position: Position) -> None:
        if not self.watch.replica.wait_for(position, 10):
            raise Unavailable("the load test's own replica does not keep up with the log")

    def _is_idle(self) -> bool:
        depth = self._broker.depth("hints")
        return depth.ready + depth.pending + depth.delayed == 0


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


def _served(before: _Used, after: _Used, events: int) -> dict[str, tuple[int, float]]:
    return {
        name: (after.memory[name], (count - before.commands[name]) / max(1, events))
        for name, count in after.commands.items()
    }


def _conflicts(cluster: Running) -> int:
    """Return what the workers said when they ended. Call it after that."""
    logs = (cluster.settings.data_dir / "logs").glob("worker*.log")
    lines = (
        json.loads(line) for path in logs for line in path.read_text().splitlines() if line.startswith("{")
    )
    return sum(line.get("conflicts", 0) for line in lines if line.get("event") == "worker ended")
