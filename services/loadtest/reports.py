"""A run as tables for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from services.cli.tables import table
from services.loadtest.runs import Result

_MB = 1 << 20


def report(results: Sequence[Result]) -> str:
    """Return the runs, one after another, as text."""
    return "\n\n".join("\n".join(_lines(result)) for result in results)


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the runs as JSON values; times in seconds but for `hop` (ms), memory in bytes."""
    return [
        {
            **asdict(result),
            "plan": {**asdict(result.plan), "place": str(result.plan.place)},
            "hop": result.hop._asdict(),
            "processes": {name: usage._asdict() for name, usage in result.processes.items()},
            "servers": {
                name: {"memory": memory, "commands_per_event": commands}
                for name, (memory, commands) in result.servers.items()
            },
            "passed": not result.problems,
        }
        for result in results
    ]


def _lines(result: Result) -> Iterator[str]:
    plan = result.plan
    yield (
        f"{plan.workers} worker{'s' if plan.workers > 1 else ''}, {plan.sets} sets ({plan.scenario}) of "
        f"{plan.replicas} on {plan.nodes} nodes, {plan.durability}; load average {result.load:.2f} at the start"
    )
    yield ""
    yield table(("PHASE", "PODS", "EVENTS", "SECONDS", "EVENTS/S", "PODS/S", "MS/POD"), _paces(result))
    yield ""
    events = max(1, sum(pace.events for pace in result.paces))
    rows = [
        (
            name,
            f"{usage.cpu:.2f}",
            f"{usage.cpu / events * 1e6:.0f}",
            f"{usage.wakes / events:.1f}",
            _mb(usage.pss),
        )
        for name, usage in result.processes.items()
    ]
    yield table(("PROCESS", "CPU S", "US/EVENT", "WAKES/EVENT", "PSS MB"), rows)
    yield ""
    served = [(name, _mb(memory), f"{commands:.1f}") for name, (memory, commands) in result.servers.items()]
    yield table(("SERVER", "MEMORY MB", "COMMANDS/EVENT"), served)
    yield ""
    hop = result.hop
    yield (
        f"hop, append to start of reconcile: p50 {hop.p50:.1f} ms, p90 {hop.p90:.1f} ms, p99 {hop.p99:.1f} ms "
        f"({hop.samples} hops, to the millisecond); {result.conflicts} conflicts"
    )
    for problem in result.problems:
        yield f"FAILED: {problem}"
    if not result.problems:
        yield "converged; replay, projections, live replica and heads are the same"


def _paces(result: Result) -> Iterator[tuple[str, ...]]:
    for pace in result.paces:
        seconds = max(pace.seconds, 1e-9)
        yield (
            pace.phase,
            str(pace.pods),
            str(pace.events),
            f"{pace.seconds:.2f}",
            f"{pace.events / seconds:.0f}",
            f"{pace.pods / seconds:.0f}",
            f"{pace.seconds / max(1, pace.pods) * 1000:.1f}",
        )


def _mb(size: int) -> str:
    return f"{size / _MB:.1f}"
