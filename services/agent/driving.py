"""Does for one pod what its plan says: starts, stops and probes its containers, and reports how it is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from schemas.errors import ChronosetError, Conflict, NotFound
from schemas.objects import Object, name_of, uid_of
from schemas.times import Milliseconds
from services.agent.checks import run_check
from services.agent.claims import directories_of
from services.agent.configs import write_configs
from services.agent.hooks import POST_START_SECONDS, hook_of, run_hook
from services.agent.host_types import prepare_host_paths
from services.agent.lifecycle import (
    Begun,
    Blocked,
    ContainerEvent,
    Exit,
    Exited,
    Hook,
    KillAsked,
    Phase,
    PostStartAsked,
    PostStartEnded,
    PreStopEnded,
    Started,
    StopAsked,
    TermSent,
    within,
)
from services.agent.messages import Answered, Happened, Remarked
from services.agent.networks import must_wait
from services.agent.plans import Action, Ask, Finish, Kill, Note, RunPostStart, Start, Stop, Terminate
from services.agent.probes import ProbeKind
from services.agent.runtimes.port import Refused, Run
from services.agent.sources import sources_of
from services.agent.specs import spec_of
from services.agent.surroundings import HOLD, Surroundings
from services.agent.works import Work

STARTERS, PROBERS = 4, 512
"""Threads at most, made when all others are busy: a probe that hangs takes one for its timeout, from no other probe."""
CREATING_SHOWN: Milliseconds = 250
"""A pod that starts faster than this is never reported as ContainerCreating: an event less a start."""


class Driver:
    """Drives pods. What takes time is done in two pools, whose results come back by `post`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        name = around.settings.name
        self._starters = ThreadPoolExecutor(STARTERS, f"{name}-start")
        self._probers = ThreadPoolExecutor(PROBERS, f"{name}-probe")

    def drive(self, work: Work, now: Milliseconds) -> bool:
        """Do what the plan says, until it says to wait; then report. Returns False once the pod has ended."""
        work.judge(now)
        while True:
            plan = work.plan(now)
            for action in plan.actions:
                if isinstance(action, Finish):
                    return not self._finish(work, now)
                if isinstance(action, Start) and must_wait(work.pod, self._around.network()):
                    continue
                self._perform(work, action, now)
            if not any(isinstance(action, Note | Stop | Terminate) for action in plan.actions):
                break
        work.wake_at = plan.wake_at
        self._report(work, False, now)
        self._release(work)
        return True

    def press(self, work: Work, now: Milliseconds) -> None:
        """Only stop what is to stop, without a report."""
        plan = work.plan(now)
        for action in plan.actions:
            if isinstance(action, Stop | Terminate | Kill):
                self._perform(work, action, now)
        work.wake_at = plan.wake_at

    def send(self, pod: Object, status: Object) -> None:
        """Report a status; a pod that is gone meanwhile needs none."""
        try:
            self._around.control_plane.report(pod, status)
        except (NotFound, Conflict) as error:
            self._around.log.info("a status was not taken", pod=name_of(pod), error=str(error))

    def start_no_more(self) -> None:
        """Wait until the starts under way are over; begin none after them."""
        self._starters.shutdown()

    def shut_down(self) -> None:
        """Let go of the pools."""
        self._starters.shutdown()
        self._probers.shutdown(cancel_futures=True)

    def _perform(self, work: Work, action: Action, now: Milliseconds) -> None:
        runtime, log = self._around.runtime, self._around.log
        match action:
            case Start(container):
                work.apply(container, Begun(now))
                attempt = work.containers[container].attempt + 1
                pod = {**work.pod, "status": work.status(False, now)}
                self._starters.submit(self._start, pod, container, attempt)
            case Stop(container, kill_at, why):
                log.info("stopping a container", pod=work.title, container=container, why=why)
                self._stop(work, container, kill_at, now)
            case Terminate(container, kill_at):
                work.apply(container, TermSent(now, kill_at))
                runtime.stop(work.uid, container)
            case RunPostStart(container):
                work.apply(container, PostStartAsked())
                self._run_hook(work, container, "postStart", POST_START_SECONDS)
            case Kill(container):
                log.info("killing a container", pod=work.title, container=container)
                work.apply(container, KillAsked())
                runtime.kill(work.uid, container)
            case Ask(container, kind):
                work.ask(container, kind)
                attempt = work.containers[container].attempt
                self._probers.submit(self._probe, work.pod, work.place.address, (container, attempt, kind))
            case Note(container, event):
                work.apply(container, event)

    def _stop(self, work: Work, name: str, kill_at: Milliseconds, now: Milliseconds) -> None:
        """Ask a container to end: by its preStop hook first, if it has one and time; else, at once, by TERM."""
        is_running = work.containers[name].phase is Phase.RUNNING
        has_hook = is_running and kill_at > now and hook_of(spec_of(work.pod, name), "preStop") is not None
        work.apply(name, StopAsked(kill_at, has_hook))
        if has_hook:
            self._run_hook(work, name, "preStop", (kill_at - now) / 1000)
        elif work.containers[name].pre_stop is Hook.NONE:
            self._around.runtime.stop(work.uid, name)

    def _run_hook(self, work: Work, name: str, kind: str, seconds: float) -> None:
        """Run a hook in a thread of its own: it may take as long as the grace period, and longer."""
        which = (name, work.containers[name].attempt, kind)
        arguments = (work.pod, work.place.address, which, seconds)
        threading.Thread(target=self._hook, args=arguments, name=f"{name}-{kind}", daemon=True).start()

    def _finish(self, work: Work, now: Milliseconds) -> bool:
        """Say how the pod ended, let its object go, and forget it: only then may a successor of its name begin."""
        around = self._around
        work.wake_at = now + HOLD
        if not work.is_gone:
            if not self._report(work, True, now):
                return False
            if not around.trust.attempt(lambda: around.control_plane.confirm_deleted(work.pod), now):
                return False
        around.runtime.close(work.uid)
        around.settings.allotments.release(work.uid)
        del around.works[work.uid]
        around.log.info("the pod has ended", pod=work.title, uid=work.uid)
        return True

    def _release(self, work: Work) -> None:
        """Give back the disk of a pod that was condemned and has ended; its logs stay until it is deleted."""
        if work.verdict and not work.is_alive and not work.is_released:
            work.is_released = True
            self._starters.submit(self._around.runtime.release, work.uid)

    def _report(self, work: Work, is_over: bool, now: Milliseconds) -> bool:
        """Report the status if it has changed; return whether the control plane has it, or need not have it yet."""
        if work.is_gone:
            return True
        shown_at = work.place.accepted_at + CREATING_SHOWN
        if work.is_beginning and not is_over and now < shown_at:
            work.wake_at = min(work.wake_at or shown_at, shown_at)
            return True
        status = work.status(is_over, now)
        if status == work.reported:
            return True
        trust = self._around.trust
        if not trust.attempt(lambda: self.send(work.pod, status), now):
            work.wake_at = min(work.wake_at or trust.retry_at, trust.retry_at)
            return False
        work.reported = status
        return True

    # --- in other threads

    def _start(self, pod: Object, container: str, attempt: int) -> None:
        around, uid = self._around, uid_of(pod)
        event: ContainerEvent
        try:
            prepare_host_paths(pod, around.settings.directory)
            claims = directories_of(pod, around.control_plane, around.settings.directory)
            sources = sources_of(pod, around.control_plane)
            write_configs(pod, sources, around.runtime, is_first=attempt == 0)
            since = around.clock()
            result = around.runtime.start(Run(pod, container, attempt, claims, sources))
            now = around.clock()
            event = Exited(within(result, 0, now)) if isinstance(result, Exit) else within(result, since, now)
        except Refused as refused:
            event = Blocked(refused.reason, str(refused), around.clock())
        except (OSError, ChronosetError) as error:
            event = Blocked("CreateContainerError", str(error), around.clock())
        except Exception as error:  # a start without an answer would never be tried again
            around.log.exception("a start went wrong", pod=name_of(pod), container=container)
            event = Blocked("CreateContainerError", repr(error), around.clock())
        around.post(Happened(uid, container, event))
        if isinstance(event, Started):
            around.runtime.watch(uid, container)
            around.post(Remarked(uid, around.runtime.remarks(pod, pod["status"].get("podIP", ""))))

    def _hook(self, pod: Object, address: str, which: tuple[str, int, str], seconds: float) -> None:
        name, attempt, kind = which
        container, uid, around = spec_of(pod, name), uid_of(pod), self._around
        timeout = round(seconds * 1000)
        try:
            error = run_hook(
                container,
                hook_of(container, kind) or {},
                address,
                lambda command: around.runtime.execute(uid, name, command, timeout),
                seconds,
            )
        except Exception as failure:  # a hook without an answer would hold its container for ever
            around.log.exception("a hook went wrong", pod=name_of(pod), container=name, hook=kind)
            error = repr(failure)
        if error:
            around.log.warning("a hook failed", pod=name_of(pod), container=name, hook=kind, error=error)
        ended = PostStartEnded(attempt, error) if kind == "postStart" else PreStopEnded(attempt)
        around.post(Happened(uid, name, ended))

    def _probe(self, pod: Object, address: str, which: tuple[str, int, ProbeKind]) -> None:
        name, attempt, kind = which
        container = spec_of(pod, name)
        probe = container[f"{kind}Probe"]
        timeout = 1000 * int(probe.get("timeoutSeconds") or 1)
        try:
            passed, message = run_check(
                container,
                probe,
                address,
                lambda command: self._around.runtime.execute(uid_of(pod), name, command, timeout),
            )
        except Exception as error:  # a probe without an answer would never be tried again
            self._around.log.exception("a probe went wrong", pod=name_of(pod), container=name)
            passed, message = False, repr(error)
        self._around.post(Answered(uid_of(pod), name, attempt, kind, passed, message))
