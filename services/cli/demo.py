"""`chronoset demo`: the story of a StatefulSet and of a DaemonSet, played on real processes."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.options import DataDir


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running at the end.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Play the story of a StatefulSet and of a DaemonSet on real processes, and check what is observed.

    It starts a cluster of its own, in a temporary directory unless --data-dir names a new one, and stops it at the
    end; so it does with a second one, whose nodes wait for their network. Exit code 1 where an observation is not as
    it should be.

    \b
    Example:
      chronoset demo
      chronoset demo --keep --data-dir ./demo
    """
    from services.demo.performances import perform

    perform(data_dir, keep)
