"""The process runtime: containers are plain processes of this machine. No root, no daemon.

Every container has a shim (see `shims`) that outlives the agent and keeps its story in files, so an agent that is
killed and started again finds its pods running and learns how those ended that did not wait:

    <node>/container-logs/                                links to all logs, as collectors look for them
    <node>/pods/<uid>/pod.json                            the pod as it was accepted, and its address
    <node>/pods/<uid>/hosts                               its hosts file
    <node>/pods/<uid>/volumes/<name>/                     its own volumes: emptyDir, configMap, secret, ...
    <node>/pods/<uid>/containers/<name>/work/             its working directory
    <node>/pods/<uid>/containers/<name>/<n>/              run n: program.json, running.json, exit.json, log
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from schemas.errors import NotFound
from schemas.objects import Object, name_of, namespace_of, uid_of
from schemas.times import Milliseconds
from services.agent.config_volumes import Files
from services.agent.hooks import hook_of
from services.agent.host_paths import LOGS, place_of
from services.agent.images import ImageStore
from services.agent.lifecycle import Exit, Started, probes_of
from services.agent.logs import batches
from services.agent.runtimes.cgroups import Hierarchy, make_group, remove_group, remove_leftovers
from services.agent.runtimes.endings import VARIABLE, make_termination_file, message_of, termination_file
from services.agent.runtimes.log_files import write_file
from services.agent.runtimes.log_links import LogLinks
from services.agent.runtimes.ownership import give_mounts
from services.agent.runtimes.pod_folders import PodFolders, Record
from services.agent.runtimes.port import (
    Answer,
    Command,
    FoundPod,
    FoundRun,
    LogLine,
    LogQuery,
    OnExit,
    Refused,
    Run,
    Sandbox,
    Session,
    Usage,
)
from services.agent.runtimes.processes import CONTAINER, boot_id, kill_marked, start_of
from services.agent.runtimes.programs import Folders, Program, program_of
from services.agent.runtimes.restraints import (
    RW,
    Abilities,
    has_read_only_root,
    limits_of,
    remarks_on,
    takes_no_privileges,
    ways_of,
)
from services.agent.runtimes.sessions import Attachment, begin_command
from services.agent.runtimes.squatters import Squatter, squatters_at
from services.agent.runtimes.zygotes import Zygote
from services.agent.specs import spec_of
from services.agent.statuses import ADDRESS_FREE, Remark

Json = dict[str, Any]
_log = structlog.get_logger("chronoset.process-runtime")

KEPT_RUNS = 2
"""How many runs of a container keep their log: the current one and the one before (`logs --previous`)."""
HOSTS_FILE = "/etc/hosts"


@dataclass(frozen=True, slots=True)
class _Running:
    """A run whose shim we know."""

    uid: str
    container: str
    attempt: int
    identity: Json


class ProcessRuntime:
    """Runs the pods of one node below `directory`; `on_exit` hears of every end that is watched.

    `environment` are variables for every program; a pod may have at most `most_processes`, where groups can be made.
    `shares_address`: pods have the node's address.
    """

    name = "process"

    def __init__(
        self,
        directory: Path,
        images: ImageStore,
        zygote: Zygote,
        on_exit: OnExit,
        environment: Mapping[str, str] = MappingProxyType({}),
        most_processes: int | None = None,
        shares_address: bool = False,
    ) -> None:
        self._environment = environment
        self._shares_address = shares_address
        self._folders = PodFolders(directory)
        self._pods = self._folders.path
        self._links = LogLinks(place_of(directory.absolute(), LOGS))
        self._images = images
        self._zygote = zygote
        self._on_exit = on_exit
        self._boot = boot_id()
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, str], _Running] = {}
        self._executing: Counter[tuple[str, str]] = Counter()
        self._watched: dict[int, _Running] = {}
        self._epoll = select.epoll()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._stop, select.EPOLLIN)
        self._abilities = self._find_abilities(directory, most_processes)
        self._watcher = threading.Thread(target=self._watch_ends, name="container-ends", daemon=True)
        self._watcher.start()

    # --- pods

    def open(self, pod: Object, address: str, now: Milliseconds) -> Sandbox:
        """Make the pod's folders and remember it there. See Runtime.open."""
        record = self._folders.record_of(uid_of(pod)) or Record(pod, address, now)
        self._folders.remember(record)
        (self._pods / uid_of(pod) / "root").mkdir(exist_ok=True)
        return Sandbox(record.address, self._static_remarks(pod))

    def write_hosts(self, uid: str, text: str) -> None:
        """See Runtime.write_hosts."""
        self._folders.write_hosts(uid, text)

    def write_volume(self, uid: str, volume: str, files: Files) -> None:
        """See Runtime.write_volume."""
        self._folders.write_volume(uid, volume, files)

    def close(self, uid: str) -> None:
        """Remove the pod's folders; claim volumes are not among them."""
        with self._lock:
            for table in (self._runs, self._executing):
                for key in [key for key in table if key[0] == uid]:
                    del table[key]
        self._folders.remove(uid)
        self._links.tidy()

    def usage(self, uid: str) -> Usage:
        """See Runtime.usage."""
        return Usage(self._folders.volume_sizes(uid), self._folders.container_sizes(uid))

    def release(self, uid: str) -> None:
        """See Runtime.release."""
        self._folders.empty(uid)

    def remarks(self, pod: Object, address: str) -> tuple[Remark, ...]:
        """See Runtime.remarks."""
        ports = {
            int(port["containerPort"])
            for container in pod["spec"]["containers"]
            for port in container.get("ports") or ()
        }
        is_shared = self._shares_address or bool(pod["spec"].get("hostNetwork"))
        held = [self._held(each) for each in squatters_at(address, ports, uid_of(pod), is_shared)]
        static = self._static_remarks(pod)
        if not held:
            return static
        return (*static, Remark(ADDRESS_FREE, "False", "AddressInUse", f"of {address}, {'; '.join(held)}"))

    def found(self) -> list[FoundPod]:
        """Return the pods below the directory; half-made ones that never ran anything are removed."""
        pods: list[FoundPod] = []
        for known in self._folders.found():
            runs = tuple(self._found_runs(known.pod, self._pods / uid_of(known.pod)))
            remarks = self._static_remarks(known.pod)
            pods.append(FoundPod(known.pod, known.address, known.accepted_at, runs, remarks))
        living = {
            (uid_of(pod.pod), f"{run.container}.{run.attempt}")
            for pod in pods
            for run in pod.runs
            if run.exit is None
        }
        if count := remove_leftovers(self._abilities.hierarchy, living):
            _log.warning("removed control groups that were left behind", count=count)
        return pods

    def mounted(self) -> set[str]:
        """See Runtime.mounted."""
        records = self._pods.glob("*/containers/*/*/program.json")
        return {source for record in records for source, *_ in _read(record).get("mounts", ())}

    # --- containers

    def start(self, run: Run) -> Started | Exit:
        """Start a run. See Runtime.start."""
        uid = uid_of(run.pod)
        folders = Folders(self._pods / uid, run.container)
        container_id = container_id_of(uid, run.container, run.attempt)
        state = folders.home / str(run.attempt)
        message_file = str(termination_file(state))
        given = {**self._environment, CONTAINER: container_id, VARIABLE: message_file}
        program = program_of(run, folders, self._images, given)
        give_mounts(run.pod, program.mounts)
        state.mkdir(parents=True, exist_ok=True)
        self._forget_old_runs(folders.home, run.attempt)
        self._links.add(run.pod, run.container, container_id, state / "log")
        record = asdict(program) | {
            **self._restraints_of(run, program, state),
            "root": str(folders.pod / "root"),
            "hostname": program.env["HOSTNAME"],
            **_terminal_of(spec_of(run.pod, run.container)),
        }
        write_file(str(state / "program.json"), record, sync=False)
        answer = self._zygote.ask(
            record
            | {
                "do": "start",
                "state": str(state),
                "log": str(state / "log"),
                "lock": str(folders.home / "lock"),
            }
        )
        return self._result_of(run, answer, state)

    def watch(self, uid: str, container: str) -> None:
        """See Runtime.watch."""
        with self._lock:
            running = self._runs.get((uid, container))
        if running is None:
            return
        handle = self._open_shim(running)
        if handle is None:
            self._end(running)
            return
        self._watched[handle] = running
        self._epoll.register(handle, select.EPOLLIN | select.EPOLLONESHOT)

    def stop(self, uid: str, container: str) -> None:
        """See Runtime.stop."""
        self._signal(uid, container, signal.SIGTERM)

    def kill(self, uid: str, container: str) -> None:
        """See Runtime.kill."""
        self._signal(uid, container, signal.SIGUSR1)

    def execute(self, uid: str, container: str, command: list[str], timeout: Milliseconds) -> Answer:
        """See Runtime.execute."""
        with self._lock:
            running = self._runs.get((uid, container))
        if running is None:
            raise Refused("NotRunning", f"container {container!r} does not run")
        record = json.loads((self._state_of(running) / "program.json").read_bytes())
        identity = running.identity
        request = {"do": "execute", "command": command, "timeout": timeout}
        joined = {"join": identity["main"], "join_start": identity["main_start"]}
        with self._lock:
            self._executing[uid, container] += 1
        try:
            answer = self._zygote.ask(record | request | joined, timeout / 1000 + 10)
        finally:
            with self._lock:
                self._executing[uid, container] -= 1
        if "timeout" in answer:
            raise TimeoutError(f"command {command} timed out after {timeout / 1000:g} s")
        if "code" not in answer:
            raise Refused("NotRunning", str(answer.get("failed", f"container {container!r} has ended")))
        return Answer(answer["code"], answer["output"])

    def exec(self, command: Command) -> Session:
        """See Runtime.exec."""
        key = (command.uid, command.container)
        running = self._running(*key)
        record = json.loads((self._state_of(running) / "program.json").read_bytes())
        identity = running.identity
        request = {
            "do": "session",
            "command": list(command.words),
            "tty": command.tty,
            "join": identity["main"],
            "join_start": identity["main_start"],
        }
        if command.tty:
            request["env"] = {"TERM": "xterm", **record["env"]}
        with self._lock:
            self._executing[key] += 1  # for good: whoever it is that ends it, nothing of it outlives the run
        return begin_command(self._zygote, record | request, command)

    def attach(self, uid: str, container: str, stdin: bool) -> Session:
        """See Runtime.attach."""
        running = self._running(uid, container)
        try:
            return Attachment(self._state_of(running), stdin)
        except OSError:
            raise Refused("NotRunning", f"container {container!r} lets nobody attach") from None

    def log(self, uid: str, container: str, attempt: int, query: LogQuery) -> Iterator[list[LogLine]]:
        """See Runtime.log."""
        state = self._pods / uid / "containers" / container / str(attempt)
        if not (state / "log").exists():
            raise NotFound(f"the log of run {attempt} of container {container!r} is not kept")
        return batches(state / "log", query, partial(self._is_over, state))

    def shut_down(self) -> None:
        """Stop watching; containers run on."""
        os.eventfd_write(self._stop, 1)
        self._watcher.join()
        for handle in self._watched:
            os.close(handle)
        self._watched.clear()
        self._epoll.close()
        os.close(self._stop)

    # --- how

    def _running(self, uid: str, container: str) -> _Running:
        """Return the run that goes on. Raises Refused."""
        with self._lock:
            running = self._runs.get((uid, container))
        if running is None:
            raise Refused("NotRunning", f"container not found ({json.dumps(container)})")
        return running

    def _is_over(self, state: Path) -> bool:
        if (state / "exit.json").exists() or not state.exists():
            return True
        identity = _read(state / "running.json")
        return bool(identity) and not self._is_alive(identity)

    def _result_of(self, run: Run, answer: Json, state: Path) -> Started | Exit:
        uid = uid_of(run.pod)
        container_id = container_id_of(uid, run.container, run.attempt)
        if "busy" in answer and (state / "running.json").exists() and not (state / "exit.json").exists():
            answer = json.loads((state / "running.json").read_bytes())
        if "error" in answer:
            now = time.time_ns() // 1_000_000
            return Exit(128, 0, "StartError", answer["error"], now, now, container_id)
        if "shim" not in answer:
            raise Refused("CreateContainerError", str(answer.get("busy") or answer.get("failed") or answer))
        with self._lock:
            self._runs[uid, run.container] = _Running(uid, run.container, run.attempt, answer)
        return self._started(run.pod, run.container, state, answer)

    def _started(self, pod: Object, container: str, state: Path, identity: Json) -> Started:
        program = json.loads((state / "program.json").read_bytes())
        at = int(identity["started_at"])
        return Started(
            container_id=container_id_of(uid_of(pod), container, int(state.name)),
            image_id=program["image_id"],
            is_verified=program["is_verified"],
            at=at,
            probes=probes_of(spec_of(pod, container), at),
            has_post_start=hook_of(spec_of(pod, container), "postStart") is not None,
        )

    def _found_runs(self, pod: Object, folder: Path) -> Iterator[FoundRun]:
        """Yield the last run of each container that began; its end too, where it has come."""
        for home in sorted((folder / "containers").glob("*")):
            states = [state for state in runs_in(home) if (state / "running.json").exists()]
            if not states:
                continue
            state = states[-1]
            identity = json.loads((state / "running.json").read_bytes())
            running = _Running(uid_of(pod), home.name, int(state.name), identity)
            is_alive = self._is_alive(identity)
            with self._lock:
                self._runs[uid_of(pod), home.name] = running
            yield FoundRun(
                container=home.name,
                attempt=int(state.name),
                started=self._started(pod, home.name, state, identity),
                exit=None if is_alive else self._exit_of(running),
            )

    def _is_alive(self, identity: Json) -> bool:
        return bool(identity["boot"] == self._boot and start_of(identity["shim"]) == identity["shim_start"])

    def _exit_of(self, running: _Running) -> Exit:
        """Return how a run ended whose shim is gone; where the shim was killed, end what it left behind."""
        container_id = container_id_of(running.uid, running.container, running.attempt)
        try:
            record = json.loads((self._state_of(running) / "exit.json").read_bytes())
        except FileNotFoundError:
            kill_marked({container_id})
            remove_group(_read(self._state_of(running) / "program.json").get("groups", ()))
            message = "the container's shim was lost, and with it how the program ended"
            now = time.time_ns() // 1_000_000
            started_at = running.identity["started_at"]
            return Exit(137, 0, "ContainerStatusUnknown", message, started_at, now, container_id)
        said = self._message_of(running, record["code"])
        message = ": ".join(part for part in (record["message"], said) if part)
        return Exit(**record | {"message": message}, container_id=container_id)

    def _message_of(self, running: _Running, code: int) -> str:
        """Return what the program has said of its end."""
        record = self._folders.record_of(running.uid)
        if record is None:
            return ""
        return message_of(spec_of(record.pod, running.container), self._state_of(running), code)

    def _watch_ends(self) -> None:
        while True:
            for handle, _ in self._epoll.poll():
                if handle == self._stop:
                    return
                running = self._watched.pop(handle)
                os.close(handle)
                self._end(running)

    def _end(self, running: _Running) -> None:
        """Tell how a run ended; commands that were run inside it, and run on, end with it."""
        end = self._exit_of(running)
        if self._executing[running.uid, running.container]:
            kill_marked({end.container_id})
        with self._lock:
            if self._runs.get((running.uid, running.container)) is running:
                del self._runs[running.uid, running.container]
        self._on_exit(running.uid, running.container, end)

    def _open_shim(self, running: _Running) -> int | None:
        """Return a descriptor that means this very shim, whatever happens to its pid; None if it is gone."""
        try:
            handle = os.pidfd_open(running.identity["shim"])
        except ProcessLookupError:
            return None
        if self._is_alive(running.identity):
            return handle
        os.close(handle)
        return None

    def _signal(self, uid: str, container: str, number: signal.Signals) -> None:
        with self._lock:
            running = self._runs.get((uid, container))
        handle = self._open_shim(running) if running else None
        if handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            os.close(handle)

    def _find_abilities(self, directory: Path, most_processes: int | None) -> Abilities:
        root = directory / "namespace-probe"
        root.mkdir(exist_ok=True)
        key = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]
        found = self._zygote.ask({"do": "abilities", "root": str(root), "key": key})
        root.rmdir()
        bases = {controller: (version, base) for controller, (version, base) in found["bases"].items()}
        hierarchy = Hierarchy(bases, found["refusals"])
        return Abilities(found["mode"], found["read_only"], hierarchy, os.getuid() == 0, most_processes)

    def _static_remarks(self, pod: Object) -> tuple[Remark, ...]:
        return tuple(remarks_on(pod, self._abilities))

    def _held(self, squatter: Squatter) -> str:
        """Return who holds a port of a pod, as a person would say it."""
        process = f"process {squatter.pid} ({squatter.name})"
        if not squatter.container:
            return f"port {squatter.port} is held by {process}, which belongs to no pod"
        uid, container, _ = squatter.container.removeprefix("process://").split("/", 2)
        record = self._folders.record_of(uid)
        pod = f"pod {namespace_of(record.pod)}/{name_of(record.pod)}" if record else f"the pod of uid {uid}"
        return f"port {squatter.port} is held by {pod}, container {container}, {process}"

    def _restraints_of(self, run: Run, program: Program, state: Path) -> Json:
        """Return what the shim needs to hold a run to its specification; its group is made. Raises OSError."""
        spec, abilities = spec_of(run.pod, run.container), self._abilities
        message = "/" + (spec.get("terminationMessagePath") or "dev/termination-log").lstrip("/")
        ways = ways_of(run.pod, spec, program.mounts, abilities)
        own = str(make_termination_file(state))
        ours = [[own, message, RW]] + ([[own, own, RW]] if has_read_only_root(spec) else [])
        if os.path.isfile(HOSTS_FILE):
            ours.append([str(self._pods / uid_of(run.pod) / "hosts"), HOSTS_FILE, RW])
        ways += [way for way in ours if way[1] not in {mount.target for mount in program.mounts}]
        group = make_group(
            abilities.hierarchy, uid_of(run.pod), f"{run.container}.{run.attempt}", limits_of(spec, abilities)
        )
        return {
            "mode": abilities.mode,
            "mounts": ways,
            "read_only": abilities.can_protect and has_read_only_root(spec),
            "no_new_privileges": takes_no_privileges(spec),
            "groups": group,
        }

    def _state_of(self, running: _Running) -> Path:
        return self._pods / running.uid / "containers" / running.container / str(running.attempt)

    def _forget_old_runs(self, home: Path, attempt: int) -> None:
        for state in runs_in(home):
            if int(state.name) <= attempt - KEPT_RUNS:
                shutil.rmtree(state, ignore_errors=True)


def _terminal_of(container: Object) -> Json:
    """Return what a shim needs to know of a container's input and terminal."""
    fields = {"stdin": "stdin", "stdin_once": "stdinOnce", "tty": "tty"}
    return {name: bool(container.get(field)) for name, field in fields.items()}


def _read(record: Path) -> Json:
    """Return a record; nothing where it has just gone."""
    try:
        content: Json = json.loads(record.read_bytes())
    except FileNotFoundError:
        return {}
    return content


def runs_in(home: Path) -> list[Path]:
    """Return the folders of a container's runs, oldest first."""
    return sorted((path for path in home.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def container_id_of(uid: str, container: str, attempt: int) -> str:
    """Return the id of one run of a container; its processes carry it in their environment."""
    return f"process://{uid}/{container}/{attempt}"
