"""`chronoset demo`: a performance from the empty directory to the summary, after which nothing is left behind."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from schemas.errors import BadRequest
from services.demo.clusters import Cluster
from services.demo.images import lay_out
from services.demo.plays import SET, Play
from services.demo.stages import Stage
from services.demo.story import STEPS, TAGS, play_all


def perform(data_dir: Path | None, keep: bool) -> None:
    """Play the story on a cluster of its own, which is stopped at the end unless it is to be kept.

    Without `data_dir` it lives in a new temporary directory, which is deleted with it. Raises WrongObservation at the
    first observation that is not as it should be, BadRequest where `data_dir` is not empty.
    """
    begun, stage = time.monotonic(), Stage()
    with _ends_on_sigterm(), _directory(data_dir, keep) as directory:
        cluster = Cluster(directory, keep)
        lay_out(directory / "images", SET, TAGS)
        try:
            stage.note(f"a cluster of 3 nodes in {directory}; every command below is run with")
            stage.command(f"export CHRONOSET_DATA_DIR={directory}", "export KUBECONFIG=...")
            cluster.start()
            with stage.busy("the cluster starts"):
                cluster.wait_until_up()
            stage.note(f"it is up after {time.monotonic() - begun:.1f} s")
            play_all(Play(cluster, stage))
        finally:
            if not keep:
                with _undisturbed(), stage.busy("the cluster stops"):
                    cluster.stop()
            if stage.played:
                stage.summary(STEPS, time.monotonic() - begun)
            if keep and cluster.is_up:
                _say_how_to_talk(stage, directory)


def _say_how_to_talk(stage: Stage, directory: Path) -> None:
    stage.note("")
    stage.note("the cluster is left running; talk to it with")
    stage.note(f'  eval "$(chronoset env --data-dir {directory})"')
    stage.note("  chronoset get all")
    stage.note("  chronoset replay --follow --from beginning")
    stage.note('  chronoset replay --at "30 seconds ago" sts,pods')
    stage.note("  chronoset down --delete-data")


@contextmanager
def _directory(wanted: Path | None, keep: bool) -> Iterator[Path]:
    """Give the data directory, absolute; a temporary one is deleted at the end unless it is to be kept."""
    if wanted is not None:
        if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
            raise BadRequest(f"--data-dir: {wanted} is not empty; name a directory that is not there yet")
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield wanted.resolve()
        return
    directory = Path(tempfile.mkdtemp(prefix="chronoset-demo-")).resolve()
    try:
        yield directory
    finally:
        if not keep:
            shutil.rmtree(directory)


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end this program as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore further Ctrl-C and SIGTERM: the cluster is being stopped already."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
