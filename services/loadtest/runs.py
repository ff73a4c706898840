"""One run of the load test: carry a profile out on a cluster of its own, measure, and check."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from events.replay import events_between
from services.loadtest.clusters import Running, Shape, running_cluster
from services.loadtest.driving import Driver, Pace
from services.loadtest.hops import calls_of, hops
from services.loadtest.kills import Killer, pids_of
from services.loadtest.lifetimes import done_twice, lifetimes
from services.loadtest.profiles import Profile
from services.loadtest.restarts import restart_all
from services.loadtest.sampling import Sample, Sampler
from services.loadtest.statistics import Moment, Spread, spread
from services.loadtest.traces import beginnings
from services.loadtest.usage import Usage, load_average, usage_of, used_between
from services.settings import Durability
from services.wiring import CONTROLLERS

Progress = Callable[[str, int, int], None]
"""Is told the phase, how many sets are not settled yet, and the events so far."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do. `kills`: workers killed a second, on average; the cluster lives inside `place`."""

    workers: int
    profile: Profile
    kills: float = 0.0
    durability: Durability = Durability.ALWAYS
    place: Path = Path()


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long things took: (seconds since the beginning, milliseconds) each.

    hop      append to start of the reconcile that it called for
    ready    a pod's creation to Ready
    gone     the wish that a pod ends to its end
    settled  a set's change to its rest (end to end)
    write    a change in the churn, until it is accepted
    """

    hop: list[Moment] = field(default_factory=list)
    ready: list[Moment] = field(default_factory=list)
    gone: list[Moment] = field(default_factory=list)
    settled: list[Moment] = field(default_factory=list)
    write: list[Moment] = field(default_factory=list)

    def spreads(self) -> dict[str, Spread]:
        """Return the percentiles of each, of those that were measured."""
        sources = {
            "hop": self.hop,
            "pod Ready": self.ready,
            "pod gone": self.gone,
            "set settled": self.settled,
            "write in churn": self.write,
        }
        return {name: spread(value for _, value in found) for name, found in sources.items() if found}


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    processes    name -> CPU seconds and wakes over the phases, PSS at the end
    servers      name -> (bytes of memory, commands for each event)
    conflicts    commits that another writer was faster than, of the workers that ended in good order
    retries      looks that failed and were put off
    killed       name -> how often that worker was killed
    restarts     name -> seconds until it was back, of what was killed at the end
    problems     what did not converge, was done twice or is not the same everywhere; empty: the run has passed
    load         load average of the machine when it began
    """

    plan: Plan
    paces: tuple[Pace, ...]
    latencies: Latencies
    samples: tuple[Sample, ...]
    processes: dict[str, Usage]
    servers: dict[str, tuple[int, float]]
    conflicts: int
    retries: int
    killed: Mapping[str, int]
    restarts: Mapping[str, float]
    problems: tuple[str, ...]
    load: float


def run(plan: Plan, progress: Progress, tamper: Callable[[Running], None] = lambda _: None) -> Result:
    """Carry a plan out. `tamper` is called before the checks (tests damage something there).

    Raises Unavailable where the cluster does not start, or one of its programs has ended.
    """
    load = load_average()
    shape = Shape(plan.workers, plan.profile.nodes, plan.durability)
    with running_cluster(shape, plan.place) as cluster:
        driver = Driver(plan.profile, cluster)
        sampler = Sampler(lambda: driver.watch.events, driver.depth, cluster.settings.socket_dir)
        killer = Killer(cluster, plan.kills)
        try:
            driver.wait_for_nodes()
            before, served = usages(cluster), driver.served()
            sampler.start()
            killer.start()
            problems = driver.play(progress)
            killer.stop()
            sampler.stop()
            problems += driver.rest() if not problems else []
            after, served_after = usages(cluster), driver.served()
            restarts = restart_all(cluster, progress) if plan.profile.restarts and not problems else {}
            problems += driver.rest() if restarts else []
            if not problems:
                progress("checking", 0, driver.watch.events)
                tamper(cluster)
                problems = [*driver.check(), *_twice(driver)]
            latencies = _latencies(driver, sampler.begun)
        finally:
            killer.stop()
            sampler.stop()
            driver.close()
        cluster.end({*killer.killed, *restarts})
        conflicts, retries = _told(cluster)
    events = max(1, sum(pace.events for pace in driver.paces))
    return Result(
        plan,
        tuple(driver.paces),
        latencies,
        tuple(sampler.samples),
        _used(before, after, killer.lost),
        {
            name: (now.memory, (now.commands - served[name].commands) / events)
            for name, now in served_after.items()
        },
        conflicts,
        retries,
        dict(killer.killed),
        restarts,
        tuple(problems),
        load,
    )


def usages(cluster: Running) -> dict[str, Usage]:
    """Return what every process of a cluster has used so far, by name; without those that are being started again."""
    found = {}
    for name, pid in pids_of(cluster).items():
        try:
            found[name] = usage_of(pid)
        except OSError:
            continue
    return found


def _used(
    before: Mapping[str, Usage], after: Mapping[str, Usage], lost: Mapping[str, Usage]
) -> dict[str, Usage]:
    none = Usage(0.0, 0, 0)
    whole = {
        name: Usage(used.cpu + lost.get(name, none).cpu, used.wakes + lost.get(name, none).wakes, used.pss)
        for name, used in after.items()
    }
    return used_between(before, whole)


def _twice(driver: Driver) -> list[str]:
    return list(done_twice(events_between(driver.log, 0, driver.log.last())))


def _latencies(driver: Driver, begun: float) -> Latencies:
    """Return what the log, the workers' traces and the driver tell, in seconds since `begun` (time.monotonic)."""
    epoch_ns = time.time_ns() - time.monotonic_ns()
    origin = begun * 1000 + epoch_ns / 1e6

    def since(moments: list[Moment]) -> list[Moment]:
        return [((at - origin) / 1000, took) for at, took in moments if at >= origin]

    end = driver.log.last()
    calls = calls_of(events_between(driver.log, 0, end), CONTROLLERS)
    pods = lifetimes(events_between(driver.log, 0, end))
    settled = [(each.ended - begun, 1000 * (each.ended - each.begun)) for each in driver.watch.settled]
    found = hops(calls, beginnings(driver.trace), epoch_ns)
    return Latencies(since(found), since(pods.ready), since(pods.gone), settled, driver.writes(begun))


def _told(cluster: Running) -> tuple[int, int]:
    """Return conflicts and retries as the workers' logs tell. Call it after they have ended."""
    lines = [line for line in _lines(cluster) if isinstance(line, dict)]
    conflicts = sum(line.get("conflicts", 0) for line in lines if line.get("event") == "worker ended")
    return conflicts, sum(line.get("event") == "will look again" for line in lines)


def _lines(cluster: Running) -> Iterator[object]:
    for path in (cluster.settings.data_dir / "logs").glob("worker*.log"):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)
