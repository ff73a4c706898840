"""Commands that people run inside process containers, and attachments to the containers' own programs."""

from __future__ import annotations

import hashlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.objects import Object, uid_of
from services.agent.images import ImageStore
from services.agent.lifecycle import Exit, Started
from services.agent.runtimes.port import Command, LogQuery, Refused, Run, Session
from services.agent.runtimes.process import ProcessRuntime
from services.agent.runtimes.zygotes import Zygote
from tests.services.agent.builders import a_container, a_pod

pytestmark = pytest.mark.e2e

Ends = queue.SimpleQueue[tuple[str, str, Exit]]
WAITS = "trap 'exit 0' TERM; while :; do sleep 0.02; done"


@pytest.fixture
def ends() -> Ends:
    return queue.SimpleQueue()


@pytest.fixture
def runtime(tmp_path: Path, ends: Ends) -> Iterator[ProcessRuntime]:
    zygote = Zygote()
    runtime = ProcessRuntime(tmp_path, ImageStore(None), zygote, lambda *end: ends.put(end))
    yield runtime
    runtime.shut_down()
    zygote.close()


@pytest.fixture
def run(runtime: ProcessRuntime, ends: Ends) -> Iterator[Callable[..., Object]]:
    """Start a pod of one container `main`; whatever still runs is killed at the end."""
    started: list[Object] = []

    def begin(script: str = WAITS, **fields: Any) -> Object:
        pod = a_pod("x", a_container(script=script, **fields))
        runtime.open(pod, "127.5.5.5", 0)
        assert isinstance(runtime.start(Run(pod, "main", 0)), Started)
        runtime.watch(uid_of(pod), "main")
        started.append(pod)
        return pod

    yield begin
    for pod in started:
        runtime.kill(uid_of(pod), "main")


def a_command(pod: Object, *words: str, tty: bool = False, stdin: bool = False) -> Command:
    return Command(uid_of(pod), "main", words, tty, stdin)


def read_all(session: Session) -> dict[str, bytes]:
    """Return what the command prints until its end, by stream."""
    found: dict[str, bytes] = {}
    while True:
        stream, data = session.read()
        if not stream:
            return found
        found[stream] = found.get(stream, b"") + data


def read_until(session: Session, end: bytes) -> bytes:
    """Return what is printed up to and with `end`."""
    found = b""
    while end not in found:
        stream, data = session.read()
        assert stream, found
        found += data
    return found


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_has_its_streams_apart_and_its_exit_code(
    runtime: ProcessRuntime, run: Callable[..., Object]
) -> None:
    session = runtime.exec(a_command(run(), "sh", "-c", "echo out; echo err >&2; read line; exit 3"))
    assert read_all(session) == {"stdout": b"out\n", "stderr": b"err\n"}
    assert session.wait() == 3
    session.close()


def test_a_command_is_where_its_container_is(runtime: ProcessRuntime, run: Callable[..., Object]) -> None:
    """Its directory, its variables and its namespaces are the program's."""
    pod = run(
        "pwd; echo $POD_NAME-$COLOUR; readlink /proc/self/ns/mnt; " + WAITS,
        env=[{"name": "COLOUR", "value": "blue"}],
    )
    session = runtime.exec(
        a_command(pod, "sh", "-c", "pwd; echo $POD_NAME-$COLOUR; readlink /proc/self/ns/mnt")
    )
    theirs = read_all(session)["stdout"].splitlines()
    until(lambda: len(lines_of(runtime, pod)) == 3)
    assert theirs == lines_of(runtime, pod)
    session.close()


def lines_of(runtime: ProcessRuntime, pod: Object) -> list[bytes]:
    return [line.text for batch in runtime.log(uid_of(pod), "main", 0, LogQuery()) for line in batch]


def test_a_command_reads_what_is_written_to_the_end(
    runtime: ProcessRuntime, run: Callable[..., Object]
) -> None:
    session = runtime.exec(a_command(run(), "sha256sum", stdin=True))
    for _ in range(64):
        session.write(b"x" * 65536)
    session.close_input()
    wanted = hashlib.sha256(b"x" * (64 * 65536)).hexdigest()
    assert read_all(session)["stdout"].decode().split()[0] == wanted and session.wait() == 0
    session.close()


def test_a_command_on_a_terminal_sees_its_size_and_its_changes(
    runtime: ProcessRuntime, run: Callable[..., Object]
) -> None:
    session = runtime.exec(a_command(run(), "sh", tty=True, stdin=True))
    session.resize(101, 42)
    session.write(b"stty size; test -t 2 && echo is-$TERM; tty\n")
    seen = read_until(session, b"/dev/pts/")
    assert b"42 101" in seen and b"is-xterm\r\n" in seen
    session.write(b"exit 7\n")
    read_all(session)
    assert session.wait() == 7
    session.close()


def test_control_c_on_a_terminal_interrupts_what_runs_there(
    runtime: ProcessRuntime, run: Callable[..., Object]
) -> None:
    """The program replaces the shell: dash forgets what comes between its vfork and its exec."""
    session = runtime.exec(a_command(run(), "sh", "-c", "echo begun; exec sleep 100", tty=True, stdin=True))
    read_until(session, b"begun")
    session.write(b"\x03")
    assert session.wait() == 130
    session.close()


def test_what_the_agent_ignores_its_programs_do_not(ends: Ends, tmp_path: Path) -> None:
    """A cluster started by `nohup ... &` ignores SIGHUP and SIGINT; Ctrl-C works in its containers all the same."""
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    zygote = Zygote()
    runtime = ProcessRuntime(tmp_path, ImageStore(None), zygote, lambda *end: ends.put(end))
    pod = a_pod("x", a_container(script=WAITS))
    runtime.open(pod, "127.5.5.5", 0)
    runtime.start(Run(pod, "main", 0))
    runtime.watch(uid_of(pod), "main")
    for number, handler in before.items():
        signal.signal(number, handler)
    session = runtime.exec(a_command(pod, "grep", "SigIgn", "/proc/self/status"))
    ignored = int(read_all(session)["stdout"].split()[1], 16)
    session.close()
    runtime.kill(uid_of(pod), "main")
    ends.get(timeout=10)
    runtime.shut_down()
    zygote.close()
    assert ignored == 0


@pytest.mark.parametrize("tty", [False, True])
def test_a_command_that_does_not_exist_is_refused(
    runtime: ProcessRuntime, run: Callable[..., Object], tty: bool
) -> None:
    with pytest.raises(Refused, match='exec: "no-such": executable file not found in \\$PATH') as refused:
        runtime.exec(a_command(run(), "no-such", tty=tty))
    assert refused.value.reason == "StartError"


@pytest.mark.parametrize("tty", [False, True])
def test_a_command_ends_with_its_client_and_leaves_nothing(
    runtime: ProcessRuntime, run: Callable[..., Object], tty: bool
) -> None:
    script = "setsid sleep 1000 & echo $! $$; wait"
    session = runtime.exec(a_command(run(), "sh", "-c", script, tty=tty, stdin=True))
    pids = [int(word) for word in read_until(session, b"\n").split()]
    assert all(map(is_alive, pids))
    session.close()
    until(lambda: not any(map(is_alive, pids)))


def test_closing_wakes_whoever_reads_waits_and_writes(
    runtime: ProcessRuntime, run: Callable[..., Object]
) -> None:
    session = runtime.exec(a_command(run(), "sleep", "1000", stdin=True))
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()

    def write() -> object:
        try:
            session.write(b"x" * (1 << 22))
        except OSError as error:
            return error.strerror
        return None

    for call in (session.read, session.wait, write):
        threading.Thread(target=lambda call=call: answers.put(call()), daemon=True).start()  # type: ignore[misc]
    session.close()
    found = [answers.get(timeout=10) for _ in range(3)]
    assert {"the command takes no more input", 137, ("", b"")} == set(found)
    session.close()


def test_a_command_ends_with_its_container(
    runtime: ProcessRuntime, run: Callable[..., Object], ends: Ends
) -> None:
    pod = run()
    session = runtime.exec(a_command(pod, "sh", "-c", "echo $$; sleep 1000"))
    pid = int(read_until(session, b"\n"))
    runtime.kill(uid_of(pod), "main")
    ends.get(timeout=10)
    assert session.wait() == 137 and not is_alive(pid)
    session.close()
    with pytest.raises(Refused, match="container not found"):
        runtime.exec(a_command(pod, "true"))


def test_a_command_that_hides_what_it_belongs_to_ends_with_its_container_too(
    runtime: ProcessRuntime, run: Callable[..., Object], ends: Ends
) -> None:
    """Other processes of a container are known by a variable in their environment."""
    pod = run()
    session = runtime.exec(a_command(pod, "env", "-i", "/bin/sh", "-c", "echo $$; exec sleep 1000"))
    pid = int(read_until(session, b"\n"))
    runtime.kill(uid_of(pod), "main")
    ends.get(timeout=10)
    assert session.wait() == 137 and not is_alive(pid)
    session.close()


def test_no_descriptor_is_left(runtime: ProcessRuntime, run: Callable[..., Object]) -> None:
    pod = run()
    runtime.exec(a_command(pod, "true")).close()
    before = len(os.listdir("/proc/self/fd"))
    for tty in (False, True):
        session = runtime.exec(a_command(pod, "cat", tty=tty, stdin=True))
        session.close_input()
        session.close()
        with pytest.raises(Refused):
            runtime.exec(a_command(pod, "no-such", tty=tty))
    assert len(os.listdir("/proc/self/fd")) == before


def test_one_who_attaches_sees_what_comes_and_types(
    runtime: ProcessRuntime, run: Callable[..., Object]
) -> None:
    """The input is a container's own, so a program without `stdin: true` has none."""
    pod = run("while read line; do echo got $line; echo low >&2; done; exit 4", stdin=True)
    with_input, watching = (runtime.attach(uid_of(pod), "main", stdin) for stdin in (True, False))
    with_input.write(b"one\n")
    assert b"got one\n" in read_until(watching, b"low\n")
    with_input.close()
    again = runtime.attach(uid_of(pod), "main", True)
    again.write(b"two\n")
    assert b"got two\n" in read_until(again, b"two\n")
    runtime.kill(uid_of(pod), "main")
    read_all(watching)
    assert watching.wait() == 0
    for session in (watching, again):
        session.close()


def test_input_ends_with_the_first_client_where_it_is_for_once(
    runtime: ProcessRuntime, run: Callable[..., Object], ends: Ends
) -> None:
    pod = run("cat; exit 4", stdin=True, stdinOnce=True)
    watching, typing = (runtime.attach(uid_of(pod), "main", stdin) for stdin in (False, True))
    watching.close()
    typing.write(b"z" * 300_000)
    typing.close_input()
    assert len(read_all(typing)["stdout"]) == 300_000
    assert ends.get(timeout=10)[2].code == 4
    typing.close()


def test_a_container_with_a_terminal_has_one(runtime: ProcessRuntime, run: Callable[..., Object]) -> None:
    pod = run("while read line; do stty size; done", stdin=True, tty=True)
    session = runtime.attach(uid_of(pod), "main", True)
    session.resize(77, 33)
    session.write(b"\n")
    assert b"33 77" in read_until(session, b"77")
    session.close()


def test_a_program_is_not_held_up_by_one_who_does_not_read(
    runtime: ProcessRuntime, run: Callable[..., Object], ends: Ends
) -> None:
    pod = run("sleep 0.1; head -c 20000000 /dev/zero | tr '\\0' '\\n'")
    session = runtime.attach(uid_of(pod), "main", False)
    assert ends.get(timeout=20)[2].code == 0
    session.close()
