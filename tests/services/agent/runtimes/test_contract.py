"""What every runtime owes the agent. Adapters join by a row in `MAKERS`."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.objects import Object, uid_of
from services.agent.agent import wall_clock
from services.agent.images import ImageStore
from services.agent.lifecycle import Exit, Started
from services.agent.runtimes.port import OnExit, Refused, Run, Runtime
from services.agent.runtimes.process import ProcessRuntime
from services.agent.runtimes.simulated import SimulatedRuntime
from services.agent.runtimes.zygotes import Zygote
from tests.services.agent.builders import a_container, a_pod

pytestmark = pytest.mark.e2e

Ends = queue.SimpleQueue[tuple[str, str, Exit]]


def a_process_runtime(directory: Path, zygote: Zygote, on_exit: OnExit) -> Runtime:
    return ProcessRuntime(directory, ImageStore(None), zygote, on_exit)


def a_simulated_runtime(directory: Path, zygote: Zygote, on_exit: OnExit) -> Runtime:
    return SimulatedRuntime(on_exit, wall_clock)


MAKERS: dict[str, Callable[[Path, Zygote, OnExit], Runtime]] = {
    "process": a_process_runtime,
    "simulated": a_simulated_runtime,
}


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def ends() -> Ends:
    return queue.SimpleQueue()


@pytest.fixture(params=list(MAKERS))
def runtime(request: pytest.FixtureRequest, tmp_path: Path, zygote: Zygote, ends: Ends) -> Iterator[Runtime]:
    runtime = MAKERS[request.param](tmp_path, zygote, lambda *end: ends.put(end))
    yield runtime
    runtime.shut_down()


def begun(runtime: Runtime, pod: Object) -> Started:
    runtime.open(pod, "127.5.5.5", 0)
    started = runtime.start(Run(pod, "main", 0))
    assert isinstance(started, Started)
    runtime.watch(uid_of(pod), "main")
    return started


def test_opening_twice_gives_the_same_address(runtime: Runtime) -> None:
    pod = a_pod()
    assert runtime.open(pod, "127.5.5.5", 0).address == runtime.open(pod, "127.6.6.6", 1).address


@pytest.mark.parametrize(("way", "code"), [("stop", 143), ("kill", 137)])
def test_a_container_that_is_ended_says_so_once(runtime: Runtime, ends: Ends, way: str, code: int) -> None:
    pod = a_pod()
    started = begun(runtime, pod)
    {"stop": runtime.stop, "kill": runtime.kill}[way](uid_of(pod), "main")
    uid, container, end = ends.get(timeout=10)
    assert (uid, container, end.code) == (uid_of(pod), "main", code)
    assert end.container_id == started.container_id and end.finished_at >= end.started_at
    runtime.stop(uid, container)
    runtime.kill(uid, container)
    runtime.close(uid)
    assert ends.empty()


def test_a_command_runs_only_in_what_runs(runtime: Runtime, ends: Ends) -> None:
    pod = a_pod()
    begun(runtime, pod)
    assert runtime.execute(uid_of(pod), "main", ["true"], 5_000).code == 0
    runtime.kill(uid_of(pod), "main")
    ends.get(timeout=10)
    with pytest.raises(Refused):
        runtime.execute(uid_of(pod), "main", ["true"], 5_000)


@pytest.fixture
def processes(tmp_path: Path, zygote: Zygote, ends: Ends) -> Iterator[ProcessRuntime]:
    runtime = ProcessRuntime(tmp_path, ImageStore(None), zygote, lambda *end: ends.put(end))
    yield runtime
    runtime.shut_down()


@pytest.mark.parametrize(
    ("script", "code", "signal", "reason"),
    [
        ("exit 0", 0, 0, "Completed"),
        ("exit 42", 42, 0, "Error"),
        ("kill -SEGV $$$$", 139, 11, "Error"),
        ("(setsid sleep 1000 &) ; exit 5", 5, 0, "Error"),
    ],
)
def test_exit_codes_are_the_programs(
    processes: ProcessRuntime, ends: Ends, script: str, code: int, signal: int, reason: str
) -> None:
    pod = a_pod("x", a_container(script=script))
    begun(processes, pod)
    end = ends.get(timeout=10)[2]
    assert (end.code, end.signal, end.reason) == (code, signal, reason)


def test_a_command_that_takes_too_long_is_ended(processes: ProcessRuntime, ends: Ends) -> None:
    pod = a_pod()
    begun(processes, pod)
    with pytest.raises(TimeoutError):
        processes.execute(uid_of(pod), "main", ["sleep", "1000"], 100)
    answer = processes.execute(uid_of(pod), "main", ["sh", "-c", "echo $POD_NAME; exit 3"], 5_000)
    assert (answer.code, answer.output) == (3, "db-0\n")
    processes.kill(uid_of(pod), "main")
    ends.get(timeout=10)


def test_a_second_start_of_a_running_container_does_not_run_it_twice(
    processes: ProcessRuntime, ends: Ends
) -> None:
    pod = a_pod()
    begun(processes, pod)
    with pytest.raises(Refused, match="has not ended"):
        processes.start(Run(pod, "main", 1))
    processes.kill(uid_of(pod), "main")
    ends.get(timeout=10)


def test_the_agents_own_environment_is_not_handed_on(
    processes: ProcessRuntime, ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHRONOSET_LOG_URL", "redis://:secret@host")
    pod = a_pod("x", a_container(script=f"env > {tmp_path}/env"))
    begun(processes, pod)
    ends.get(timeout=10)
    assert "secret" not in (tmp_path / "env").read_text()
