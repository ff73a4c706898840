"""The docker runtime: containers are containers of a Docker daemon, or of podman behind its socket.

The daemon keeps the containers, so an agent that is killed and started again finds its pods running, by their labels.
What else there is of a pod is in its folder (see `pod_folders`): its record, its hosts file, its own volumes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog
from docker.errors import APIError, DockerException, NotFound

from schemas.errors import NotFound as NoLog
from schemas.errors import Unavailable
from schemas.objects import Object, uid_of
from schemas.times import Milliseconds
from services.agent.config_volumes import Files
from services.agent.folders import remove_tree, size_of
from services.agent.hooks import hook_of
from services.agent.host_paths import LOGS, place_of
from services.agent.lifecycle import Exit, Started, probes_of
from services.agent.runtimes.docker.ends import Ends
from services.agent.runtimes.docker.engines import Engine, sentence_of
from services.agent.runtimes.docker.images import ensure_image
from services.agent.runtimes.docker.labels import CONTAINER, PAUSE, UID, attempt_of, labels_of, ours, title_of
from services.agent.runtimes.docker.logs import read_container_log
from services.agent.runtimes.docker.sandboxes import Sandboxes, take_down
from services.agent.runtimes.docker.sessions import AttachSession, ExecSession
from services.agent.runtimes.docker.specs import Around, creation_of, host_ports_of, path_of_message
from services.agent.runtimes.docker.states import exit_of, is_over, lost_exit, milliseconds_of
from services.agent.runtimes.endings import (
    LOG_LIMIT,
    LOG_LINES,
    make_termination_file,
    message_of,
    termination_file,
)
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
from services.agent.runtimes.volumes import Mount, mounts_of
from services.agent.sources import BadConfiguration
from services.agent.specs import spec_of
from services.agent.statuses import Remark

KEPT_RUNS = 2
"""How many runs of a container are kept, for their logs: the current one and the one before."""
WORKERS = 4
SIGNAL_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt to send a signal: a daemon that does not answer now may soon."""
_log = structlog.get_logger("chronoset.docker-runtime")
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Running:
    """The container of a run that is not known to have ended: of which `spec`, and where its termination message is."""

    uid: str
    spec: Object
    state: Path
    id: str
    stop_signal: str

    @property
    def container(self) -> str:
        return str(self.spec["name"])


class DockerRuntime:
    """Runs the pods of one node, whose folder is `directory`; `on_exit` hears of every end that is watched.

    `name_server` is the address of the cluster's name server for containers, "" where there is none; `environment` are
    variables for every program. `shares_address`: pods have the node's address, on the host's network.
    """

    name = "docker"

    def __init__(
        self,
        directory: Path,
        engine: Engine,
        on_exit: OnExit,
        name_server: str = "",
        environment: Mapping[str, str] = MappingProxyType({}),
        shares_address: bool = False,
    ) -> None:
        self._engine, self._client = engine, engine.client
        self._on_exit = on_exit
        self._environment = environment
        self._node = str(directory.resolve())
        self._folders = PodFolders(directory)
        self._links = LogLinks(place_of(directory.resolve(), LOGS))
        self._sandboxes = Sandboxes(engine, self._node, name_server, shares_address=shares_address)
        self._lock = threading.Lock()
        self._runs: dict[_Key, _Running] = {}
        self._watched: dict[str, _Running] = {}
        self._closing: set[Future[None]] = set()
        self._pool = ThreadPoolExecutor(WORKERS, "docker")
        self._ends = Ends(self._client, self._node, self._see_end, self._look_for_ends)

    # --- pods

    def open(self, pod: Object, address: str, now: Milliseconds) -> Sandbox:
        """Make the pod's folder and its pause container. See Runtime.open. Raises Refused(NodePorts); OSError."""
        uid = uid_of(pod)
        self._folders.remember(self._folders.record_of(uid) or Record(pod, address, now))
        if host_ports_of(pod):
            self._wait_for_closing()
        try:
            return Sandbox(self._sandboxes.ensure(pod)[1] or address)
        except Refused:
            self._folders.remove(uid)
            raise
        except DockerException as error:
            raise OSError(sentence_of(error)) from error

    def remarks(self, pod: Object, address: str) -> tuple[Remark, ...]:
        """Nothing: containers are as Kubernetes has them. See Runtime.remarks."""
        del pod, address
        return ()

    def write_hosts(self, uid: str, text: str) -> None:
        """See Runtime.write_hosts."""
        self._folders.write_hosts(uid, text)

    def write_volume(self, uid: str, volume: str, files: Files) -> None:
        """See Runtime.write_volume."""
        self._folders.write_volume(uid, volume, files)

    def usage(self, uid: str) -> Usage:
        """See Runtime.usage. Of a container, what it has written beside its image; its log is the daemon's."""
        written: dict[str, int] = {}
        filters = {"label": [f"{UID}={uid}"]}
        for found in self._client.containers(all=True, size=True, filters=filters):
            name = found["Labels"][CONTAINER]
            if name != PAUSE:
                written[name] = written.get(name, 0) + int(found.get("SizeRw") or 0)
        volumes = (self._folders.of(uid) / "volumes").glob("*")
        return Usage({place.name: size_of(place) for place in volumes}, written)

    def release(self, uid: str) -> None:
        """See Runtime.release: the volumes and the pause container go; the containers stay for their logs."""
        with suppress(OSError, DockerException):
            remove_tree(self._folders.of(uid) / "volumes")
            for found in ours(self._client, self._node, uid=uid, container=PAUSE):
                take_down(self._client, found["Id"])

    def close(self, uid: str) -> None:
        """Remove all that there is of a pod; in the background, since that takes a while."""
        with self._lock:
            for key in [key for key in self._runs if key[0] == uid]:
                del self._runs[key]
        future = self._pool.submit(self._close, uid)
        self._closing.add(future)
        future.add_done_callback(self._closing.discard)

    def found(self) -> list[FoundPod]:
        """See Runtime.found. Containers of pods that are not known are removed. Raises Unavailable."""
        try:
            return list(self._found())
        except (DockerException, OSError) as error:
            raise Unavailable(f"the Docker daemon does not answer: {sentence_of(error)}") from error

    def mounted(self) -> set[str]:
        """See Runtime.mounted."""
        containers = self._client.containers(all=True, filters={"label": f"{UID}"})
        return {
            mount["Source"]
            for container in containers
            for mount in container.get("Mounts") or ()
            if mount.get("Type") == "bind"
        }

    # --- containers

    def start(self, run: Run) -> Started | Exit:
        """Start a run, for which its image may have to be pulled. See Runtime.start."""
        uid, spec = uid_of(run.pod), spec_of(run.pod, run.container)
        try:
            self._refuse_second(run)
            image = ensure_image(self._client, spec)
            mounts = mounts_of(run, spec, self._folders.of(uid))
            give_mounts(run.pod, mounts)
            state = self._new_state(run)
            around = Around(
                pause=self._sandboxes.ensure(run.pod)[0],
                image=image,
                mounts=[*mounts, Mount("", str(termination_file(state)), path_of_message(spec))],
                hosts_file=str(self._folders.of(uid) / "hosts"),
                variables=self._environment,
            )
            container = self._create(run, creation_of(run, spec, around))
        except BadConfiguration as error:
            raise Refused("CreateContainerConfigError", str(error)) from None
        except (DockerException, OSError) as error:
            raise Refused("CreateContainerError", sentence_of(error)) from None
        return self._begin(run, _Running(uid, spec, state, container, image.stop_signal or "SIGTERM"))

    def watch(self, uid: str, container: str) -> None:
        """See Runtime.watch."""
        with self._lock:
            running = self._runs.get((uid, container))
            if running is None:
                return
            self._watched[running.id] = running
        self._pool.submit(self._look_at, running.id)

    def stop(self, uid: str, container: str) -> None:
        """Send the signal that ends the image's program: TERM, unless it names another. See Runtime.stop."""
        self._signal(uid, container, "")

    def kill(self, uid: str, container: str) -> None:
        """See Runtime.kill."""
        self._signal(uid, container, "SIGKILL")

    def execute(self, uid: str, container: str, command: list[str], timeout: Milliseconds) -> Answer:
        """See Runtime.execute."""
        try:
            session = self.exec(Command(uid, container, tuple(command)))
        except Refused as refused:
            if refused.reason != "StartError":
                raise
            return Answer(126, str(refused))
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            session.close()

        timer = threading.Timer(timeout / 1000, end)
        timer.start()
        try:
            parts = []
            while (part := session.read()) != ("", b""):
                parts.append(part[1])
            if is_late.is_set():
                raise TimeoutError(f"command {command} timed out after {timeout / 1000:g} s")
            return Answer(session.wait(), b"".join(parts).decode(errors="replace"))
        finally:
            timer.cancel()
            session.close()

    def exec(self, command: Command) -> Session:
        """See Runtime.exec."""
        return ExecSession(self._client, self._running(command.uid, command.container).id, command)

    def attach(self, uid: str, container: str, stdin: bool) -> Session:
        """See Runtime.attach."""
        running = self._running(uid, container)
        tty = bool(self._client.inspect_container(running.id)["Config"].get("Tty"))
        return AttachSession(self._client, running.id, tty, stdin)

    def log(self, uid: str, container: str, attempt: int, query: LogQuery) -> Iterator[list[LogLine]]:
        """See Runtime.log."""
        for found in ours(self._client, self._node, uid=uid, container=container):
            if attempt_of(found["Labels"]) == attempt:
                return read_container_log(self._client, found["Id"], query)
        raise NoLog(f"the log of run {attempt} of container {container!r} is not kept")

    def shut_down(self) -> None:
        """Listen no more; containers run on."""
        self._ends.close()
        self._pool.shutdown()

    # --- how

    def _refuse_second(self, run: Run) -> None:
        """Remove what is in the way of a run: older ones that are not kept, and one of this number that never began.

        Raises Refused where one still runs.
        """
        for found in ours(self._client, self._node, uid=uid_of(run.pod), container=run.container):
            if found["State"] == "running":
                raise Refused(
                    "CreateContainerError", f"the run before of container {run.container!r} has not ended"
                )
            attempt = attempt_of(found["Labels"])
            if attempt <= run.attempt - KEPT_RUNS or attempt >= run.attempt:
                self._remove(found["Id"])

    def _create(self, run: Run, creation: Any) -> str:
        """Create a container; in podman, unlike docker, it does not share the host name along with the network."""
        shared = {"UTSMode": creation.host["network_mode"]} if self._engine.is_podman else {}
        created = self._client.create_container(
            **creation.config,
            name=title_of(run.pod, run.container, run.attempt),
            labels=labels_of(run.pod, run.container, run.attempt, self._node),
            host_config=self._client.create_host_config(**creation.host) | shared,
        )
        return str(created["Id"])

    def _begin(self, run: Run, running: _Running) -> Started | Exit:
        try:
            self._client.start(running.id)
        except APIError as error:
            self._remove(running.id)
            if error.status_code >= 500 and "OCI runtime" not in sentence_of(error):
                raise Refused("CreateContainerError", sentence_of(error)) from None
            now = time.time_ns() // 1_000_000
            container_id = f"docker://{running.id}"
            return Exit(128, 0, "StartError", sentence_of(error), now, now, container_id)
        except (DockerException, OSError) as error:
            raise Refused("CreateContainerError", sentence_of(error)) from None
        with self._lock:
            self._runs[running.uid, running.container] = running
        found = self._client.inspect_container(running.id)
        with suppress(OSError):  # the daemon's files may be another machine's, or not ours to see
            self._links.add(run.pod, run.container, running.id, Path(found["LogPath"]))
        return self._started(run.pod, run.container, found)

    def _started(self, pod: Object, container: str, found: Any) -> Started:
        at = milliseconds_of(found["State"]["StartedAt"])
        spec = spec_of(pod, container)
        return Started(
            container_id=f"docker://{found['Id']}",
            image_id=found["Image"],
            is_verified=True,
            at=at,
            probes=probes_of(spec, at),
            has_post_start=hook_of(spec, "postStart") is not None,
        )

    def _running(self, uid: str, container: str) -> _Running:
        with self._lock:
            running = self._runs.get((uid, container))
        if running is None:
            raise Refused("NotRunning", f"container {container!r} does not run")
        return running

    def _state_of(self, uid: str, container: str, attempt: int) -> Path:
        """Return the folder of a run, in which its termination message is."""
        return self._folders.of(uid) / "containers" / container / str(attempt)

    def _new_state(self, run: Run) -> Path:
        state = self._state_of(uid_of(run.pod), run.container, run.attempt)
        state.mkdir(parents=True, exist_ok=True)
        make_termination_file(state)
        return state

    def _exit_of(self, found: Any, spec: Object, state: Path) -> Exit:
        """Return how a container ended, with what it says of that (kuberuntime: getTerminationMessage)."""
        end = exit_of(found)
        message = message_of(spec, state, end.code)
        if not message and end.code != 0 and spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            lines = [
                line.text
                for batch in read_container_log(self._client, found["Id"], LogQuery(tail=LOG_LINES))
                for line in batch
            ]
            message = b"\n".join(lines)[-LOG_LIMIT:].decode(errors="replace")
        return replace(end, message=message or end.message)

    def _signal(self, uid: str, container: str, name: str) -> None:
        with suppress(Refused):
            running = self._running(uid, container)
            self._pool.submit(self._send, running.id, name or running.stop_signal)

    def _send(self, container: str, name: str) -> None:
        for pause in SIGNAL_PAUSES:
            time.sleep(pause)
            try:
                self._client.kill(container, name)
            except APIError as error:
                if error.status_code in (404, 409):
                    return
            except (DockerException, OSError):
                continue
            else:
                return
        _log.error("a container was not sent its signal", container=container[:12], signal=name)

    # --- ends

    def _see_end(self, container: str) -> None:
        if container in self._watched:
            self._pool.submit(self._look_at, container)

    def _look_for_ends(self) -> None:
        with self._lock:
            watched = list(self._watched)
        for container in watched:
            self._pool.submit(self._look_at, container)

    def _look_at(self, container: str) -> None:
        """Tell how a watched container ended, if it has; once."""
        try:
            found = self._client.inspect_container(container)
        except NotFound:
            found = None
        except (DockerException, OSError):
            return
        if found is not None and not is_over(found["State"]):
            return
        with self._lock:
            running = self._watched.pop(container, None)
            if running is None:
                return
            if self._runs.get((running.uid, running.container)) is running:
                del self._runs[running.uid, running.container]
        end = (
            self._exit_of(found, running.spec, running.state)
            if found
            else lost_exit(container, time.time_ns() // 1_000_000)
        )
        self._on_exit(running.uid, running.container, end)

    # --- what is there from before, and what is to go

    def _found(self) -> Iterator[FoundPod]:
        records = {uid_of(record.pod): record for record in self._folders.found()}
        runs: dict[str, dict[str, Any]] = {}
        for found in ours(self._client, self._node):
            uid, container = found["Labels"][UID], found["Labels"][CONTAINER]
            if uid not in records:
                _log.warning("a container of no known pod is removed", container=found["Names"][0])
                self._remove(found["Id"])
            elif container != PAUSE:
                runs.setdefault(uid, {})[container] = found
        addresses = self._pool.map(self._address_again, records.values())
        for (uid, record), address in zip(records.items(), addresses, strict=True):
            last = runs.get(uid, {})
            found_runs = tuple(self._found_run(record.pod, name, last[name]) for name in sorted(last))
            yield FoundPod(record.pod, address, record.accepted_at, found_runs)

    def _address_again(self, record: Record) -> str:
        """Return the address of a pod from before; its pause container may have to be made anew, as after a reboot."""
        try:
            return self._sandboxes.ensure(record.pod)[1] or record.address
        except Refused as refused:
            _log.warning("a pod's network is not there", uid=uid_of(record.pod), error=str(refused))
            return record.address

    def _found_run(self, pod: Object, container: str, listed: Any) -> FoundRun:
        uid, spec = uid_of(pod), spec_of(pod, container)
        state = self._state_of(uid, container, attempt_of(listed["Labels"]))
        found = self._client.inspect_container(listed["Id"])
        signal = (found.get("Config") or {}).get("StopSignal") or "SIGTERM"
        ended = is_over(found["State"])
        with self._lock:
            if not ended:
                self._runs[uid, container] = _Running(uid, spec, state, found["Id"], signal)
        return FoundRun(
            container=container,
            attempt=attempt_of(listed["Labels"]),
            started=self._started(pod, container, found),
            exit=self._exit_of(found, spec, state) if ended else None,
        )

    def _close(self, uid: str) -> None:
        try:
            for found in ours(self._client, self._node, uid=uid):
                self._remove(found["Id"])
        except (DockerException, OSError) as error:
            _log.error("a pod's containers are not removed", uid=uid, error=sentence_of(error))
        self._folders.remove(uid)
        with suppress(OSError):
            self._links.tidy()

    def _wait_for_closing(self) -> None:
        """Wait until pods that have gone have given back their ports."""
        for future in list(self._closing):
            future.result()

    def _remove(self, container: str) -> None:
        """Remove a container with the volumes that its image has made for it; it may be gone already."""
        with suppress(NotFound):
            self._client.remove_container(container, v=True, force=True)
