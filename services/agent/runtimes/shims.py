"""What a child of the zygote does: it becomes a container's shim, or runs one command inside a container.

A **shim** is the parent of a container's program:

* it is a session of its own and a subreaper, so whatever the program leaves behind stays its descendant;
* it writes `running.json` before the program executes its first instruction, and `exit.json` (fsync, rename) after
  the last process is gone: a file says at any moment what happened, whoever was alive to see it;
* it copies stdout and stderr into the log, one line each: `<RFC 3339 with nanoseconds> stdout F <text>`;
* TERM asks the program's process group to end; USR1 kills every descendant.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import socket
import termios
import time
from contextlib import suppress
from typing import Any

from services.agent.runtimes.attachments import Attachments, Input
from services.agent.runtimes.cgroups import enter_group, find_hierarchy, kills_in, remove_group
from services.agent.runtimes.log_files import LogFile, reserve_file, write_file
from services.agent.runtimes.namespaces import enter_namespaces, join_namespaces
from services.agent.runtimes.processes import (
    become_parent,
    boot_id,
    die_with_parent,
    kill_all,
    start_of,
    take_no_privileges,
)

Json = dict[str, Any]

OUTPUT_LIMIT = 10 << 10
"""How much of the output of a command run inside a container is kept (kubelet: maxReadLength)."""
TERMINATION_PLACE = "/dev/termination-log"
"""Where Kubernetes' programs leave a message. An empty file there spares every container 5 ms for a mirror of /dev."""
START_ERROR = 128
"""The exit code of a program that could not be executed (containerd)."""


def execute(request: Json, streams: tuple[int, int, int], report: int) -> None:
    """Become the program of `request`; what prevents it is written to `report`. Never returns."""
    try:
        _forget_signals()
        for target, source in enumerate(streams):
            os.dup2(source, target)
        os.umask(0o022)
        enter_group(request.get("groups", ()))
        if request["mode"] != "none":
            if "join" in request:
                join_namespaces(request["mode"], request["join"])
            else:
                is_read_only = bool(request.get("read_only"))
                enter_namespaces(
                    request["mode"], request["hostname"], request["root"], request["mounts"], is_read_only
                )
        os.chdir(request["directory"])
        if identity := request.get("identity"):
            _become(identity)
        if request.get("no_new_privileges"):
            take_no_privileges()
        os.execve(_program(request["command"][0], request["env"]["PATH"]), request["command"], request["env"])
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        os.write(report, _message_of(error).encode(errors="replace")[:4000])
    os._exit(127)


def _forget_signals() -> None:
    """Make every signal do what it does by default: what whoever started us ignores (`nohup`, `&`) is inherited."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _become(identity: Json) -> None:
    """Take on other ids, for good. The wish to die with the parent is lost by that, and made again."""
    os.setgroups(identity["groups"])
    os.setresgid(*[identity["group"]] * 3)
    os.setresuid(*[identity["user"]] * 3)
    die_with_parent()


def _message_of(error: BaseException) -> str:
    """Return what went wrong in words, without the number that Python puts before it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or repr(error)


def exit_code_of(status: int) -> int:
    """Return the exit code for a wait status: 128 + n where signal n ended the program."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _nothing() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


def _let_go_of_streams() -> None:
    """Leave the agent's terminal and pipes, which a shim outlives."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(null)


def _program(name: str, path: str) -> str:
    """Return the file that `name` means: itself with a slash in it, else the first executable on `path`."""
    if "/" in name:
        return name
    for folder in path.split(":"):
        candidate = os.path.join(folder, name)
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise FileNotFoundError(errno.ENOENT, f'exec: "{name}": executable file not found in $PATH')


class Shim:
    """Serves one container from its start to its end."""

    def __init__(self, request: Json, connection: socket.socket, lock: int) -> None:
        self.request = request
        self.lock = lock
        self.connection = connection
        self.state = request["state"]
        self.status: int | None = None
        self.log = LogFile(request["log"])
        self.poll = select.poll()
        self.typed: Input | None = None
        self.wake, wake_end = socket.socketpair()
        self.wake.setblocking(False)
        wake_end.setblocking(False)
        self._wake_end = wake_end
        signal.set_wakeup_fd(wake_end.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def run(self) -> None:
        """Start the program, answer the request, and stay until everything has ended.

        A program that could not be executed is answered last, when the next run may begin.
        """
        outputs = self._start()
        if self.error:
            self._finish()
            os.close(self.lock)
            self._answer({"error": self.error})
            return
        self.attached = Attachments(self.state, self.poll, self.typed, bool(self.request.get("stdin_once")))
        self._answer(self._identity())
        _let_go_of_streams()
        self._serve(outputs)
        self._finish()

    def _answer(self, answer: Json) -> None:
        self.connection.sendall(json.dumps(answer).encode())
        self.connection.close()

    def _start(self) -> dict[int, str]:
        """Fork the program and wait until it executes. Returns the streams to copy, by descriptor."""
        streams, outputs = self._open_streams()
        report, gate = os.pipe(), os.pipe()
        self.started_at = time.time_ns() // 1_000_000
        self.main = os.fork()
        if self.main == 0:
            signal.set_wakeup_fd(-1)
            die_with_parent()
            os.setsid()
            os.close(gate[1])
            if os.read(gate[0], 1) == b"":
                os._exit(127)
            if self.request.get("tty"):
                fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
            execute(self.request, streams, report[1])
        for descriptor in (*set(streams), report[1], gate[0]):
            os.close(descriptor)
        reserve_file(f"{self.state}/exit.json")
        write_file(f"{self.state}/running.json", self._identity(), sync=False)
        os.write(gate[1], b"g")
        os.close(gate[1])
        self.error = os.read(report[0], 4096).decode()
        os.close(report[0])
        return outputs

    def _open_streams(self) -> tuple[tuple[int, int, int], dict[int, str]]:
        """Return the program's streams, and the ends of them to copy; `tty` and `stdin` are the container's."""
        if self.request.get("tty"):
            master, terminal = os.openpty()
            if self.request.get("stdin"):
                self.typed = Input(self.poll, os.dup(master), is_terminal=True)
            return (terminal, terminal, terminal), {master: "stdout"}
        if self.request.get("stdin"):
            stdin, typed = os.pipe()
            self.typed = Input(self.poll, typed, is_terminal=False)
        else:
            stdin = _nothing()
        out, err = os.pipe(), os.pipe()
        return (stdin, out[1], err[1]), {out[0]: "stdout", err[0]: "stderr"}

    def _identity(self) -> Json:
        me = os.getpid()
        return {
            "shim": me,
            "shim_start": start_of(me),
            "main": self.main,
            "main_start": start_of(self.main),
            "boot": boot_id(),
            "started_at": self.started_at,
        }

    def _serve(self, outputs: dict[int, str]) -> None:
        for descriptor in (*outputs, self.wake.fileno()):
            self.poll.register(descriptor, select.POLLIN)
        while self.status is None:
            for descriptor, _ in self.poll.poll():
                if descriptor == self.wake.fileno():
                    self._handle_signals()
                elif not self.attached.handles(descriptor):
                    self._copy(descriptor, outputs)
        kill_all()
        self.poll.unregister(self.wake.fileno())
        self.attached.close()
        while outputs and (ready := self.poll.poll(1000)):
            for descriptor, _ in ready:
                if not self.attached.handles(descriptor):
                    self._copy(descriptor, outputs)

    def _copy(self, descriptor: int, outputs: dict[int, str]) -> None:
        """Copy what there is; a terminal that nobody has open any more is at its end (EIO)."""
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.log.add(outputs[descriptor], data)
            self.attached.spread(outputs[descriptor], data)
        else:
            self.poll.unregister(descriptor)
            os.close(descriptor)
            del outputs[descriptor]

    def _handle_signals(self) -> None:
        received = set(self.wake.recv(4096))
        if signal.SIGUSR1 in received:
            self.status = kill_all().get(self.main, signal.SIGKILL)
            return
        if signal.SIGTERM in received:
            with suppress(ProcessLookupError):
                os.killpg(self.main, signal.SIGTERM)
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.main:
                self.status = status

    def _finish(self) -> None:
        if self.error:
            os.waitpid(self.main, 0)
            code, number = START_ERROR, 0
        else:
            status = self.status or 0
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            code = exit_code_of(status)
        self.log.end()
        groups = self.request.get("groups", ())
        reason = "StartError" if self.error else "Completed" if code == 0 else "Error"
        if kills_in(groups):
            reason = "OOMKilled"
        write_file(
            f"{self.state}/exit.json",
            {
                "code": code,
                "signal": number,
                "reason": reason,
                "message": self.error,
                "started_at": self.started_at,
                "finished_at": time.time_ns() // 1_000_000,
            },
            sync=True,
        )
        remove_group(groups)


def run_container(request: Json, connection: socket.socket) -> None:
    """Become the shim of a container. A lock makes sure that there is one at a time for each container."""
    become_parent()
    lock = os.open(request["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        connection.sendall(json.dumps({"busy": "another run of this container has not ended"}).encode())
        return
    Shim(request, connection, lock).run()


def run_command(request: Json, connection: socket.socket) -> None:
    """Run a command inside a container and answer {"code", "output"} or {"timeout"}; nothing of it stays."""
    become_parent()
    if start_of(request["join"]) != request["join_start"]:
        connection.sendall(json.dumps({"gone": True}).encode())
        return
    out, report = os.pipe(), os.pipe()
    main = os.fork()
    if main == 0:
        os.setsid()
        execute(request, (_nothing(), out[1], out[1]), report[1])
    os.close(out[1])
    os.close(report[1])
    deadline = time.monotonic() + request["timeout"] / 1000
    output = b""
    poll = select.poll()
    poll.register(out[0], select.POLLIN)
    handle = os.pidfd_open(main)
    poll.register(handle, select.POLLIN)
    is_over = False
    while not is_over and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(max(1, int(left * 1000))):
            if descriptor == handle:
                is_over = True
            elif data := os.read(descriptor, 65536):
                output = (output + data)[:OUTPUT_LIMIT]
            else:
                poll.unregister(descriptor)
    status = kill_all().get(main, 0)
    error = os.read(report[0], 4096)
    answer: Json = {
        "code": 126 if error else os.waitstatus_to_exitcode(status),
        "output": (error or _rest_of(out[0], output)).decode(errors="replace"),
    }
    connection.sendall(json.dumps(answer if is_over else {"timeout": True}).encode())


def _rest_of(descriptor: int, output: bytes) -> bytes:
    """Return `output` and what else is in the pipe now, up to the limit."""
    os.set_blocking(descriptor, False)
    try:
        while len(output) < OUTPUT_LIMIT and (data := os.read(descriptor, 65536)):
            output += data
    except BlockingIOError:
        pass
    return output[:OUTPUT_LIMIT]


def find_abilities(request: Json, connection: socket.socket) -> None:
    """Answer what this machine allows: {"mode", "read_only", "bases", "refusals"}.

    `mode` tells the namespaces (root, user, none), `read_only` whether mounts can be made so, the others where
    groups can be (see cgroups.Hierarchy).
    """
    modes = [(mode, way) for mode in ("root", "user") for way in ("ro", "rw")]
    mode, way = next((each for each in modes if _is_possible(request["root"], *each)), ("none", "rw"))
    if mode == "root":
        with suppress(OSError):
            os.close(os.open(TERMINATION_PLACE, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    hierarchy = find_hierarchy(request["key"])
    answer = {"mode": mode, "read_only": way == "ro", **hierarchy._asdict()}
    connection.sendall(json.dumps(answer).encode())


def _is_possible(root: str, mode: str, way: str) -> bool:
    """Return whether a process may enter namespaces with a mount of its own; tried by a child."""
    pid = os.fork()
    if pid == 0:
        try:
            enter_namespaces(mode, "probe", root, [["/etc", f"/chronoset-{os.getpid()}", way]])
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
