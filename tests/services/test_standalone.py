"""Programs without `up`, as a supervisor of one's own runs them: real processes over a real log and queue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, running_server

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
pytestmark = [pytest.mark.server, pytest.mark.e2e]


class Supervised:
    """Starts programs as a unit or a container would: by a command, with the environment that it is given."""

    def __init__(self, log: Server, queue: Server, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.health = data_dir.with_name("health")
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CHRONOSET_")},
            "PYTHONPATH": str(ROOT),
            "CHRONOSET_LOG_URL": log.url,
            "CHRONOSET_QUEUE_URL": queue.url,
            "CHRONOSET_DATA_DIR": str(data_dir),
        }
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "services.cli", *arguments]
        started = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.started.append(started)
        return started

    def end(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return the exit code and all that was printed."""
        process.send_signal(number)
        printed, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, printed

    def run(self, *arguments: str) -> tuple[int, str]:
        printed, _ = (process := self.start(*arguments)).communicate(timeout=PATIENCE)
        return process.returncode, printed


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "log").mkdir()
    with running_server(tmp_path / "log", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
def chronoset(log: Server, tmp_path: Path) -> Iterator[Supervised]:
    (tmp_path / "queue").mkdir()
    with running_server(tmp_path / "queue") as queue:
        supervised = Supervised(log, queue, tmp_path / "data")
        yield supervised
        for process in supervised.started:
            process.kill()
            process.communicate()


def test_init_creates_a_log_once_and_refuses_one_that_is_gone(chronoset: Supervised, log: Server) -> None:
    code, first = chronoset.run("init")
    assert code == 0
    assert chronoset.run("init") == (0, first.splitlines()[-1] + "\n")
    with log.client() as client:
        client.flushall()
    code, printed = chronoset.run("init")
    assert (code, "is gone from its server" in printed) == (70, True)
    code, printed = chronoset.run("run", "worker")
    assert (code, json.loads(printed.splitlines()[-1])["exit_code"]) == (70, 70)
    with log.client() as client:
        assert client.dbsize() == 0


def test_a_program_without_a_log_says_what_makes_one(chronoset: Supervised) -> None:
    code, printed = chronoset.run("run", "projector")
    said = json.loads(printed.splitlines()[-1])
    assert (code, said["program"], "chronoset init" in said["error"]) == (2, "projector", True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_dispatcher_tells_its_health_remembers_the_logs_end_and_ends_in_good_order(
    chronoset: Supervised, number: int
) -> None:
    assert chronoset.run("init")[0] == 0
    memory = chronoset.data_dir / "log.json"
    before = json.loads(memory.read_text())
    memory.write_text(json.dumps({**before, "seen": "1-0"}))
    dispatcher = chronoset.start("run", "dispatcher", "--health-file", str(chronoset.health))
    until(lambda: json.loads(memory.read_text())["seen"] >= before["seen"])
    until(chronoset.health.exists)
    code, printed = chronoset.end(dispatcher, number)
    assert code == 0
    assert {json.loads(line)["program"] for line in printed.splitlines()} == {"dispatcher"}


def test_a_log_that_is_away_makes_a_program_unwell_and_its_return_makes_it_well(
    chronoset: Supervised, log: Server
) -> None:
    assert chronoset.run("init")[0] == 0
    projector = chronoset.start("run", "projector", "--health-file", str(chronoset.health))
    until(chronoset.health.exists)
    log.kill()
    time_of_death = time.time_ns()
    chronoset.health.unlink()
    until(lambda: time.time_ns() - time_of_death > 3e9)
    assert not chronoset.health.exists()
    log.start()
    until(chronoset.health.exists)
    assert chronoset.end(projector)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("run", "scheduler"), "'scheduler' is not one of 'dispatcher'"),
        (("run", "agent"), "'agent' is not one of 'dispatcher'"),
        (("run", "worker", "--health-file", "/nowhere/health"), "/nowhere/health cannot be made"),
    ],
)
def test_what_cannot_be_run_is_said_with_2(
    chronoset: Supervised, arguments: tuple[str, ...], complaint: str
) -> None:
    code, printed = chronoset.run(*arguments)
    assert (code, complaint in printed) == (2, True)
