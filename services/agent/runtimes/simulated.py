"""A runtime without processes: containers do what their pod's behaviour says. For tests and load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from schemas.objects import Object, uid_of
from schemas.times import Milliseconds
from services.agent.config_volumes import Files
from services.agent.lifecycle import Exit, Started, probes_of
from services.agent.runtimes.port import (
    Answer,
    Command,
    FoundPod,
    LogLine,
    LogQuery,
    OnExit,
    Refused,
    Run,
    Sandbox,
    Session,
    Usage,
)
from services.agent.specs import spec_of
from services.agent.statuses import Remark

IMAGE_ID = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a simulated pod does.

    ready_after    from its binding to Ready (ms)
    stop_after    from the wish that it ends to its end (ms)
    refusal    waits for ever with this reason (`ErrImagePull`, `CrashLoopBackOff`, ...) instead of running
    is_evicted    ends in phase Failed instead of getting Ready
    """

    ready_after: Milliseconds = 0
    stop_after: Milliseconds = 0
    refusal: str = ""
    is_evicted: bool = False


GOOD = Behaviour()


@dataclass(slots=True)
class _Simulated:
    pod: Object
    address: str
    accepted_at: Milliseconds
    running: dict[str, Started] = field(default_factory=dict)


class SimulatedRuntime:
    """Keeps containers as entries of a table; `end` and `stop` end them."""

    name = "simulated"

    def __init__(
        self,
        on_exit: OnExit,
        clock: Callable[[], Milliseconds],
        behave: Callable[[Object], Behaviour] = lambda _: GOOD,
    ) -> None:
        self._on_exit = on_exit
        self._clock = clock
        self._behave = behave
        self._pods: dict[str, _Simulated] = {}
        self._hosts: dict[str, str] = {}
        self._lock = threading.Lock()

    def open(self, pod: Object, address: str, now: Milliseconds) -> Sandbox:
        """See Runtime.open."""
        with self._lock:
            known = self._pods.setdefault(uid_of(pod), _Simulated(pod, address, now))
        return Sandbox(known.address)

    def start(self, run: Run) -> Started | Exit:
        """See Runtime.start."""
        behaviour = self._behave(run.pod)
        if behaviour.refusal:
            raise Refused(behaviour.refusal, "simulated")
        uid, now = uid_of(run.pod), self._clock()
        container_id = f"simulated://{uid}/{run.container}/{run.attempt}"
        probes = probes_of(spec_of(run.pod, run.container), now)
        started = Started(container_id, IMAGE_ID, True, now, probes)
        with self._lock:
            self._pods[uid].running[run.container] = started
        return started

    def watch(self, uid: str, container: str) -> None:
        """See Runtime.watch. Ends come from `end`, so there is nothing to watch."""

    def end(self, uid: str, container: str, code: int, signal: int = 0) -> None:
        """Let a container end with an exit code, as a program that crashes does."""
        with self._lock:
            pod = self._pods.get(uid)
            started = pod.running.pop(container, None) if pod else None
        if started is not None:
            reason = "Completed" if code == 0 else "Error"
            end = Exit(code, signal, reason, "", started.at, self._clock(), started.container_id)
            self._on_exit(uid, container, end)

    def stop(self, uid: str, container: str) -> None:
        """See Runtime.stop."""
        self.end(uid, container, 143, 15)

    def kill(self, uid: str, container: str) -> None:
        """See Runtime.kill."""
        self.end(uid, container, 137, 9)

    def execute(self, uid: str, container: str, command: list[str], timeout: Milliseconds) -> Answer:
        """See Runtime.execute: every command succeeds at once."""
        del command, timeout
        with self._lock:
            runs = uid in self._pods and container in self._pods[uid].running
        if not runs:
            raise Refused("NotRunning", f"container {container!r} does not run")
        return Answer(0, "")

    def usage(self, uid: str) -> Usage:
        """Nothing: there are no files."""
        del uid
        return Usage()

    def release(self, uid: str) -> None:
        """Nothing. See Runtime.release."""
        del uid

    def remarks(self, pod: Object, address: str) -> tuple[Remark, ...]:
        """Nothing. See Runtime.remarks."""
        del pod, address
        return ()

    def exec(self, command: Command) -> Session:
        """See Runtime.exec: there is nothing to run a command in."""
        raise Refused("NotRunning", f"container {command.container!r} is simulated: no command can run in it")

    def attach(self, uid: str, container: str, stdin: bool) -> Session:
        """See Runtime.attach."""
        del uid, stdin
        raise Refused("NotRunning", f"container {container!r} is simulated: it prints nothing")

    def log(self, uid: str, container: str, attempt: int, query: LogQuery) -> Iterator[list[LogLine]]:
        """See Runtime.log: a simulation prints nothing."""
        del uid, container, attempt, query
        return iter(())

    def found(self) -> list[FoundPod]:
        """See Runtime.found: a simulation does not outlive its process."""
        return []

    def mounted(self) -> set[str]:
        """See Runtime.mounted: a simulation mounts nothing."""
        return set()

    def write_volume(self, uid: str, volume: str, files: Files) -> None:
        """See Runtime.write_volume: nothing reads it."""

    def write_hosts(self, uid: str, text: str) -> None:
        """See Runtime.write_hosts."""
        with self._lock:
            self._hosts[uid] = text

    def close(self, uid: str) -> None:
        """See Runtime.close."""
        with self._lock:
            self._pods.pop(uid, None)
            self._hosts.pop(uid, None)

    def shut_down(self) -> None:
        """See Runtime.shut_down."""
