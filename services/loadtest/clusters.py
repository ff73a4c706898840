"""A whole control plane in a temporary directory: the same programs as `up`, and simulated nodes as one of them.

It is a process of its own, which forks before it has a second thread, and ends with the measuring process however
that ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import services
from events.memory import wall_clock
from schemas.errors import Unavailable
from services.agent.nodes import NodeSettings
from services.agent.simulated_nodes import SimulatedNodes
from services.broker.keys import Keys
from services.broker.leases import Heartbeats
from services.clusters import read_record
from services.connections import connect
from services.loadtest.event_store import EventStore
from services.loadtest.traces import traced
from services.logs import log_to_file
from services.processes import die_with_parent, end_child, wait_until
from services.programs import Program
from services.settings import KUBECONFIG, Durability, Settings, joined, settings_from
from services.supervisor import Supervisor
from services.wiring import (
    CONTROLLERS,
    PROGRAMS,
    edges_of,
    on_sigterm,
    open_log,
    prepare,
    run_api,
    run_worker,
)

TRACE = "beginnings"
UNUSED_PORT = 1
"""Has every program serve its metrics on its socket; the page of all is not run."""
PATIENCE = 30.0
"""Seconds that a cluster has to start, and to end."""
_ROOMY = {"cpu": "100k", "memory": "1Pi", "ephemeral-storage": "1Pi", "pods": "100k"}
_PACKAGES = Path(services.__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a cluster is. Without workers nothing is decided, without nodes nothing plays them.

    `over_api`: the HTTP API runs, and the nodes are clients of it.
    """

    workers: int = 2
    nodes: int = 0
    durability: Durability = Durability.ALWAYS
    is_traced: bool = True
    over_api: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster that runs: how to reach it, and the process ids by member name, the supervisor's among them."""

    settings: Settings
    pids: Mapping[str, int]
    process: subprocess.Popen[bytes]

    @property
    def trace(self) -> Path:
        """Where its workers write when a reconcile begins (services.loadtest.traces)."""
        return self.settings.data_dir / TRACE

    def end(self, killed: Collection[str] = ()) -> None:
        """Stop it, before its directory goes. Raises Unavailable where a program had ended that nobody has killed."""
        try:
            _check_exits(self.settings.data_dir, killed)
        finally:
            end_child(self.process, PATIENCE)


@contextmanager
def running_cluster(shape: Shape, place: Path) -> Iterator[Running]:
    """Run a cluster with the block, in a new directory inside `place`, which goes with it.

    Raises Unavailable, with what its programs logged last, where it does not start.
    """
    with tempfile.TemporaryDirectory(prefix=".load-", dir=place, ignore_cleanup_errors=True) as name:
        directory = Path(name) / "data"
        process = _started(directory, shape)
        try:
            yield _awaited(directory, process)
        finally:
            end_child(process, PATIENCE)


def place_beside(data_dir: Path) -> Path:
    """Return a directory on the disk of a data directory that need not exist: /tmp may be no disk at all."""
    return next(path for path in data_dir.absolute().parents if path.is_dir())


def programs(shape: Shape) -> tuple[Program, ...]:
    """Return the programs of a cluster of this shape, in the order of their start."""
    worker = _run_traced_worker if shape.is_traced else run_worker
    play = run_nodes_over_api if shape.over_api else run_nodes
    of_up = {program.name: program for program in PROGRAMS}
    deciding = (
        of_up["projector"],
        of_up["dispatcher"],
        replace(of_up["worker"], run=worker, count=shape.workers),
    )
    api = (Program("api", run_api),) if shape.over_api else ()
    nodes = (Program("nodes", partial(play, shape.nodes)),) if shape.nodes else ()
    return (*(deciding if shape.workers else ()), *api, *nodes)


def run_nodes(count: int, settings: Settings) -> None:
    """Play the nodes `sim-0` and so on until SIGTERM."""
    heartbeats = Heartbeats(connect(settings.queue_url, "nodes"), Keys(settings.cluster), settings.node_grace)
    store = EventStore(open_log(settings, "nodes"), heartbeats, edges_of(settings))
    _play(SimulatedNodes(store, _nodes(count, settings), wall_clock))
    store.close()


def run_nodes_over_api(count: int, settings: Settings) -> None:
    """As `run_nodes`, with nothing but the kubeconfig that the API writes once it listens."""
    from services.loadtest.api_nodes import ApiNodes

    plane = ApiNodes(settings.data_dir / KUBECONFIG)
    _play(SimulatedNodes(plane, _nodes(count, settings), wall_clock))


def _nodes(count: int, settings: Settings) -> list[NodeSettings]:
    names = (f"sim-{number}" for number in range(count))
    return [NodeSettings(name, settings.data_dir, settings.cluster, capacity=_ROOMY) for name in names]


def _play(nodes: SimulatedNodes) -> None:
    on_sigterm(nodes.stop)
    nodes.register()
    playing = threading.Thread(target=nodes.run)
    playing.start()
    playing.join()


def main(arguments: list[str]) -> int:
    """Run a cluster until SIGTERM: data directory, workers, nodes, durability, and whether it is traced (1 or 0) and
    its nodes are clients of the API. For `running_cluster`."""
    directory, workers, nodes, durability, is_traced, over_api = arguments
    shape = Shape(int(workers), int(nodes), Durability(durability), is_traced == "1", over_api == "1")
    log_to_file(Path(directory) / "logs" / "supervisor.log", "supervisor")
    settings = replace(
        settings_from({}, Path(directory)), durability=shape.durability, metrics_port=UNUSED_PORT
    )
    return Supervisor(settings, programs(shape), prepare).run()


def _run_traced_worker(settings: Settings) -> None:
    run_worker(settings, traced(CONTROLLERS, settings.data_dir / TRACE))


def _started(directory: Path, shape: Shape) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHRONOSET_")}
    paths = [str(_PACKAGES), *filter(None, [environment.get("PYTHONPATH")])]
    flags = (str(int(shape.is_traced)), str(int(shape.over_api)))
    numbers = (str(shape.workers), str(shape.nodes), shape.durability.value, *flags)
    return subprocess.Popen(
        [sys.executable, "-m", "services.loadtest.clusters", str(directory), *numbers],
        stdin=subprocess.DEVNULL,
        env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,
        preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
    )


def _awaited(directory: Path, process: subprocess.Popen[bytes]) -> Running:
    def is_up() -> bool:
        record = read_record(directory)
        up = record is not None and record.ready and all(each.state == "running" for each in record.members)
        return up or process.poll() is not None

    if not wait_until(is_up, PATIENCE) or process.poll() is not None:
        raise Unavailable(f"the cluster to measure does not start: {_last_words(directory)}")
    record = read_record(directory)
    assert record is not None
    pids = {member.name: member.process.pid for member in record.members if member.process is not None}
    return Running(joined(settings_from({}, directory)), {"supervisor": process.pid, **pids}, process)


def _check_exits(directory: Path, killed: Collection[str]) -> None:
    record = read_record(directory)
    ended = (
        [f"{each.name} ({each.note})" for each in record.members if each.exits and each.name not in killed]
        if record
        else ["all of it"]
    )
    if ended:
        raise Unavailable(f"of the measured cluster ended {', '.join(ended)}: {_last_words(directory)}")


def _last_words(directory: Path) -> str:
    lines = [
        line
        for path in sorted((directory / "logs").glob("*.log"))
        for line in path.read_text(errors="replace").splitlines()[-3:]
        if '"level":"info"' not in line
    ]
    return " / ".join(lines[-5:]) or "it said nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
