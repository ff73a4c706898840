"""The process that starts containers, run as a script of its own that imports nothing but the standard library.

Why: a container's program needs a parent that outlives the agent (else its exit code is lost when the agent is
restarted), is small, and may be forked safely (no threads). So the agent starts one zygote; for each request the
zygote forks a child that serves it. To start a container that child becomes the container's **shim**:

* it is a session of its own and a subreaper, so whatever the program leaves behind stays its descendant;
* it writes `running.json` before the program executes its first instruction, and `exit.json` (fsync, rename) after
  the last process is gone: a file says at any moment what happened, whoever was alive to see it;
* it copies stdout and stderr into the log, one line each: `<RFC 3339 with nanoseconds> stdout F <text>`;
* TERM asks the program's process group to end; USR1 kills every descendant.

A request is one end of a socket pair, sent over the control socket that is this program's only argument; JSON to
its end of file goes in, JSON comes out. When the control socket closes, the zygote ends; shims stay.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import stat
import sys
import time
from contextlib import suppress
from typing import Any

Json = dict[str, Any]

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWUSER = 0x00020000, 0x04000000, 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

LOG_LIMIT = 10 << 20
"""A log file larger than this is moved to `<name>.1`, whose predecessor goes (kubelet: containerLogMaxSize)."""
LINE_LIMIT = 16 << 10
"""Longer lines are cut into parts tagged P, the last one F (the CRI log format)."""
OUTPUT_LIMIT = 10 << 10
"""How much of the output of a command run inside a container is kept (kubelet: maxReadLength)."""
START_ERROR = 128
"""The exit code of a program that could not be executed (containerd)."""


# --- processes ------------------------------------------------------------------------------------------------


def boot_id() -> str:
    """Return what tells this run of the machine from all others."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_of(pid: int) -> int:
    """Return when the process began (clock ticks since boot): (pid, start) is never used twice. 0: no process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def descendants_of(root: int) -> list[int]:
    """Return the pids of all processes below `root`, zombies left out."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != b"Z":
                children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def kill_all() -> dict[int, int]:
    """Kill every descendant and reap it; return the wait status of each direct child that was reaped.

    It ends only when there is no child left: orphans come to us (subreaper), so nothing can slip away.
    """
    ended: dict[int, int] = {}
    pause = 0.001
    while True:
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                ended[pid] = status
        except ChildProcessError:
            return ended
        for pid in descendants_of(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def _become_parent() -> None:
    """Make this process a session of its own that inherits the orphans among its descendants."""
    os.setsid()
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _LIBC.prctl(_PR_SET_NAME, b"chronoset-shim", 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


# --- files ----------------------------------------------------------------------------------------------------


def write_file(path: str, content: Json, sync: bool) -> None:
    """Write JSON so that a reader sees all of it or nothing; with `sync` also after a power failure."""
    partial = f"{path}.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.write(descriptor, json.dumps(content).encode())
    if sync:
        os.fsync(descriptor)
    os.close(descriptor)
    os.rename(partial, path)
    if sync:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)


class LogFile:
    """A container's log: both streams, one line each, moved aside when it grows too large."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._rest = {"stdout": b"", "stderr": b""}
        self._open()

    def add(self, stream: str, data: bytes) -> None:
        """Add what was read from a stream; what comes after the last newline waits for the rest of its line."""
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        entries: list[bytes] = []
        prefix = f"{_timestamp()} {stream} ".encode()
        for line in lines:
            while len(line) > LINE_LIMIT:
                entries.append(prefix + b"P " + line[:LINE_LIMIT] + b"\n")
                line = line[LINE_LIMIT:]
            entries.append(prefix + b"F " + line + b"\n")
        while len(rest) > LINE_LIMIT:
            entries.append(prefix + b"P " + rest[:LINE_LIMIT] + b"\n")
            rest = rest[LINE_LIMIT:]
        self._rest[stream] = rest
        self._write(b"".join(entries))

    def end(self) -> None:
        """Write the lines that never got their newline."""
        for stream, rest in self._rest.items():
            if rest:
                self.add(stream, b"\n")

    def _write(self, data: bytes) -> None:
        try:
            while data:
                written = os.write(self._file, data)
                self._size += written
                data = data[written:]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
        if self._size > LOG_LIMIT:
            os.close(self._file)
            os.rename(self.path, f"{self.path}.1")
            self._open()

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size


def _timestamp() -> str:
    seconds, fraction = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z"


# --- namespaces -----------------------------------------------------------------------------------------------


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    _check(
        _LIBC.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, None),
        f"mount {source} at {target}",
    )


def _bind(source: str, target: str) -> None:
    _mount(source, target, None, _MS_BIND | _MS_REC)


def enter_namespaces(mode: str, hostname: str, root: str, mounts: list[list[str]]) -> None:
    """Give this process mounts and a host name of its own; `mounts` are [source, target] pairs.

    `mode` is `root`, or `user` for a user namespace in which the caller keeps its ids. A target that does not
    exist is made without touching the host's disk: its nearest ancestor is replaced by a mirror in memory.
    """
    uid, gid = os.getuid(), os.getgid()
    user = _CLONE_NEWUSER if mode == "user" else 0
    _check(_LIBC.unshare(_CLONE_NEWNS | _CLONE_NEWUTS | user), "unshare")
    if user:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _check(_LIBC.sethostname(hostname.encode(), len(hostname)), "sethostname")
    handles = [
        (target, os.open(source, os.O_PATH | os.O_CLOEXEC)) for source, target in sorted(mounts, key=_target)
    ]
    missing = [target for target, _ in handles if not os.path.lexists(target)]
    prefix = root if any(_ancestor_of("", target) == "/" for target in missing) else ""
    if prefix:
        _mirror_folder("/", root)
    mirrored = {"/"}
    for target, handle in handles:
        if not os.path.lexists(prefix + target):
            ancestor = _ancestor_of(prefix, target)
            if ancestor not in mirrored:
                _mirror_folder(prefix + ancestor, prefix + ancestor)
                mirrored.add(ancestor)
            os.makedirs(prefix + target)
        _bind(f"/proc/self/fd/{handle}", prefix + target)
    if prefix:
        _change_root(root)


def _target(mount: list[str]) -> str:
    return mount[1]


def _ancestor_of(prefix: str, target: str) -> str:
    """Return the nearest directory above `target` that exists below `prefix`."""
    ancestor = os.path.dirname(target)
    while not os.path.isdir(prefix + ancestor):
        ancestor = os.path.dirname(ancestor)
    return ancestor


def _mirror_folder(source: str, place: str) -> None:
    """Mount memory at `place` in which every entry of the folder `source` appears."""
    handle = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    original = f"/proc/self/fd/{handle}"
    _mount("chronoset", place, "tmpfs", 0)
    os.chmod(place, stat.S_IMODE(os.stat(original).st_mode))
    for name in os.listdir(original):
        _mirror(f"{original}/{name}", f"{place}/{name}")
    os.close(handle)


def _mirror(source: str, target: str) -> None:
    mode = os.lstat(source).st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
        return
    if stat.S_ISDIR(mode):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    _bind(source, target)


def _change_root(root: str) -> None:
    number = _PIVOT_ROOT.get(os.uname().machine)
    os.chdir(root)
    if number is None or _LIBC.syscall(number, b".", b".") != 0:
        os.chroot(".")
    else:
        _check(_LIBC.umount2(b".", _MNT_DETACH), "umount the old root")
    os.chdir("/")


def join_namespaces(mode: str, pid: int) -> None:
    """Enter the namespaces and the root directory of a container's program."""
    kinds = ["mnt", "uts"] if mode == "root" else ["user", "mnt", "uts"]
    handles = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_CLOEXEC)
    for handle in handles:
        _check(_LIBC.setns(handle, 0), "setns")
    os.fchdir(root)
    os.chroot(".")


# --- the requests ---------------------------------------------------------------------------------------------


def _execute(request: Json, streams: tuple[int, int], report: int) -> None:
    """Become the program of `request`; what prevents it is written to `report`. Never returns."""
    try:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        for target, source in enumerate((null, *streams)):
            os.dup2(source, target)
        os.umask(0o022)
        if request["mode"] != "none":
            if "join" in request:
                join_namespaces(request["mode"], request["join"])
            else:
                enter_namespaces(request["mode"], request["hostname"], request["root"], request["mounts"])
        os.chdir(request["directory"])
        os.execve(_program(request["command"][0], request["env"]["PATH"]), request["command"], request["env"])
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        os.write(report, str(error).encode(errors="replace")[:4000])
    os._exit(127)


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
        self._answer(self._identity())
        _let_go_of_streams()
        self._serve(outputs)
        self._finish()

    def _answer(self, answer: Json) -> None:
        self.connection.sendall(json.dumps(answer).encode())
        self.connection.close()

    def _start(self) -> dict[int, str]:
        """Fork the program and wait until it executes. Returns the streams to copy, by descriptor."""
        out, err, report, gate = os.pipe(), os.pipe(), os.pipe(), os.pipe()
        self.started_at = time.time_ns() // 1_000_000
        self.main = os.fork()
        if self.main == 0:
            signal.set_wakeup_fd(-1)
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.setsid()
            os.close(gate[1])
            if os.read(gate[0], 1) == b"":
                os._exit(127)
            _execute(self.request, (out[1], err[1]), report[1])
        for descriptor in (out[1], err[1], report[1], gate[0]):
            os.close(descriptor)
        write_file(f"{self.state}/running.json", self._identity(), sync=False)
        os.write(gate[1], b"g")
        os.close(gate[1])
        self.error = os.read(report[0], 4096).decode()
        os.close(report[0])
        return {out[0]: "stdout", err[0]: "stderr"}

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
        poll = select.poll()
        for descriptor in (*outputs, self.wake.fileno()):
            poll.register(descriptor, select.POLLIN)
        while self.status is None:
            for descriptor, _ in poll.poll():
                if descriptor == self.wake.fileno():
                    self._handle_signals()
                else:
                    self._copy(descriptor, outputs, poll)
        kill_all()
        poll.unregister(self.wake.fileno())
        while outputs and (ready := poll.poll(1000)):
            for descriptor, _ in ready:
                self._copy(descriptor, outputs, poll)

    def _copy(self, descriptor: int, outputs: dict[int, str], poll: select.poll) -> None:
        if data := os.read(descriptor, 65536):
            self.log.add(outputs[descriptor], data)
        else:
            poll.unregister(descriptor)
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
            code = 128 + number if number else os.WEXITSTATUS(status)
        self.log.end()
        write_file(
            f"{self.state}/exit.json",
            {
                "code": code,
                "signal": number,
                "reason": "StartError" if self.error else "Completed" if code == 0 else "Error",
                "message": self.error,
                "started_at": self.started_at,
                "finished_at": time.time_ns() // 1_000_000,
            },
            sync=True,
        )


def run_container(request: Json, connection: socket.socket) -> None:
    """Become the shim of a container. A lock makes sure that there is one at a time for each container."""
    _become_parent()
    lock = os.open(request["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        connection.sendall(json.dumps({"busy": "another run of this container has not ended"}).encode())
        return
    Shim(request, connection, lock).run()


def run_command(request: Json, connection: socket.socket) -> None:
    """Run a command inside a container and answer {"code", "output"} or {"timeout"}; nothing of it stays."""
    _become_parent()
    if start_of(request["join"]) != request["join_start"]:
        connection.sendall(json.dumps({"gone": True}).encode())
        return
    out, report = os.pipe(), os.pipe()
    main = os.fork()
    if main == 0:
        os.setsid()
        _execute(request, (out[1], out[1]), report[1])
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


def find_mode(request: Json, connection: socket.socket) -> None:
    """Answer which namespaces this machine allows: {"mode": "root" | "user" | "none"}."""
    for mode in ("root", "user"):
        pid = os.fork()
        if pid == 0:
            try:
                enter_namespaces(
                    mode, "probe", request["root"], [[request["root"], f"/chronoset-{os.getpid()}"]]
                )
                os._exit(0)
            except OSError:
                os._exit(1)
        if os.waitpid(pid, 0)[1] == 0:
            connection.sendall(json.dumps({"mode": mode}).encode())
            return
    connection.sendall(json.dumps({"mode": "none"}).encode())


def _serve_request(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data = bytearray()
    while chunk := connection.recv(65536):
        data += chunk
    request: Json = json.loads(data)
    try:
        {"start": run_container, "execute": run_command, "mode": find_mode}[request["do"]](
            request, connection
        )
    except Exception as error:
        with suppress(OSError):
            connection.sendall(json.dumps({"failed": repr(error)}).encode())
        raise


def main() -> None:
    """Serve the control socket whose descriptor is the first argument, until it closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.setsid()
    os.chdir("/")
    _LIBC.prctl(_PR_SET_NAME, b"chronoset-zygote", 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, handles, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        os.set_inheritable(handles[0], False)
        if os.fork() == 0:
            try:
                control.close()
                _serve_request(socket.socket(fileno=handles[0]))
            finally:
                os._exit(0)
        os.close(handles[0])


if __name__ == "__main__":
    main()
