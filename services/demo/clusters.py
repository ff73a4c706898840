"""The demo's own cluster: a child process that runs `chronoset up`, and `chronoset` called as a person would."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from signal import SIGTERM
from typing import TypeVar

import services
from events.log import Log
from events.redis_log import RedisLog
from schemas.errors import NotFound, Unavailable
from schemas.event_types import condition_of
from schemas.kinds import NODE
from services.archives import archived
from services.clusters import ClusterRecord, Member, read_record
from services.connections import connect
from services.processes import die_with_parent, end_child, is_alive
from services.projections.reader import Views
from services.settings import Settings, joined, settings_from
from services.shutdowns import end_cluster

NODES = 3
PATIENCE = 60.0
"""Seconds that the demo waits for anything: a start, a command, an observation."""
_POLL = 0.05
_Seen = TypeVar("_Seen")
_SOURCES = Path(services.__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a call of `chronoset` came to."""

    code: int
    out: str
    err: str


@dataclass
class Cluster:
    """A cluster below `data_dir`, under a name of its own, so that its pods' addresses are no other cluster's.

    It dies with this process, unless it is `kept`.
    """

    data_dir: Path
    kept: bool = False
    nodes: int = NODES
    options: tuple[str, ...] = ()
    """More options for `up`."""
    ready: str = "True"
    """What the nodes' Ready condition is to be before the cluster counts as up."""
    _up: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _calls: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False)

    @cached_property
    def environ(self) -> Mapping[str, str]:
        """Return the environment for `chronoset`: this one, but for what would lead to another cluster."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHRONOSET_")}
        ours = {
            "CHRONOSET_CLUSTER": f"demo-{hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]}",
            "CHRONOSET_DATA_DIR": str(self.data_dir),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(_SOURCES), os.environ.get("PYTHONPATH", "")))),
            "NO_COLOR": "1",
        }
        return {**inherited, **ours}

    @cached_property
    def log(self) -> Log:
        client = connect(self._joined.log_url, "demo", retries=0)
        return archived(RedisLog(client, self._joined.cluster, PATIENCE), self._joined)

    @cached_property
    def views(self) -> Views:
        queue = connect(self._joined.queue_url, "demo")
        return Views(queue, self._joined.cluster, queue)

    def start(self) -> None:
        """Start the cluster and wait until its programs run and its nodes are Ready. Raises Unavailable."""
        logs = self.data_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with open(logs / "up.log", "wb") as output:
            self._up = subprocess.Popen(
                _chronoset("up", "--nodes", str(self.nodes), *self.options),
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=None if self.kept else partial(die_with_parent, os.getpid(), SIGTERM),
            )

    def wait_until_up(self) -> None:
        """Wait until every program runs and every node has joined. Raises Unavailable where that does not come."""
        wait_for(self._is_whole, "the cluster to be up")

    def call(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin a call of `chronoset`, a process of its own."""
        call = subprocess.Popen(
            _chronoset(*arguments),
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._calls.append(call)
        return call

    def result_of(self, call: subprocess.Popen[bytes]) -> Ran:
        """Wait for the end of a call and return what it came to. Raises Unavailable where it does not end."""
        try:
            out, err = call.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"chronoset does not end within {PATIENCE:.0f} s") from None
        finally:
            end_child(call, 0.0)
            self._calls.remove(call)
        return Ran(call.returncode, out.decode().rstrip(), err.decode().rstrip())

    @property
    def is_up(self) -> bool:
        """Return whether the cluster runs now, though perhaps not all of it."""
        record = self._record()
        return record is not None and record.ready and is_alive(record.supervisor)

    def members(self) -> dict[str, Member]:
        """Return the cluster's processes by name, as its record has them now."""
        record = self._record()
        return {member.name: member for member in record.members} if record else {}

    def stop(self) -> None:
        """Stop the cluster as `chronoset down` does, and every call that still runs; nothing if that was done."""
        for call in self._calls:
            end_child(call, 0.0)
        if self._up is None:
            return
        with suppress(NotFound):
            end_cluster(self._settings)
        self._up.wait(PATIENCE)
        self._up = None

    def _is_whole(self) -> bool:
        if self._up is not None and self._up.poll() is not None:
            said = (self.data_dir / "logs" / "up.log").read_text(errors="replace").strip().splitlines()
            raise Unavailable(f"the cluster ended at once: {said[-1] if said else 'it said nothing'}")
        record = self._record()
        if record is None or not record.ready or not all(one.state == "running" for one in record.members):
            return False
        with suppress(Unavailable):
            nodes = self.views.list(NODE.resource)
            return [condition_of(node, "Ready") for node in nodes] == [self.ready] * self.nodes
        return False

    def _record(self) -> ClusterRecord | None:
        return read_record(self.data_dir)

    @cached_property
    def _settings(self) -> Settings:
        return settings_from(self.environ)

    @cached_property
    def _joined(self) -> Settings:
        return joined(self._settings)


def wait_for(look: Callable[[], _Seen | None], what: str) -> _Seen:
    """Look until what is seen is true in a boolean sense, and return it. Raises Unavailable after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise Unavailable(f"waited {PATIENCE:.0f} s for {what}")
        time.sleep(_POLL)
    return seen


def _chronoset(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "services.cli", *arguments]
