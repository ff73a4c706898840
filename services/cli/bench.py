"""`chronoset bench`: the floors of this machine, and Chronoset against them and against what was promised."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from schemas.errors import BadRequest
from services.cli.options import WriteFormat, WriteOutput, count_from
from services.cli.streams import show_json
from services.settings import settings_from


def bench(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="append, fold, history, reconcile, daemonset, growth, api, broker, ordered or idle; repeatable.",
        ),
    ] = None,
    events: Annotated[
        int, typer.Option(parser=count_from(10_000), metavar="N", help="The length of the log of history.")
    ] = 200_000,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Exit with 0 whatever was measured.")] = False,
    output: WriteFormat = WriteOutput.TABLE,
) -> None:
    """Measure this machine and Chronoset on it. Exit code 1 where a gate is missed.

    A gate holds where its limit is met or, on a machine with other floors, its ratio to the floor.

    \b
    Example:
      chronoset bench
      chronoset bench --only append --only ordered
      chronoset bench --only history --events 10000000
    """
    from services.bench.floors import measure
    from services.bench.gates import Reading, as_json, is_met, report
    from services.bench.lines import PARTS, Ground
    from services.bench.worlds import history
    from services.loadtest.clusters import place_beside
    from services.loadtest.usage import interpreter

    chosen = only or list(PARTS)
    for name in chosen:
        if name not in PARTS:
            raise BadRequest(f"--only: {name!r} is unknown; write one of {', '.join(PARTS)}")
    place = place_beside(settings_from(os.environ).data_dir)
    load = os.getloadavg()
    entries = history(20, 50)
    floors = measure(place, entries)
    floor_line = (
        f"floors: {floors.pings:,.0f} PING/s, fdatasync p50 {1000 * floors.fdatasync:.2f} ms, "
        f"{floors.folds:,.0f} no-op folds/s; {os.cpu_count()} cores, {interpreter()}, load average "
        f"{load[0]:.2f} before"
    )
    print(floor_line, file=sys.stdout if output is WriteOutput.TABLE else sys.stderr, flush=True)
    readings: list[Reading] = []
    for name in chosen:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        readings += PARTS[name](Ground(place, entries, events))
    if output is WriteOutput.JSON:
        known = {"pings": floors.pings, "fdatasync": floors.fdatasync, "folds": floors.folds, "load": load[0]}
        show_json({"floors": known, "readings": as_json(readings, floors)})
    else:
        print(report(readings, floors))
    if not no_gate and not all(is_met(reading, floors) for reading in readings):
        raise typer.Exit(1)
