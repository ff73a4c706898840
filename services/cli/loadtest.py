"""`chronoset loadtest`: how much a control plane does on this machine, and that nothing is wrong afterwards."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import BadRequest
from services.cli.moments import parse_duration
from services.cli.options import WriteFormat, WriteOutput, count_from
from services.cli.streams import show_json
from services.loadtest.sets import Scenario
from services.settings import Durability, settings_from

if TYPE_CHECKING:
    from services.loadtest.runs import Progress

MOST_WORKERS, MOST_PODS, MOST_NODES = 64, 50_000, 5_000
TOLD_EVERY = 1.0


def loadtest(
    workers: Annotated[
        str, typer.Option(metavar="N,N...", help="Sizes of the worker pool; one run for each.")
    ] = "1,2",
    sets: Annotated[int, typer.Option(parser=count_from(1), metavar="N", help="StatefulSets.")] = 20,
    replicas: Annotated[int, typer.Option(parser=count_from(1), metavar="N", help="Pods in each.")] = 5,
    nodes: Annotated[int, typer.Option(parser=count_from(1), metavar="N", help="Simulated nodes.")] = 10,
    scenario: Annotated[Scenario, typer.Option(help="Which pod management the sets have.")] = Scenario.MIXED,
    durability: Annotated[
        Durability, typer.Option(help="When the log's server calls fsync.")
    ] = Durability.ALWAYS,
    timeout: Annotated[
        float, typer.Option(parser=parse_duration, metavar="TIME", help="The longest that a run may take.")
    ] = "5m",  # type: ignore[assignment]
    output: WriteFormat = WriteOutput.TABLE,
) -> None:
    """Create, roll, scale and delete StatefulSets on simulated nodes, on a cluster of its own, which goes with it.

    Ends by checking that a replay of the log equals the projections and a live replica; exit code 1 where not.

    \b
    Example:
      chronoset loadtest --workers 1,2 --sets 50 --replicas 10
    """
    from services.loadtest.clusters import place_beside
    from services.loadtest.reports import as_json, report
    from services.loadtest.runs import Plan, Result, run

    pools = _pools(workers)
    if sets * replicas > MOST_PODS:
        raise BadRequest(
            f"--sets, --replicas: {sets * replicas} pods are too many; at most {MOST_PODS} in all"
        )
    if nodes > MOST_NODES:
        raise BadRequest(f"--nodes: {nodes} is out of range; write a number from 1 to {MOST_NODES}")
    place = place_beside(settings_from(os.environ).data_dir)
    results: list[Result] = []
    for pool in pools:
        with _progress(pool) as progress:
            plan = Plan(pool, sets, replicas, nodes, scenario, timeout, durability, place)
            results.append(run(plan, progress))
        if output is WriteOutput.TABLE:
            print(report(results[-1:]), end="\n\n", flush=True)
    if output is WriteOutput.JSON:
        show_json(as_json(results))
    if any(result.problems for result in results):
        raise typer.Exit(1)


def _pools(text: str) -> list[int]:
    pools = [int(part) if part.isascii() and part.isdecimal() else 0 for part in text.split(",")]
    if not all(1 <= pool <= MOST_WORKERS for pool in pools):
        raise BadRequest(f"--workers: {text!r}: write numbers from 1 to {MOST_WORKERS}, as 1,2,4")
    return pools


@contextmanager
def _progress(workers: int) -> Iterator[Progress]:
    """Show on stderr how far a run is: one line that changes on a terminal, else a line a second and a phase."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("starting a cluster") as status:
            yield lambda phase, sets, events: status.update(_sentence(workers, phase, sets, events))
        return
    told, last = 0.0, ""

    def tell(phase: str, sets: int, events: int) -> None:
        nonlocal told, last
        if phase != last or time.monotonic() - told >= TOLD_EVERY:
            told, last = time.monotonic(), phase
            print(_sentence(workers, phase, sets, events), file=sys.stderr, flush=True)

    yield tell


def _sentence(workers: int, phase: str, sets: int, events: int) -> str:
    pool = "1 worker" if workers == 1 else f"{workers} workers"
    return f"{pool}, {phase}: {sets} sets to go, {events} events"
