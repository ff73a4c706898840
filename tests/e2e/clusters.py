"""A real cluster for a test: `chronoset up` as a process, the command line as processes, /proc as the witness."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from events.redis_log import RedisLog
from events.replay import replay
from events.state import State
from schemas.errors import Unavailable
from schemas.event_types import condition_of
from schemas.kinds import KINDS, NODE, POD
from schemas.objects import Key, Object, key_of_object, name_of
from schemas.positions import Position, position_of
from services.clusters import ClusterRecord, Member, read_record
from services.connections import connect
from services.processes import ProcessId, die_with_parent, is_alive
from services.projections.reader import Views
from services.settings import Settings, joined, settings_from
from services.sockets import socket_dir_of

SOURCES = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
TAGS = tuple(str(number) for number in range(1, 13))
"""The tags of the image `idle` that every cluster's image store holds."""
ENTRYPOINT = """#!/bin/sh
exec 9>>"$VOLUME_DATA/lock"
flock -n 9 || { echo "$POD_NAME $CHRONOSET_CONTAINER" >>"$VOLUME_DATA/twins"; exit 1; }
echo "$CHRONOSET_CONTAINER" >>"$VOLUME_DATA/journal"
trap 'exit 0' TERM
sleep 1000000 &
wait
"""
"""The image: no two processes of one ordinal can hold the lock on its volume, so a twin betrays itself."""
T = TypeVar("T")


class Ran(NamedTuple):
    """What a call of `chronoset` came to."""

    code: int
    out: str
    err: str


class Process(NamedTuple):
    """A process as /proc shows it."""

    pid: int
    command: str
    environ: Mapping[str, str]


@dataclass
class Cluster:
    """A cluster in `data_dir`, of a name of its own so that its pods' addresses are its own."""

    data_dir: Path
    nodes: int = 2
    extra: Mapping[str, str] = field(default_factory=dict)
    """More variables for its environment."""
    up: subprocess.Popen[str] | None = None
    acknowledged: list[Position] = field(default_factory=list)
    """The position of every event that a write has printed."""
    seen: set[ProcessId] = field(default_factory=set)
    """Every supervised process that there ever was, as far as it was looked at."""
    left: list[Process] = field(default_factory=list)
    """The processes that `clean_up` had to kill."""

    @property
    def name(self) -> str:
        return f"e2e-{hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:10]}"

    @property
    def environ(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHRONOSET_")}
        ours = {
            "CHRONOSET_CLUSTER": self.name,
            "CHRONOSET_DATA_DIR": str(self.data_dir),
            "PYTHONPATH": str(SOURCES),
            "NO_COLOR": "1",
        }
        return {**inherited, **ours, **self.extra}

    @property
    def settings(self) -> Settings:
        return settings_from(self.environ)

    @cached_property
    def log(self) -> RedisLog:
        return RedisLog(connect(joined(self.settings).log_url, "test", retries=0), self.name, PATIENCE)

    @property
    def views(self) -> Views:
        found = joined(self.settings)
        queue = connect(found.queue_url, "test")
        return Views(queue, self.name, queue)

    # --- its life

    def start(self, *arguments: str) -> None:
        """Begin `chronoset up`; it dies with the test."""
        lay_out_images(self.data_dir)
        self.up = subprocess.Popen(
            _chronoset("up", "--nodes", str(self.nodes), *arguments),
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
        )

    def start_and_wait(self, *arguments: str) -> None:
        self.start(*arguments)
        wait_for(self.is_up, "the cluster to be up")

    def is_up(self) -> bool:
        """Say whether every program runs and every node is Ready."""
        assert self.up is not None
        assert self.up.poll() is None, f"up ended with {self.up.returncode}: {self.up.communicate()[1]}"
        record = self.record()
        if record is None or record.supervisor.pid != self.up.pid or not record.ready:
            return False
        if any(one.state != "running" for one in record.members):
            return False
        try:
            nodes = self.views.list(NODE.resource)
        except Unavailable:
            return False
        return [condition_of(node, "Ready") for node in nodes] == ["True"] * self.nodes

    def ended(self) -> tuple[int, str]:
        """Wait for the end of `up`; return its exit code and what it said on stderr."""
        assert self.up is not None
        _, said = self.up.communicate(timeout=PATIENCE)
        code, self.up = self.up.returncode, None
        self.__dict__.pop("log", None)
        return code, said

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal to `up`, as Ctrl-C does, and wait for its end."""
        assert self.up is not None
        self.up.send_signal(number)
        return self.ended()

    def clean_up(self) -> None:
        """End whatever runs, however the test has ended, and delete everything."""
        for name, member in self.members().items():
            if member.process and is_alive(member.process) and name in ("log", "queue"):
                os.kill(member.process.pid, signal.SIGCONT)
        if self.data_dir.exists():
            self.run("down", "--delete-data")
        if self.up is not None:
            self.up.kill()
            self.ended()
        self.left = left_of(self)
        for process in self.left:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    # --- what a person does

    def run(self, *arguments: str, text: str | None = None, **environ: str) -> Ran:
        """Call `chronoset`."""
        done = subprocess.run(
            _chronoset(*arguments),
            env={**self.environ, **environ},
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def write(self, *arguments: str, text: str | None = None) -> list[Position]:
        """Call a command that must succeed; return, and note as acknowledged, the positions it printed."""
        ran = self.run(*arguments, "-o", "json", text=text)
        assert ran.code == 0, ran.err
        positions = [position_of(each["position"]) for each in _events_in(ran.out)]
        self.acknowledged += positions
        return positions

    def apply(self, *objects: Object) -> list[Position]:
        return self.write(
            "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def roll_out(self, tag: str, wait: bool = True) -> list[Position]:
        """Patch the image of the set `db`."""
        patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": f"idle:{tag}"}]
        waiting = ("--wait",) if wait else ()
        return self.write("patch", "sts", "db", "--type", "json", "-p", json.dumps(patch), *waiting)

    # --- what there is

    def record(self) -> ClusterRecord | None:
        return read_record(self.data_dir)

    def members(self) -> dict[str, Member]:
        """Return the supervised processes by name."""
        record = self.record()
        if record is None:
            return {}
        self.seen |= {record.supervisor, *(one.process for one in record.members if one.process)}
        return {member.name: member for member in record.members}

    def pid_of(self, name: str) -> int:
        """Return the pid of a supervised process, or of the agents' zygote."""
        if name == "zygote":
            return next(pid for pid, parent in _parents().items() if parent == self.pid_of("agents"))
        process = self.members()[name].process
        assert process is not None, f"{name} does not run"
        return process.pid

    def replayed(self) -> State:
        """Return the state of now, folded from the log's first event on."""
        return replay(self.log, self.log.last())

    def pods(self) -> dict[str, Object]:
        """Return the pods by name, from the projections."""
        return {name_of(pod): pod for pod in self.views.list(POD.resource)}

    def containers(self) -> dict[str, Process]:
        """Return the container processes in /proc by container id; of a container's processes the first."""
        found: dict[str, Process] = {}
        for process in processes_of(self.data_dir):
            container = process.environ.get("CHRONOSET_CONTAINER")
            if container is not None:
                found.setdefault(container, process)
        return found

    def container_pids(self) -> dict[str, int]:
        """Return the pid of each pod's container process, by the pod's name."""
        return {each.environ["POD_NAME"]: each.pid for each in self.containers().values()}

    def twins(self) -> list[str]:
        """Return every pod that found another process of its ordinal alive."""
        return [line for path in self.data_dir.rglob("twins") for line in path.read_text().splitlines()]


@contextmanager
def running_cluster(data_dir: Path, nodes: int = 2, *arguments: str, **extra: str) -> Iterator[Cluster]:
    """A cluster that is up. Nothing of it is left when the block ends."""
    cluster = Cluster(data_dir, nodes, extra)
    try:
        cluster.start_and_wait(*arguments)
        yield cluster
    finally:
        cluster.clean_up()
    assert_nothing_left(cluster)


@contextmanager
def temporary_cluster(nodes: int = 2) -> Iterator[Cluster]:
    """A running cluster in a temporary directory, for fixtures that several tests share."""
    with (
        tempfile.TemporaryDirectory(prefix="chronoset-e2e-") as directory,
        running_cluster(Path(directory) / "data", nodes) as cluster,
    ):
        yield cluster


def a_set(replicas: int = 3, tag: str = "1", **fields: Any) -> Object:
    """Return a StatefulSet `db` of the image `idle`, each pod with a volume of its own."""
    container = {
        "name": "main",
        "image": f"idle:{tag}",
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db",
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]},
            },
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "1Mi"}},
                    },
                }
            ],
            **fields,
        },
    }


def lay_out_images(data_dir: Path) -> None:
    """Write the image `idle` under all its tags below the data directory, once."""
    for tag in TAGS:
        tree = data_dir / "images" / "idle" / tag
        tree.mkdir(parents=True, exist_ok=True)
        (tree / "entrypoint").write_text(f"{ENTRYPOINT}# {tag}\n")
        (tree / "entrypoint").chmod(0o755)


def replace_log(data_dir: Path, source: Path | None) -> None:
    """Put the log server's files of another place, or none, where those of `data_dir` are."""
    shutil.rmtree(data_dir / "log")
    if source is None:
        (data_dir / "log").mkdir()
    else:
        shutil.copytree(source, data_dir / "log")


# --- what must be so of every cluster at every time


def assert_whole(cluster: Cluster) -> None:
    """Nothing acknowledged is lost; the projections are a replay; /proc holds what the replay says; no twins.

    And `chronoset verify` finds nothing.
    """
    assert cluster.twins() == []
    wait_for(lambda: not differences(cluster), lambda: f"agreement: {differences(cluster)}")
    lost = [position for position in cluster.acknowledged if not _is_in(cluster.log, position)]
    assert lost == []
    verified = cluster.run("verify")
    assert verified.code == 0, verified.out + verified.err


def differences(cluster: Cluster) -> list[str]:
    """Return in what the replayed log, the projections and /proc do not agree now."""
    try:
        state, views = cluster.replayed(), cluster.views
        shown: dict[Key, Object] = {
            key_of_object(obj): obj for kind in KINDS for obj in views.list(kind.resource)
        }
        at = views.position()
    except Unavailable as error:
        return [str(error)]
    if not state.position == at == cluster.log.last():
        return ["the cluster moves"]
    found = [
        f"{key}: replayed {state.objects.get(key)}, projected {shown.get(key)}"
        for key in state.objects.keys() | shown.keys()
        if state.objects.get(key) != shown.get(key)
    ]
    running = running_containers(state.list(POD.resource))
    seen = {container: each.environ["POD_NAME"] for container, each in cluster.containers().items()}
    return found if running == seen else [*found, f"replayed containers {running}, in /proc {seen}"]


def running_containers(pods: list[Object]) -> dict[str, str]:
    """Return the pod of each container that runs by its pod's status, by container id."""
    return {
        status["containerID"]: name_of(pod)
        for pod in pods
        for status in (pod.get("status") or {}).get("containerStatuses", ())
        if "running" in status["state"]
    }


def assert_nothing_left(cluster: Cluster) -> None:
    """No process of the cluster or that names its directory, no socket, no file."""
    sockets = socket_dir_of(cluster.data_dir, os.environ)
    assert [f"{each.pid} {each.command}" for each in cluster.left + left_of(cluster)] == []
    assert [process for process in cluster.seen if is_alive(process)] == []
    assert not sockets.exists()
    assert str(sockets) not in Path("/proc/net/unix").read_text()
    assert not cluster.data_dir.exists()


def left_of(cluster: Cluster) -> list[Process]:
    return processes_of(cluster.data_dir) + processes_of(socket_dir_of(cluster.data_dir, os.environ))


def processes_of(directory: Path) -> list[Process]:
    """Return the living processes, but this one, whose command line or environment names a directory."""
    found = []
    for pid in sorted(_parents()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            raw = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if pid != os.getpid() and (os.fsencode(directory) in command or os.fsencode(directory) in raw):
            pairs = (entry.partition("=") for entry in os.fsdecode(raw).split("\0"))
            environ = {name: value for name, _, value in pairs}
            found.append(Process(pid, os.fsdecode(command.replace(b"\0", b" ")), environ))
    return found


def wait_for(look: Callable[[], T], what: str | Callable[[], str], seconds: float = PATIENCE) -> T:
    """Look until what is seen is true in a boolean sense, and return it."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what if isinstance(what, str) else what()}")
        time.sleep(0.02)
    return seen


def _chronoset(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "services.cli", *arguments]


def _events_in(text: str) -> Iterator[dict[str, Any]]:
    """Yield the events among the JSON values that a write printed."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        for each in value if isinstance(value, list) else [value]:
            yield from each.get("events", [each])


def _is_in(log: RedisLog, position: Position) -> bool:
    return [entry.position for entry in log.read(position - 1, 1)] == [position]


def _parents() -> dict[int, int]:
    """Return the parent of every living process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] != b"Z":
                found[int(name)] = int(fields[1])
    return found
