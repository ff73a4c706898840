"""Workers that die: SIGKILL at random moments, through a whole run. What the supervisor starts again is found again."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import defaultdict
from contextlib import suppress

from services.clusters import read_record
from services.loadtest.clusters import Running
from services.loadtest.usage import Usage, usage_of

MOST_RATE = 5.0
"""Kills a second; the supervisor takes 0.1 to 5 s to start a worker again."""
_SEED = 20_261


class Killer:
    """Kills workers at `rate` a second, on average, from `start` to `stop`."""

    def __init__(self, cluster: Running, rate: float) -> None:
        self.killed: dict[str, int] = defaultdict(int)
        self.lost: dict[str, Usage] = {}
        """What those had used that are dead, by member name."""
        self._cluster = cluster
        self._rate = rate
        self._random = random.Random(_SEED)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)

    def start(self) -> None:
        if self._rate:
            self._thread.start()

    def stop(self) -> None:
        """Kill no more, and wait until every worker runs again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        deadline = time.monotonic() + 10
        while len(self._workers()) < self._pool() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _run(self) -> None:
        while not self._stopping.wait(self._random.expovariate(self._rate)):
            if workers := self._workers():
                self._kill(*self._random.choice(sorted(workers.items())))

    def _kill(self, name: str, pid: int) -> None:
        with suppress(OSError):
            used = usage_of(pid)
            os.kill(pid, signal.SIGKILL)
            before = self.lost.get(name, Usage(0.0, 0, 0))
            self.lost[name] = Usage(before.cpu + used.cpu, before.wakes + used.wakes, 0)
            self.killed[name] += 1

    def _workers(self) -> dict[str, int]:
        return {name: pid for name, pid in pids_of(self._cluster).items() if name.startswith("worker")}

    def _pool(self) -> int:
        return sum(name.startswith("worker") for name in self._cluster.pids)


def pids_of(cluster: Running) -> dict[str, int]:
    """Return the processes that run now, by member name, the supervisor's among them."""
    record = read_record(cluster.settings.data_dir)
    members = record.members if record else ()
    running = {each.name: each.process.pid for each in members if each.process and each.state == "running"}
    return {"supervisor": cluster.process.pid, **running}
