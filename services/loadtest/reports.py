"""A run as tables for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from schemas.counts import counted
from services.cli.tables import table
from services.loadtest.comparisons import Row
from services.loadtest.runs import Result
from services.loadtest.sampling import Sample
from services.loadtest.statistics import Spread, spread
from services.loadtest.usage import interpreter

_MB = 1 << 20


def report(results: Sequence[Result]) -> str:
    """Return the runs, one after another, as text."""
    return "\n\n".join("\n".join(_lines(result)) for result in results)


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the runs as JSON values; times in seconds but for latencies and lags (ms), memory in bytes."""
    return [
        {
            "plan": {**asdict(result.plan), "place": str(result.plan.place)},
            "load": result.load,
            "passed": not result.problems,
            "problems": list(result.problems),
            "paces": [asdict(pace) for pace in result.paces],
            "latencies": {name: each._asdict() for name, each in result.latencies.spreads().items()},
            "processes": {name: usage._asdict() for name, usage in result.processes.items()},
            "servers": {
                name: {"memory": memory, "commands_per_event": commands}
                for name, (memory, commands) in result.servers.items()
            },
            "lags": {name: each._asdict() for name, each in lags(result.samples).items()},
            "queue_depth": depths(result.samples)._asdict(),
            "conflicts": result.conflicts,
            "retries": result.retries,
            "killed": dict(result.killed),
            "restarts": dict(result.restarts),
            "samples": [asdict(sample) for sample in result.samples],
        }
        for result in results
    ]


def headline(result: Result) -> str:
    """Return what was run, in a sentence."""
    plan, profile = result.plan, result.plan.profile
    daemons = f", {counted(profile.daemonsets, 'DaemonSet')}" if profile.daemonsets else ""
    sets = f"{counted(profile.sets, 'set')} ({profile.scenario}) of {profile.replicas}{daemons}"
    return (
        f"{counted(plan.workers, 'worker')}, profile {profile.name}: {sets} on {counted(profile.nodes, 'node')}, "
        f"{plan.durability}; {interpreter()}; load average {result.load:.2f} at the start"
    )


def verdict(result: Result) -> list[str]:
    """Return what was wrong, a sentence each, or that all is well."""
    if result.problems:
        return [f"FAILED: {problem}" for problem in result.problems]
    return ["converged; nothing was done twice; replay, projections, live replica and heads are the same"]


def lags(samples: Iterable[Sample]) -> dict[str, Spread]:
    """Return how far each program was behind, in milliseconds."""
    found: dict[str, list[float]] = {}
    for sample in samples:
        for name, lag in sample.lags.items():
            found.setdefault(name, []).append(lag)
    return {name: spread(values) for name, values in sorted(found.items())}


def depths(samples: Iterable[Sample]) -> Spread:
    """Return how many hints there were."""
    return spread(float(sample.depth) for sample in samples)


def events_of(result: Result) -> int:
    """Return how many events there were in all phases."""
    return sum(pace.events for pace in result.paces)


def sections(result: Result) -> list[tuple[Sequence[str], list[tuple[str, ...]]]]:
    """Return a run's tables: header and rows of each."""
    latencies = {**{f"{name}, ms": each for name, each in result.latencies.spreads().items()}}
    behind = {f"lag of {name}, ms": each for name, each in lags(result.samples).items()}
    depth = {"queue depth": depths(result.samples)} if result.samples else {}
    return [
        (("PHASE", "PODS", "EVENTS", "SECONDS", "EVENTS/S", "PODS/S", "MS/POD"), list(_paces(result))),
        (("WHAT", "P50", "P90", "P99", "P99.9", "SAMPLES"), _spreads({**latencies, **behind, **depth})),
        (("PROCESS", "CPU S", "US/EVENT", "WAKES/EVENT", "PSS MB"), list(_processes(result))),
        (
            ("SERVER", "MEMORY MB", "COMMANDS/EVENT"),
            [(name, _mb(memory), f"{commands:.1f}") for name, (memory, commands) in result.servers.items()],
        ),
        *([(("KILLED", "BACK AFTER S"), list(_restarts(result)))] if result.restarts else []),
    ]


def compared(found: Mapping[Row, Sequence[float]]) -> list[tuple[str, ...]]:
    """Return the rows of a comparison with Kubernetes, judged by the median of what was found."""
    return [
        (
            row.name,
            f"{median(values):.2f}",
            f"{min(values):.2f}-{max(values):.2f}" if len(values) > 1 else "",
            row.unit,
            f"{row.must:g}",
            f"{row.aim:g}",
            row.unlimited,
            row.default,
            _judged(row, median(values)),
        )
        for row, values in found.items()
    ]


COMPARED = ("SCENARIO", "OURS", "FROM-TO", "UNIT", "MUST", "AIM", "KUBERNETES, LIMITS OFF", "AS IT COMES", "")


def _judged(row: Row, value: float) -> str:
    return "aim" if value <= row.aim else "ok" if value <= row.must else "MISSED"


def _lines(result: Result) -> Iterator[str]:
    yield headline(result)
    for header, rows in sections(result):
        yield ""
        yield table(header, rows)
    yield ""
    killed = sum(result.killed.values())
    yield f"{counted(result.conflicts, 'conflict')}, {result.retries} retries" + (
        f", {counted(killed, 'worker')} killed" if killed else ""
    )
    yield from verdict(result)


def _spreads(spreads: Mapping[str, Spread]) -> list[tuple[str, ...]]:
    return [
        (name, *(f"{value:.1f}" for value in each[:4]), str(each.samples)) for name, each in spreads.items()
    ]


def _processes(result: Result) -> Iterator[tuple[str, ...]]:
    events = max(1, events_of(result))
    for name, usage in result.processes.items():
        yield (
            name,
            f"{usage.cpu:.2f}",
            f"{usage.cpu / events * 1e6:.0f}",
            f"{usage.wakes / events:.1f}",
            _mb(usage.pss),
        )


def _paces(result: Result) -> Iterator[tuple[str, ...]]:
    for pace in result.paces:
        seconds = max(pace.seconds, 1e-9)
        yield (
            pace.phase,
            str(pace.pods) if pace.pods else "-",
            str(pace.events),
            f"{pace.seconds:.2f}",
            f"{pace.events / seconds:.0f}",
            f"{pace.pods / seconds:.0f}" if pace.pods else "-",
            f"{pace.seconds / pace.pods * 1000:.1f}" if pace.pods else "-",
        )


def _restarts(result: Result) -> Iterator[tuple[str, ...]]:
    for name, seconds in result.restarts.items():
        yield name, f"{seconds:.1f}"


def _mb(size: int) -> str:
    return f"{size / _MB:.1f}"
