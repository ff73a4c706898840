"""`chronoset demo`: a performance from the empty directory to the summary, after which nothing is left behind."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from schemas.counts import counted
from schemas.errors import BadRequest
from services.demo import daemons, story
from services.demo.clusters import Cluster
from services.demo.images import COLLECTOR, lay_out
from services.demo.plays import SET, Play
from services.demo.stages import Stage

STEPS = (*story.STEPS, *daemons.STEPS)


def perform(data_dir: Path | None, keep: bool) -> None:
    """Play the story in two parts, each on a cluster of its own; the first is stopped unless it is to be kept.

    Without `data_dir` it lives in a new temporary directory, which is deleted with it. Raises WrongObservation at the
    first observation that is not as it should be, BadRequest where `data_dir` is not empty.
    """
    begun, stage = time.monotonic(), Stage()
    with _ends_as_by_ctrl_c(), _directory(data_dir, keep) as directory:
        cluster = Cluster(directory, keep)
        lay_out(directory / "images", SET, story.TAGS)
        try:
            with _running(cluster, stage):
                story.play_all(Play(cluster, stage))
            _play_daemons(directory / "daemons", stage)
        finally:
            if stage.played:
                stage.summary(STEPS, time.monotonic() - begun)
            if keep and cluster.is_up:
                _say_how_to_talk(stage, directory)


def _play_daemons(directory: Path, stage: Stage) -> None:
    """Play the second part, on a cluster whose nodes wait for a network agent; nothing of it is kept."""
    lay_out(directory / "images", daemons.IMAGE, daemons.TAGS, COLLECTOR)
    cluster = Cluster(directory, nodes=daemons.NODES, options=("--network-agent",), ready="False")
    try:
        with _running(cluster, stage):
            daemons.play_all(Play(cluster, stage), len(story.STEPS) + 1)
    finally:
        shutil.rmtree(directory)


@contextmanager
def _running(cluster: Cluster, stage: Stage) -> Iterator[None]:
    """Start the cluster, and stop it at the end unless it is to be kept; also where the terminal is gone by then."""
    begun = time.monotonic()
    stage.note("")
    stage.note(
        f"a cluster of {counted(cluster.nodes, 'node')} in {cluster.data_dir}; every command below is run with"
    )
    stage.command(f"export CHRONOSET_DATA_DIR={cluster.data_dir}", "export KUBECONFIG=...")
    if cluster.options:
        stage.note(f"it was started by: chronoset up --nodes {cluster.nodes} {' '.join(cluster.options)}")
    try:
        cluster.start()
        with stage.busy("the cluster starts"):
            cluster.wait_until_up()
        stage.note(f"it is up after {time.monotonic() - begun:.1f} s")
        yield
    finally:
        if not cluster.kept:
            with _undisturbed():
                try:
                    with stage.busy("the cluster stops"):
                        cluster.stop()
                finally:
                    cluster.stop()


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
def _ends_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, and a terminal that is closed, end this program as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore what would end this program: the cluster is being stopped already."""
    with _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN):
        yield


@contextmanager
def _handling(
    numbers: Sequence[signal.Signals], handler: signal.Handlers | Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Handle signals in this way for a while."""
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
