"""`chronoset loadtest`: how much a control plane does on this machine, and that nothing is wrong afterwards."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.counts import counted
from schemas.errors import BadRequest
from services.cli.moments import parse_duration
from services.cli.options import WriteFormat, WriteOutput, count_from
from services.cli.streams import aside, show_json
from services.cli.tables import table
from services.loadtest.profiles import MOST_NODES, MOST_WORKERS, Profile, checked, profile_of
from services.loadtest.sets import Scenario
from services.settings import Durability, settings_from

if TYPE_CHECKING:
    from services.loadtest.comparing import Compared
    from services.loadtest.runs import Progress, Result

TOLD_EVERY = 1.0
MOST_KILLS = 5.0


class Table(StrEnum):
    """What ours can be compared with."""

    KUBERNETES = "kubernetes"


def loadtest(
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME|FILE", help="What to do (default: default).")
    ] = "default",
    workers: Annotated[
        str, typer.Option(metavar="N,N...", help="Sizes of the worker pool; one run for each.")
    ] = "",
    sets: Annotated[
        int | None, typer.Option(parser=count_from(1), metavar="N", help="StatefulSets, instead.")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(parser=count_from(1), metavar="N", help="Pods in each, instead.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(parser=count_from(1), metavar="N", help="Simulated nodes, instead.")
    ] = None,
    scenario: Annotated[
        Scenario | None, typer.Option(help="Which pod management the sets have, instead.")
    ] = None,
    durability: Annotated[
        Durability, typer.Option(help="When the log's server calls fsync.")
    ] = Durability.ALWAYS,
    timeout: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="TIME", help="The longest that a run may take, instead."),
    ] = None,
    kill_workers: Annotated[
        float, typer.Option("--kill-workers", metavar="RATE", help="Kill workers, so many a second.")
    ] = 0.0,
    against: Annotated[
        Table | None, typer.Option("--table", help="Measure Kubernetes' scenarios, beside its numbers.")
    ] = None,
    over_api: Annotated[
        bool,
        typer.Option("--nodes-over-api", help="With --table: nodes and driver are clients of the HTTP API."),
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page with plots as well.")
    ] = None,
    output: WriteFormat = WriteOutput.TABLE,
) -> None:
    """Put a cluster of its own, on simulated nodes of this machine, under load; it goes with the test.

    A profile says what is done: default, quick, pools, churn, scale, or a YAML file. It ends by checking that all has
    converged, nothing was done twice and a replay of the log equals projections and live replica; if not, with 1.

    \b
    Example:
      chronoset loadtest --profile pools --workers 1,2 --html pools.html
      chronoset loadtest --profile churn --kill-workers 0.5
      chronoset loadtest --table kubernetes --nodes-over-api
    """
    from services.loadtest.clusters import place_beside

    place = place_beside(settings_from(os.environ).data_dir)
    _check_html(html)
    if against is not None:
        _compare(_pools(workers or "2"), over_api, durability, place, html, output)
        return
    if over_api:
        raise BadRequest("--nodes-over-api: is for --table kubernetes only; add that, or leave this out")
    chosen = _fitted(profile_of(profile), sets, replicas, nodes, scenario, timeout)
    pools = _pools(workers) if workers else list(chosen.workers)
    if not 0 <= kill_workers <= MOST_KILLS:
        raise BadRequest(f"--kill-workers: {kill_workers:g}: write a number from 0 to {MOST_KILLS:g}")
    _run(chosen, pools, (kill_workers, durability, place), html, output)


def _run(
    profile: Profile,
    pools: Sequence[int],
    rest: tuple[float, Durability, Path],
    html: Path | None,
    output: WriteOutput,
) -> None:
    from services.loadtest.pages import page
    from services.loadtest.reports import as_json, report
    from services.loadtest.runs import Plan, run

    results: list[Result] = []
    for pool in pools:
        with _progress(pool) as progress:
            results.append(run(Plan(pool, profile, *rest), progress))
        if output is WriteOutput.TABLE:
            print(report(results[-1:]), end="\n\n", flush=True)
        if html:
            html.write_text(page(results))
    if output is WriteOutput.JSON:
        show_json(as_json(results))
    if html:
        aside(f"wrote {html}")
    if any(result.problems for result in results):
        raise typer.Exit(1)


def _compare(
    pools: Sequence[int],
    over_api: bool,
    durability: Durability,
    place: Path,
    html: Path | None,
    output: WriteOutput,
) -> None:
    """Measure once for each pool; exit code 1 where a must is missed, or something differs afterwards."""
    from services.loadtest.comparing import Comparison, compare
    from services.loadtest.pages import comparison_page

    failed, shown, pages = False, [], []
    for pool in pools:
        result = compare(Comparison(pool, over_api, durability, place), _tell)
        shown.append(_as_json(result))
        pages.append(comparison_page(result.found, _about(result)))
        if output is WriteOutput.TABLE:
            print(_compared(result), flush=True)
        failed = (
            failed or bool(result.problems) or any(each > row.must for row, each in result.values.items())
        )
    if output is WriteOutput.JSON:
        show_json(shown)
    if html:
        html.write_text(pages[-1])
        aside(f"wrote {html}")
    if failed:
        raise typer.Exit(1)


def _compared(result: Compared) -> str:
    from services.loadtest.reports import COMPARED, compared

    used = result.cpu
    programs = list(dict.fromkeys(name for cpu in used.values() for name in cpu))
    costs = [
        (row.name, *(f"{cpu.get(name, 0):.0f}" for name in programs), f"{sum(cpu.values()):.0f}")
        for row, cpu in used.items()
    ]
    memory = ", ".join(f"{name} {size:.0f}" for name, size in result.memory.items())
    end = [f"FAILED: {each}" for each in result.problems] or [
        "replay, projections, live replica and heads are the same"
    ]
    return "\n".join(
        [
            _about(result),
            "",
            table(COMPARED, compared(result.found)),
            "",
            table(("CPU, US A POD OR SET", *(name.upper() for name in programs), "ALL"), costs),
            "",
            f"PSS in MB: {memory}",
            *end,
            "",
        ]
    )


def _about(result: Compared) -> str:
    from services.loadtest.usage import interpreter

    plan = result.plan
    nodes = "nodes and driver over the HTTP API" if plan.over_api else "simulated nodes inside, no API"
    pool, load = counted(plan.workers, "worker"), f"load average {result.load:.2f} at the start"
    return f"500 nodes, {pool}, {plan.durability}; {nodes}; {interpreter()}; {load}"


def _as_json(result: Compared) -> dict[str, Any]:
    plan = {**asdict(result.plan), "place": str(result.plan.place)}
    cpu = result.cpu
    rows = [
        {**asdict(row), "value": value, "found": result.found[row], "cpu_us": cpu.get(row, {})}
        for row, value in result.values.items()
    ]
    return {
        "plan": plan,
        "load": result.load,
        "rows": rows,
        "memory_mb": result.memory,
        "problems": result.problems,
    }


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _fitted(
    profile: Profile,
    sets: int | None,
    replicas: int | None,
    nodes: int | None,
    scenario: Scenario | None,
    timeout: float | None,
) -> Profile:
    """Return the profile with what was written beside it. Raises BadRequest."""
    if nodes is not None and nodes > MOST_NODES:
        raise BadRequest(f"--nodes: {nodes} is out of range; write a number from 1 to {MOST_NODES}")
    given: dict[str, Any] = {
        "sets": sets,
        "replicas": replicas,
        "nodes": nodes,
        "scenario": scenario,
        "timeout": timeout,
    }
    return checked(replace(profile, **{name: value for name, value in given.items() if value is not None}))


def _check_html(path: Path | None) -> None:
    """Raise BadRequest where no page can be written, before anything is measured."""
    if path is None:
        return
    try:
        path.touch()
    except OSError as error:
        raise BadRequest(f"--html: {path} cannot be written: {error.strerror}") from error


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
            _tell(_sentence(workers, phase, sets, events))

    yield tell


def _sentence(workers: int, phase: str, sets: int, events: int) -> str:
    return f"{counted(workers, 'worker')}, {phase}: {counted(sets, 'set')} to go, {counted(events, 'event')}"
