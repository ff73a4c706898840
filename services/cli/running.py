"""The programs one by one, for a supervisor of one's own: compose, systemd, Kubernetes. And what creates their log."""

from __future__ import annotations

import os
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from schemas.positions import stream_id_of
from services.cli.options import DataDir
from services.settings import Settings, checked_port, joined, settings_from


class ProgramName(StrEnum):
    """What can be run on its own."""

    DISPATCHER = "dispatcher"
    WORKER = "worker"
    PROJECTOR = "projector"
    HISTORIAN = "historian"
    API = "api"


def run(
    program: Annotated[ProgramName, typer.Argument(metavar="PROGRAM", help=", ".join(ProgramName))],
    health_file: Annotated[
        Path | None,
        typer.Option("--health-file", metavar="FILE", help="Touched each second while the log answers."),
    ] = None,
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="PORT", help="Serve its metrics for Prometheus there.")
    ] = "",
    data_dir: DataDir = None,
) -> None:
    """Run one program in the foreground, for a supervisor of your own; its log goes to stdout as JSON lines.

    Where the log and the queue are, the environment says (CHRONOSET_LOG_URL, CHRONOSET_QUEUE_URL). SIGTERM ends it in
    good order. It ends with 70 where history is lost, and with another code than 0 where it cannot go on: start it
    again. Several of each may run. A node's agent joins over the API: `chronoset agent join`.

    \b
    Example:
      chronoset run worker
      chronoset run api --data-dir /var/lib/chronoset
    """
    from services.programs import run_in_foreground

    settings = joined(settings_from(os.environ, data_dir))
    if metrics:
        settings = replace(settings, metrics_port=checked_port(metrics, "--metrics"))
    settings = replace(settings, health_file=health_file or settings.health_file)
    raise typer.Exit(run_in_foreground(partial(_run_alone, program.value), program.value, settings))


def init(
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on with a log that has lost its last events.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Create the log of a cluster where there never was one, with its first objects; otherwise change nothing.

    For clusters without `up`, before the first `run`. It refuses a log server that could forget, and (70) a log that
    is gone, another, or shorter than the data directory remembers.

    \b
    Example:
      chronoset init --data-dir /var/lib/chronoset
    """
    from services.wiring import open_log, prepare

    settings = joined(settings_from(os.environ, data_dir))
    prepare(settings, accepts_loss=accept_loss)
    log = open_log(settings, "init")
    print(f"log {log.log_id()} of cluster {settings.cluster} ends at {stream_id_of(log.last())}")
    log.close()


def _run_alone(name: str, settings: Settings) -> None:
    """Run a program. What it needs is imported here, so that a signal to end is heeded meanwhile."""
    from services.standalone import run_alone

    run_alone(name, settings)
