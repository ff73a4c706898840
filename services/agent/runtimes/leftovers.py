"""Ending the pods of a cluster that has no agent any more: what `up` and `down` do last.

Pods outlive their agent on purpose. So where a supervisor was killed, or an agent had stopped because history was
lost, nobody is left to end them but whoever ends the cluster.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.agent.runtimes.process import container_id_of, runs_in
from services.agent.runtimes.processes import boot_id, kill_marked, start_of

KILL_PATIENCE = 10.0
"""Seconds that shims have to kill all that they have started."""


@dataclass(frozen=True, slots=True)
class _Shim:
    """A shim that may run: (pid, start) name one process of this boot."""

    pid: int
    started: int

    @property
    def is_alive(self) -> bool:
        return start_of(self.pid) == self.started


def end_leftovers(data_dir: Path, grace: float) -> int:
    """End every container that runs below `<data_dir>/nodes` and return how many there were.

    Each is asked to end (SIGTERM), and killed with all its processes after `grace` seconds. There must be no agent
    that starts them again. What a container whose shim was killed has left behind is found by its environment.
    """
    runs = list(_runs_below(data_dir))
    shims = [shim for _, shim in runs if shim.is_alive]
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGUSR1, KILL_PATIENCE)):
        for shim in filter(lambda each: each.is_alive, shims):
            with suppress(ProcessLookupError):
                os.kill(shim.pid, number)
        _wait_for(shims, patience)
    kill_marked({container for container, _ in runs})
    return len(shims)


def _runs_below(data_dir: Path) -> Iterator[tuple[str, _Shim]]:
    """Yield (container id, shim) of every run that began during this boot of the machine and whose end is not told."""
    boot = boot_id()
    for home in sorted(data_dir.glob("nodes/*/pods/*/containers/*")):
        for state in runs_in(home):
            with suppress(FileNotFoundError, ValueError):
                identity = json.loads((state / "running.json").read_bytes())
                if identity["boot"] == boot and not (state / "exit.json").exists():
                    uid = home.parents[1].name
                    container = container_id_of(uid, home.name, int(state.name))
                    yield container, _Shim(identity["shim"], identity["shim_start"])


def _wait_for(shims: list[_Shim], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(shim.is_alive for shim in shims) and time.monotonic() < deadline:
        time.sleep(0.01)
