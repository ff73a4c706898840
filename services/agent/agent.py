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

import structlog

from schemas.errors import ChronosetError, Unavailable
from schemas.kinds import NODE
from schemas.objects import Object, is_terminating, name_of, namespace_of
from schemas.positions import Position
from schemas.times import Milliseconds
from services.agent.configs import Configs
from services.agent.disks import Disks
from services.agent.driving import Driver
from services.agent.hosts import HostsFiles
from services.agent.inspections import Inspections
from services.agent.intake import Intake
from services.agent.lifecycle import Exit, Exited, within
from services.agent.messages import Answered, Condemned, Halt, Happened, Leave, Message, Moved, Remarked
from services.agent.networks import network_of
from services.agent.nodes import NodeSettings, node_object
from services.agent.plans import grace_of
from services.agent.port import ControlPlane
from services.agent.reclaims import Reclaims
from services.agent.runtimes.port import OnExit, Runtime
from services.agent.serving.pods import PodView
from services.agent.surroundings import HOLD, Surroundings, Trust
from services.agent.verdicts import EVICTION_GRACE
from services.metrics.measures import HEARTBEATS

WAIT_SECONDS = 30.0
TIDY_DELAY: Milliseconds = 100
"""Hosts files and volumes are seen to this long after the first change they have not seen: many changes, one look."""
NETWORK_PAUSE: Milliseconds = 250
"""How often the agent of a node that waits for a network agent looks for what that puts down."""
KILL_PATIENCE: Milliseconds = 5_000
"""How long after the last kill an agent that ends waits for its containers to be gone."""


def wall_clock() -> Milliseconds:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def uptime() -> Milliseconds:
    """Return the milliseconds since the machine began, those that it slept included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def steady_clock(
    wall: Callable[[], Milliseconds] = wall_clock, running: Callable[[], Milliseconds] = uptime
) -> Callable[[], Milliseconds]:
    """Return a clock that begins with the machine's and goes on though that is set: what waits for a time is not
    late by an hour then."""
    begun = wall() - running()
    return lambda: begun + running()


class Agent:
    """One node's agent. `run` blocks; `start`, `stop` and `join` run it in a thread of its own."""

    def __init__(
        self,
        settings: NodeSettings,
        control_plane: ControlPlane,
        make_runtime: Callable[[OnExit], Runtime],
        clock: Callable[[], Milliseconds] = wall_clock,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.settings = settings
        self.failure: Exception | None = None
        """What ended the agent though nobody had asked for it."""
        self.has_left = False
        """Whether the node has left the cluster: its pods have ended, and so has the agent."""
        self._is_wanted = is_wanted
        self._is_leaving = False
        self._control_plane = control_plane
        self._clock = clock
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._has_moved = True
        self._has_joined, self._has_news = False, True
        self._doubt: Exception | None = None
        self._has_pulse = True
        self._heartbeat_at: Milliseconds = 0
        self._pause = round(settings.heartbeat_seconds * 1000)
        self._tidy_at: Milliseconds | None = None
        self._ending, self._over = threading.Event(), threading.Event()
        self._log = structlog.get_logger("chronoset.agent").bind(node=settings.name)
        self._trust = Trust(self._log)
        self._lock = _locked(settings)
        self._runtime = make_runtime(self._on_exit)
        self._network = network_of(settings.network_directory)
        self._network_at: Milliseconds | None = 0 if settings.network_directory else None
        self._disks = Disks(settings.directory)
        self._node = self._described(clock())
        around = Surroundings(
            settings,
            control_plane,
            self._runtime,
            clock,
            self._inbox.put,
            self._log,
            self._trust,
            network=lambda: self._network,
        )
        self._works = around.works
        self._driver = Driver(around)
        self._hosts = HostsFiles(around)
        self._configs = Configs(around)
        self._reclaims = Reclaims(around)
        self._inspections = Inspections(around)
        self._intake = Intake(around, self._node, self._hosts, self._driver.send)
        self._intake.recall()

    # --- for the program around it

    def start(self, on_end: Callable[[], object] = lambda: None) -> None:
        """Run in a thread; `on_end` is called when the agent has ended, for whatever reason (see `failure`)."""
        threading.Thread(target=self._run, args=(on_end,), name=self.settings.name, daemon=True).start()

    def stop(self, pods_grace: float | None = None) -> None:
        """Ask the agent to end. Its pods run on, or are ended within `pods_grace` seconds if that is given."""
        self._inbox.put(Halt(None if pods_grace is None else round(pods_grace * 1000)))

    def view(self, namespace: str, name: str) -> PodView | None:
        """Return a pod in the agent's hands as it is now, for the node's server: any thread may ask.

        The loop replaces values and never edits them, so what is copied here is whole.
        """
        for work in list(self._works.values()):
            if (namespace_of(work.pod), name_of(work.pod)) == (namespace, name):
                return PodView(work.pod, dict(work.containers), self._runtime)
        return None

    def leave(self) -> None:
        """Tell the agent that its node leaves: when the node's object is gone it ends its pods, then itself."""
        self._inbox.put(Leave())

    def join(self, timeout: float | None = None) -> None:
        """Wait until the agent has ended."""
        self._over.wait(timeout)

    def run(self) -> None:
        """Work until `stop` is called, or the node has left."""
        waiter = threading.Thread(target=self._follow, name=f"{self.settings.name}-follow", daemon=True)
        waiter.start()
        try:
            while True:
                if halt := self._handle(self._take()):
                    self._end_pods(halt.grace)
                    return
                self._step()
                if self.has_left:
                    return
        finally:
            self._ending.set()
            self._driver.shut_down()
            self._runtime.shut_down()
            os.close(self._lock)
            self._over.set()

    def _run(self, on_end: Callable[[], object]) -> None:
        try:
            self.run()
        except Exception as error:  # noqa: BLE001 - the end of a thread: told by `failure`
            self.failure = error
            self._log.exception("the agent failed; its pods run on")
        finally:
            on_end()

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
        retry_at = self._trust.retry_at
        times = [max(self._heartbeat_at, retry_at)]
        times += [work.wake_at for work in self._works.values() if work.wake_at is not None]
        if self._tidy_at is not None:
            times.append(max(self._tidy_at, retry_at))
        if self._network_at is not None:
            times.append(self._network_at)
        if self._intake.retry_at is not None:
            times.append(self._intake.retry_at)
        if self._has_moved:
            times.append(retry_at)
        if (inspect_at := self._inspections.next_at) is not None:
            times.append(inspect_at)
        return min(times)

    def _handle(self, messages: Iterable[Message]) -> Halt | None:
        for message in messages:
            match message:
                case Moved():
                    self._has_moved = True
                    self._tidy_at = self._tidy_at or self._clock() + TIDY_DELAY
                case Happened(uid, container, event):
                    if work := self._works.get(uid):
                        work.apply(container, event)
                case Answered():
                    self._take_answer(message)
                case Leave():
                    self._is_leaving = self._has_moved = True
                case Condemned(uid, verdict):
                    if work := self._works.get(uid):
                        work.condemn(verdict, EVICTION_GRACE, self._clock())
                case Remarked(uid, remarks):
                    if work := self._works.get(uid):
                        work.remark(remarks)
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
        if self._network_at is not None and self._network_at <= now:
            self._look_at_network(now)
        if self._heartbeat_at <= now or self._heartbeat_at > now + self._pause:  # the clock was set back
            self._trust.attempt(lambda: self._beat(now), now)
        if self._has_moved or (self._intake.retry_at or now + 1) <= now:
            self._has_moved = not self._trust.attempt(lambda: self._look(now), now)
        for work in list(self._works.values()):
            if work.wake_at is not None and work.wake_at <= now and not self._driver.drive(work, now):
                self._hosts.forget(work.uid)
                self._has_moved = True
        self._inspections.look(now)
        if self._tidy_at is not None and self._tidy_at <= now:
            self._trust.attempt(lambda: self._tidy(now), now)

    def _beat(self, now: Milliseconds) -> None:
        """Say that the node lives; register it, again where somebody has deleted its object.

        That it cannot be said is no reason to leave its pods alone: heartbeats are no history. It is tried first,
        since by it is known whether another agent is the node.
        """
        self._check()
        self._look_at_disk(now)
        self._say_alive()
        if self._has_news or not self._is_known():
            self._register()
        self._heartbeat_at = now + self._pause

    def _say_alive(self) -> None:
        try:
            self._control_plane.heartbeat(self.settings.name)
            self._has_pulse = True
            HEARTBEATS.labels("sent").inc()
        except ChronosetError as error:
            if self._has_pulse:
                self._log.warning("heartbeats cannot be written", error=str(error))
            self._has_pulse = False
            HEARTBEATS.labels("failed").inc()

    def _is_known(self) -> bool:
        return self._control_plane.get(NODE.resource, "", self.settings.name) is not None

    def _register(self) -> None:
        """Say how the node is; a node that somebody has taken out of the cluster stays out."""
        if self._is_leaving or (self._has_joined and not self._is_known()):
            self._is_leaving = not self._is_wanted()
            self._has_moved |= self._is_leaving
        if not self._is_leaving:
            self._control_plane.register(self._node)
            self._has_joined, self._has_news = True, False

    def _described(self, now: Milliseconds) -> Object:
        return node_object(self.settings, self._runtime.name, now, self._network, self._disks.disk)

    def _look_at_disk(self, now: Milliseconds) -> None:
        """Say so when there is much more or less room for volumes, and when the disk is full or no more."""
        try:
            if self._disks.look():
                self._log.info("the room for volumes has changed", disk=self._disks.disk)
                self._node, self._has_news = self._described(now), True
        except OSError as error:
            self._log.warning("the disk cannot be measured", error=str(error))

    def _look_at_network(self, now: Milliseconds) -> None:
        """Say so when the network is up, or no more; what waits for it goes on then."""
        found = network_of(self.settings.network_directory)
        if found != self._network:
            self._log.info("the network has changed", network=found.name, why_not=found.why_not)
            self._network, self._has_news = found, True
            self._node = self._described(now)
            self._heartbeat_at, self._has_moved = now, True
            for work in self._works.values():
                work.wake_at = 0
        self._network_at = now + NETWORK_PAUSE

    def _look(self, now: Milliseconds) -> None:
        self._check()
        pods = self._control_plane.pods_on(self.settings.name)
        if self._is_leaving and not self._is_wanted() and not self._is_known():
            if staying := [pod for pod in pods if not is_terminating(pod)]:
                self._control_plane.end_pods(staying)
            self.has_left = not pods and not self._works
        self._intake.look(pods, now)

    def _tidy(self, now: Milliseconds) -> None:
        """See to the hosts files, to mounted configurations and to volumes that nobody wants any more."""
        self._tidy_at = now + HOLD
        self._check()
        try:
            self._hosts.write_all()
            self._configs.write_all()
            is_done = not self._reclaims.look()
        except OSError as error:
            self._log.error(
                "hosts files, configurations or volumes cannot be seen to; trying again", error=str(error)
            )
        else:
            self._tidy_at = None if is_done else self._tidy_at

    def _check(self) -> None:
        if doubt := self._doubt:
            raise doubt

    def _follow(self) -> None:
        """Tell the loop when the cluster moves (in a thread of its own)."""
        position: Position = 0
        while not self._ending.is_set():
            try:
                newest = self._control_plane.wait(position, 0.0 if self._doubt else WAIT_SECONDS)
                has_moved, self._doubt, position = newest != position or bool(self._doubt), None, newest
            except ChronosetError as error:
                has_moved, self._doubt = not self._doubt, error
                self._ending.wait(HOLD / 1000)
            if has_moved:
                self._inbox.put(Moved())

    # --- the end

    def _end_pods(self, grace: Milliseconds | None) -> None:
        """End every container, without a report: the pods are to go on when an agent is started again."""
        if grace is None:
            return
        if not self._intake.is_adopted:
            self._intake.adopt(self._runtime.found(), {}, self._clock())
        self._driver.start_no_more()
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
                self._driver.press(work, now)
            next_at = min(work.wake_at or deadline for work in alive)
            self._handle(self._arrived(min(1.0, (next_at - now) / 1000)))

    # --- in other threads

    def _on_exit(self, uid: str, container: str, end: Exit) -> None:
        self._inbox.put(Happened(uid, container, Exited(within(end, 0, self._clock()))))


def _locked(settings: NodeSettings) -> int:
    """Return the lock of the node's directory. Raises Unavailable where another agent holds it, or none can be had."""
    try:
        settings.directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(settings.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"node {settings.name!r} cannot write to its directory: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Unavailable(f"another agent runs node {settings.name!r} in {settings.directory}") from None
    return lock
