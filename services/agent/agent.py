"""The agent: makes the pods that are bound to its node run, and says how they are.

One loop owns everything that changes. What happens elsewhere (a container ended, a probe was answered, the cluster
moved) arrives in its inbox from other threads; what takes time (starting a container, asking a probe) is handed to
two small pools whose results come back the same way. The loop plans for the pods that something happened to, or
whose time has come, and sleeps until the next such time: an idle agent does nothing but send heartbeats.

When the control plane cannot be reached or its history cannot be trusted, the agent holds still: it goes on with
what it was told before, restarts what crashes, and stops nothing.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from schemas.errors import ChronosetError, Conflict, LostHistory, NotFound, Unavailable
from schemas.kinds import POD, SERVICE
from schemas.objects import Object, is_terminating, name_of, namespace_of, uid_of, version_of
from schemas.positions import Position
from schemas.times import Milliseconds
from services.agent import admission
from services.agent.addresses import address_of, identity_of
from services.agent.checks import run_check
from services.agent.claims import directories_of
from services.agent.lifecycle import (
    Begun,
    Blocked,
    ContainerEvent,
    Exit,
    Exited,
    KillAsked,
    Started,
    StopAsked,
)
from services.agent.names import Record, hosts_of, records_of
from services.agent.nodes import NodeSettings, node_object
from services.agent.plans import Action, Ask, Finish, Kill, Note, Start, Stop, grace_of
from services.agent.port import ControlPlane
from services.agent.probes import ProbeKind
from services.agent.runtimes.port import FoundPod, OnExit, Refused, Run, Runtime
from services.agent.statuses import Place, rejection_of, spec_of
from services.agent.works import Work, adopted_work, new_work

HOLD_SECONDS = 1.0
"""How long the agent waits before it asks again a control plane that did not answer."""
WAIT_SECONDS = 30.0
HOSTS_DELAY: Milliseconds = 100
"""Hosts files are written this long after the first change that they have not seen: many changes, one writing."""
KILL_PATIENCE: Milliseconds = 5_000
"""How long after the last kill an agent that ends waits for its containers to be gone."""
STARTERS, PROBERS = 4, 16


@dataclass(frozen=True, slots=True)
class Moved:
    """The cluster has changed."""


@dataclass(frozen=True, slots=True)
class Happened:
    """Something happened to a container."""

    uid: str
    container: str
    event: ContainerEvent


@dataclass(frozen=True, slots=True)
class Answered:
    """A probe of a run of a container was answered."""

    uid: str
    container: str
    attempt: int
    kind: ProbeKind
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class Halt:
    """The agent is to end; its pods too, within `grace` milliseconds, unless it is None."""

    grace: Milliseconds | None


Message = Moved | Happened | Answered | Halt


def wall_clock() -> Milliseconds:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Agent:
    """One node's agent. `run` blocks; `start`, `stop` and `join` run it in a thread of its own."""

    def __init__(
        self,
        settings: NodeSettings,
        control_plane: ControlPlane,
        make_runtime: Callable[[OnExit], Runtime],
        clock: Callable[[], Milliseconds] = wall_clock,
    ) -> None:
        self.settings = settings
        self._control_plane = control_plane
        self._clock = clock
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._works: dict[str, Work] = {}
        self._refused: set[str] = set()
        self._has_moved = True
        self._is_adopted = False
        self._is_registered = False
        self._trusted = True
        self._doubt: Exception | None = None
        self._retry_at: Milliseconds = 0
        self._heartbeat_at: Milliseconds = 0
        self._hosts_at: Milliseconds | None = None
        self._hosts: dict[str, str] = {}
        self._ending, self._over = threading.Event(), threading.Event()
        self._log = structlog.get_logger("chronoset.agent").bind(node=settings.name)
        self._lock = _locked(settings)
        self._runtime = make_runtime(self._on_exit)
        self._node = node_object(settings, self._runtime.name, clock())
        self._starters = ThreadPoolExecutor(STARTERS, f"{settings.name}-start")
        self._probers = ThreadPoolExecutor(PROBERS, f"{settings.name}-probe")
        self._threads: list[threading.Thread] = []

    # --- for the program around it

    def start(self) -> None:
        """Run in a thread."""
        self._threads = [threading.Thread(target=self.run, name=self.settings.name, daemon=True)]
        self._threads[0].start()

    def stop(self, pods_grace: float | None = None) -> None:
        """Ask the agent to end. Its pods run on, or are ended within `pods_grace` seconds if that is given."""
        self._inbox.put(Halt(None if pods_grace is None else round(pods_grace * 1000)))

    def join(self, timeout: float | None = None) -> None:
        """Wait until the agent has ended."""
        self._over.wait(timeout)

    def run(self) -> None:
        """Work until `stop` is called."""
        waiter = threading.Thread(target=self._follow, name=f"{self.settings.name}-follow", daemon=True)
        waiter.start()
        try:
            while True:
                if halt := self._handle(self._take()):
                    self._end_pods(halt.grace)
                    return
                self._step()
        finally:
            self._ending.set()
            self._starters.shutdown()
            self._probers.shutdown(cancel_futures=True)
            self._runtime.shut_down()
            os.close(self._lock)
            self._over.set()

    # --- the loop

    def _take(self) -> list[Message]:
        """Return what has arrived; wait for it until the next time at which there is something to do."""
        return self._arrived((self._next_wake() - self._clock()) / 1000)

    def _arrived(self, seconds: float) -> list[Message]:
        """Return what arrives within `seconds`, as soon as there is anything."""
        messages: list[Message] = []
        try:
            messages.append(self._inbox.get(timeout=max(0.0, seconds)))
            while True:
                messages.append(self._inbox.get_nowait())
        except queue.Empty:
            return messages

    def _next_wake(self) -> Milliseconds:
        times = [
            max(self._heartbeat_at, self._retry_at),
            *(work.wake_at for work in self._works.values() if work.wake_at is not None),
        ]
        if self._hosts_at is not None:
            times.append(self._hosts_at)
        if self._has_moved:
            times.append(self._retry_at)
        return min(times)

    def _handle(self, messages: Iterable[Message]) -> Halt | None:
        for message in messages:
            match message:
                case Moved():
                    self._has_moved = True
                    self._hosts_at = self._hosts_at or self._clock() + HOSTS_DELAY
                case Happened(uid, container, event):
                    if work := self._works.get(uid):
                        work.apply(container, event)
                case Answered():
                    self._take_answer(message)
                case Halt():
                    return message
        return None

    def _take_answer(self, answer: Answered) -> None:
        work = self._works.get(answer.uid)
        container = work.containers.get(answer.container) if work else None
        if work and container and container.attempt == answer.attempt and container.probes:
            result = (answer.passed, answer.message)
            work.answer(answer.container, answer.kind, result, self._clock())

    def _step(self) -> None:
        now = self._clock()
        self._trust(self._talk, now)
        for work in list(self._works.values()):
            if work.wake_at is not None and work.wake_at <= now:
                self._drive(work, now)
        if self._hosts_at is not None and now >= self._hosts_at:
            self._hosts_at = None
            if not self._trust(self._write_all_hosts, now):
                self._hosts_at = self._retry_at

    def _trust(self, action: Callable[[Milliseconds], None], now: Milliseconds) -> bool:
        """Do what needs the control plane; where that cannot be trusted hold still, and say so once."""
        if now < self._retry_at:
            return False
        try:
            action(now)
        except ChronosetError as error:
            self._retry_at = now + round(HOLD_SECONDS * 1000)
            self._has_moved = True
            if self._trusted:
                self._log.warning(
                    "holding still: no pod is stopped", error=str(error), kind=type(error).__name__
                )
            self._trusted = False
            return False
        if not self._trusted:
            self._log.info("the control plane is back")
        self._trusted = True
        return True

    def _talk(self, now: Milliseconds) -> None:
        if doubt := self._doubt:
            raise doubt
        if now >= self._heartbeat_at:
            self._heartbeat_at = now + round(self.settings.heartbeat_seconds * 1000)
            if not self._is_registered:
                self._control_plane.register(self._node)
                self._is_registered = True
            self._control_plane.heartbeat(self.settings.name)
        if self._has_moved:
            self._has_moved = False
            self._look(self._control_plane.pods_on(self.settings.name), now)

    def _follow(self) -> None:
        """Tell the loop when the cluster moves (in a thread of its own)."""
        position: Position = 0
        while not self._ending.is_set():
            try:
                newest = self._control_plane.wait(position, 0.0 if self._doubt else WAIT_SECONDS)
                has_moved, self._doubt, position = newest != position or bool(self._doubt), None, newest
            except ChronosetError as error:
                has_moved, self._doubt = not self._doubt, error
                self._ending.wait(HOLD_SECONDS)
            if has_moved:
                self._inbox.put(Moved())

    # --- which pods

    def _look(self, pods: list[Object], now: Milliseconds) -> None:
        """Compare the pods that are to be here with those that are."""
        if not self._is_adopted:
            found = self._runtime.found()
            self._recognise(max((version_of(known.pod) for known in found), default=0))
            self._adopt(found, {uid_of(pod): pod for pod in pods}, now)
        wanted = {uid_of(pod) for pod in pods}
        for uid, work in self._works.items():
            if uid not in wanted and not work.is_gone:
                self._log.info("the pod's object is gone", pod=work.title, uid=uid)
                work.lose(now)
        self._refused &= wanted
        titles = {work.title: uid for uid, work in self._works.items()}
        for pod in pods:
            known = self._works.get(uid_of(pod))
            if known and pod is not known.pod:
                known.see(pod, now)
            elif not known and f"{namespace_of(pod)}/{name_of(pod)}" not in titles:
                self._try_to_take_in(pod, now)

    def _try_to_take_in(self, pod: Object, now: Milliseconds) -> None:
        try:
            self._take_in(pod, now)
        except OSError as error:
            self._log.error("cannot make room for a pod; trying again", pod=name_of(pod), error=str(error))
            self._has_moved, self._retry_at = True, now + round(HOLD_SECONDS * 1000)

    def _adopt(self, pods: list[FoundPod], latest: dict[str, Object], now: Milliseconds) -> None:
        """Take over the pods that run already."""
        for found in pods:
            uid = uid_of(found.pod)
            work = adopted_work(found, latest.get(uid), self.settings.address)
            self._works[uid] = work
            for run in found.runs:
                if run.exit is not None:
                    work.apply(run.container, Exited(run.exit))
                else:
                    self._runtime.watch(uid, run.container)
            self._log.info("adopted a pod", pod=work.title, uid=uid, runs=len(found.runs))
            work.see(work.pod, now)
        self._is_adopted = True

    def _recognise(self, seen: Position) -> None:
        """Check that the log is the one this node worked for before, and not shorter. Raises LostHistory."""
        record = self.settings.directory / "log-id"
        log_id = self._control_plane.log_id()
        known = record.read_text() if record.exists() else ""
        if known not in ("", log_id):
            raise LostHistory(f"this node worked for the log {known}, not for {log_id}")
        if self._control_plane.wait(0, 0.0) < seen:
            raise LostHistory("the log is shorter than this node has seen", seen)
        record.write_text(log_id)

    def _take_in(self, pod: Object, now: Milliseconds) -> None:
        """Accept a pod, or refuse it, or finish one that never ran here."""
        uid = uid_of(pod)
        if is_terminating(pod):
            self._control_plane.confirm_deleted(pod)
            return
        if uid in self._refused or (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
            return
        others = [work.pod for work in self._works.values()]
        if rejection := admission.rejection_of(pod, self._node, others):
            self._log.warning("rejected a pod", pod=name_of(pod), uid=uid, reason=rejection.reason)
            self._send(pod, rejection_of(pod, rejection.reason, rejection.message, now))
            self._refused.add(uid)
            return
        sandbox = self._runtime.open(pod, self._address_for(pod), now)
        place = Place(sandbox.address, self.settings.address, now, sandbox.remarks)
        self._works[uid] = new_work(pod, place)
        self._write_hosts(self._works[uid], self._records())
        self._log.info("accepted a pod", pod=name_of(pod), uid=uid, address=sandbox.address)

    def _address_for(self, pod: Object) -> str:
        if pod["spec"].get("hostNetwork"):
            return self.settings.address
        pods = self._control_plane.list(POD.resource)
        title = (namespace_of(pod), name_of(pod))
        taken = {
            other["status"]["podIP"]
            for other in pods
            if (namespace_of(other), name_of(other)) != title and (other.get("status") or {}).get("podIP")
        }
        taken |= {work.place.address for work in self._works.values()}
        return address_of(identity_of(pod, self.settings.cluster), taken)

    # --- what to do for one

    def _drive(self, work: Work, now: Milliseconds) -> None:
        """Do what the plan says, until it says to wait; then report."""
        while True:
            plan = work.plan(now)
            for action in plan.actions:
                if isinstance(action, Finish):
                    self._finish(work, now)
                    return
                self._perform(work, action, now)
            if not any(isinstance(action, Note | Stop) for action in plan.actions):
                break
        work.wake_at = plan.wake_at
        self._report(work, False, now)

    def _perform(self, work: Work, action: Action, now: Milliseconds) -> None:
        match action:
            case Start(container):
                work.apply(container, Begun(now))
                attempt = work.containers[container].attempt + 1
                pod = {**work.pod, "status": work.status(False, now)}
                self._starters.submit(self._start, pod, container, attempt)
            case Stop(container, kill_at, why):
                self._log.info("stopping a container", pod=work.title, container=container, why=why)
                work.apply(container, StopAsked(kill_at))
                self._runtime.stop(work.uid, container)
            case Kill(container):
                self._log.info("killing a container", pod=work.title, container=container)
                work.apply(container, KillAsked())
                self._runtime.kill(work.uid, container)
            case Ask(container, kind):
                work.ask(container, kind)
                attempt = work.containers[container].attempt
                self._probers.submit(self._probe, work.pod, work.place.address, (container, attempt, kind))
            case Note(container, event):
                work.apply(container, event)

    def _finish(self, work: Work, now: Milliseconds) -> None:
        """Say how the pod ended, let its object go, and forget it: only then may a successor of its name begin."""
        work.wake_at = now + round(HOLD_SECONDS * 1000)
        if not work.is_gone:
            if not self._report(work, True, now):
                return
            if not self._trust(lambda _: self._control_plane.confirm_deleted(work.pod), now):
                return
        self._runtime.close(work.uid)
        del self._works[work.uid]
        self._hosts.pop(work.uid, None)
        self._has_moved = True
        self._log.info("the pod has ended", pod=work.title, uid=work.uid)

    def _report(self, work: Work, is_over: bool, now: Milliseconds) -> bool:
        """Report the status if it has changed; return whether the control plane has it."""
        if work.is_gone:
            return True
        status = work.status(is_over, now)
        if status == work.reported:
            return True
        if not self._trust(lambda _: self._send(work.pod, status), now):
            work.wake_at = min(work.wake_at or self._retry_at, self._retry_at)
            return False
        work.reported = status
        return True

    def _send(self, pod: Object, status: Object) -> None:
        try:
            self._control_plane.report(pod, status)
        except (NotFound, Conflict) as error:
            self._log.info("a status was not taken", pod=name_of(pod), error=str(error))

    def _write_all_hosts(self, _: Milliseconds) -> None:
        records = self._records()
        for work in self._works.values():
            self._write_hosts(work, records)

    def _records(self) -> tuple[Record, ...]:
        return records_of(self._control_plane.list(SERVICE.resource), self._control_plane.list(POD.resource))

    def _write_hosts(self, work: Work, records: tuple[Record, ...]) -> None:
        text = hosts_of(work.pod, work.place.address, records, self.settings.domain)
        if self._hosts.get(work.uid) != text:
            self._runtime.write_hosts(work.uid, text)
            self._hosts[work.uid] = text

    def _end_pods(self, grace: Milliseconds | None) -> None:
        """End every container, without a report: the pods are to go on when an agent is started again."""
        if grace is None:
            return
        if not self._is_adopted:
            self._adopt(self._runtime.found(), {}, self._clock())
        self._starters.shutdown()
        self._handle(self._arrived(0))
        deadline = self._clock() + grace
        for work in self._works.values():
            work.deadline, work.is_gone = min(deadline, self._clock() + grace_of(work.pod)), True
        while alive := [work for work in self._works.values() if work.is_alive]:
            now = self._clock()
            if now > deadline + KILL_PATIENCE:
                self._log.error("containers do not end", pods=[work.title for work in alive])
                return
            for work in alive:
                self._press(work, now)
            self._handle(
                self._arrived(min(1.0, (min(work.wake_at or deadline for work in alive) - now) / 1000))
            )

    def _press(self, work: Work, now: Milliseconds) -> None:
        plan = work.plan(now)
        for action in plan.actions:
            if isinstance(action, Stop | Kill):
                self._perform(work, action, now)
        work.wake_at = plan.wake_at

    # --- in other threads

    def _on_exit(self, uid: str, container: str, end: Exit) -> None:
        self._inbox.put(Happened(uid, container, Exited(end)))

    def _start(self, pod: Object, container: str, attempt: int) -> None:
        event: ContainerEvent
        try:
            claims = directories_of(pod, self._control_plane, self.settings.directory)
            result = self._runtime.start(Run(pod, container, attempt, claims))
            event = Exited(result) if isinstance(result, Exit) else result
        except Refused as refused:
            event = Blocked(refused.reason, str(refused), self._clock())
        except (OSError, ChronosetError) as error:
            event = Blocked("CreateContainerError", str(error), self._clock())
        self._inbox.put(Happened(uid_of(pod), container, event))
        if isinstance(event, Started):
            self._runtime.watch(uid_of(pod), container)

    def _probe(self, pod: Object, address: str, which: tuple[str, int, ProbeKind]) -> None:
        name, attempt, kind = which
        container = spec_of(pod, name)
        probe = container[f"{kind}Probe"]
        timeout = 1000 * int(probe.get("timeoutSeconds") or 1)
        passed, message = run_check(
            container,
            probe,
            address,
            lambda command: self._runtime.execute(uid_of(pod), name, command, timeout),
        )
        self._inbox.put(Answered(uid_of(pod), name, attempt, kind, passed, message))


def _locked(settings: NodeSettings) -> int:
    """Return the lock of the node's directory. Raises Unavailable where another agent holds it."""
    settings.directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(settings.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Unavailable(f"another agent runs node {settings.name!r} in {settings.directory}") from None
    return lock
