"""The commands that start, stop, join and examine a cluster. Their work is done elsewhere; here is what they take."""

from __future__ import annotations

import os
import shlex
from typing import Annotated

import typer

from services.cli.options import DataDir, WriteFormat, WriteOutput
from services.cli.streams import show_json
from services.cli.tables import printable
from services.settings import exports, joined, settings_from, shown_path


def env(data_dir: DataDir = None) -> None:
    """Print the variables by which another terminal or program joins a running cluster.

    \b
    Example:
      eval "$(chronoset env)"
      redis-cli -s "$CHRONOSET_LOG_SOCKET" XLEN '{chronoset}:log'
    """
    for name, value in exports(joined(settings_from(os.environ, data_dir))).items():
        print(f"export {name}={shlex.quote(value)}")


def down(
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Delete the data directory as well.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Stop the cluster of a data directory: no process and no socket is left.

    \b
    Example:
      chronoset down
      chronoset down --delete-data --data-dir /tmp/demo
    """
    from services.shutdowns import end_cluster

    settings = settings_from(os.environ, data_dir)
    was_running = end_cluster(settings, delete_data)
    place = shown_path(settings.data_dir)
    print(f"stopped the cluster in {place}" if was_running else f"no cluster was running in {place}")
    if delete_data:
        print(f"deleted {place}")


def doctor(output: WriteFormat = WriteOutput.TABLE, data_dir: DataDir = None) -> None:
    """Say what is wrong with this machine, or with the cluster that runs on it. Exit code 1 where something is.

    \b
    Example:
      chronoset doctor
      chronoset doctor -o json
    """
    from services.doctor import as_json, examine
    from services.doctor.findings import Level

    found = examine(settings_from(os.environ, data_dir))
    if output is WriteOutput.JSON:
        show_json(as_json(found))
    else:
        for finding in found:
            advice = f": {finding.do}" if finding.do else ""
            print(printable(f"{finding.level.value:<8} {finding.what}{advice}"))
    if any(finding.level is Level.ERROR for finding in found):
        raise typer.Exit(1)
