"""The life of a container, as a table of transitions; an event that does not belong to a phase raises.

    WAITING --Begun--> STARTING --Started--> RUNNING --StopAsked--> STOPPING
       ^  ^---Blocked-----'  `---Exited---.     `-----Exited-----.     | Exited
       |                                  v                      v     v
       `------------BackedOff--------- EXITED <----------------------------      EXITED --Begun--> STARTING

Everything here is a value: the agent's shell feeds in what happened (events), `plans` reads off what to do next,
`statuses` writes down what Kubernetes' clients see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from schemas.errors import ChronosetError
from schemas.objects import Object
from schemas.times import Milliseconds, parse_rfc3339
from services.agent.probes import ProbeKind, ProbeState, probe_of
from services.agent.restarts import FIRST_DELAY, BackOff, back_off_of, next_back_off

CREATING, INITIALIZING = "ContainerCreating", "PodInitializing"
CONFIG_ERROR = "CreateContainerConfigError"
SOON: Milliseconds = 500
"""How soon a container that waits for something of the cluster (a claim to be bound) is tried again."""
CONFIG_RETRY: Milliseconds = 1_000
"""How soon a container whose configuration is wrong is tried again: what is missing may have come."""
_RETRIES = {CREATING: SOON, CONFIG_ERROR: CONFIG_RETRY}


class IllegalTransition(ChronosetError):
    """An event reached a container in a phase in which it cannot happen: a bug of the shell."""


class Phase(StrEnum):
    """Where a container is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    EXITED = "exited"


class Hook(StrEnum):
    """Where a lifecycle hook of the current run is; NONE also where there is none, or it has done its work."""

    NONE = "none"
    WANTED = "wanted"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended: Kubernetes' ContainerStateTerminated. `signal` is 0 where the program ended by itself."""

    code: int
    signal: int
    reason: str
    message: str
    started_at: Milliseconds
    finished_at: Milliseconds
    container_id: str


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod, now.

    is_sidecar   an init container that stays (restartPolicy Always); `is_init` too
    attempt    the number of the current or last run, -1 before the first; Kubernetes' restartCount
    reason, message   why it waits
    retry_at   when to try again, while WAITING
    exit, last    how the last run ended, and the one before it
    kill_at    when the grace period of a stop ends, while STOPPING
    term_at    when TERM was sent after a preStop hook: from then on it has two seconds at least
    post_start, pre_stop   where its hooks are; until postStart has passed the container is not started
    stop_reason, why   what the stop is for
    shows_exit    whether people still see the end of the last run while the next one starts
    """

    name: str
    is_init: bool = False
    is_sidecar: bool = False
    phase: Phase = Phase.WAITING
    attempt: int = -1
    reason: str = CREATING
    message: str = ""
    retry_at: Milliseconds = 0
    container_id: str = ""
    image_id: str = ""
    is_verified: bool = True
    started_at: Milliseconds = 0
    exit: Exit | None = None
    last: Exit | None = None
    kill_at: Milliseconds = 0
    term_at: Milliseconds = 0
    post_start: Hook = Hook.NONE
    pre_stop: Hook = Hook.NONE
    is_killed: bool = False
    shows_exit: bool = False
    back_off: BackOff | None = None
    pull_back_off: BackOff | None = None
    probes: tuple[ProbeState, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether a process of it may exist."""
        return self.phase in (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)


@dataclass(frozen=True, slots=True)
class Begun:
    """The runtime was asked to start the next run."""

    at: Milliseconds


@dataclass(frozen=True, slots=True)
class Started:
    """The program runs. `image_id` names what runs; `is_verified` whether it came from the image store."""

    container_id: str
    image_id: str
    is_verified: bool
    at: Milliseconds
    probes: tuple[ProbeState, ...] = ()
    has_post_start: bool = False


Told = TypeVar("Told", Started, Exit)
"""What a runtime tells of a run, with times."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """The run could not begin: the image is missing (ErrImagePull) or the configuration is wrong."""

    reason: str
    message: str
    at: Milliseconds


@dataclass(frozen=True, slots=True)
class Exited:
    """The program and all that it started are gone."""

    exit: Exit


@dataclass(frozen=True, slots=True)
class BackedOff:
    """The container crashed and waits until `retry_at` for its restart."""

    message: str
    retry_at: Milliseconds


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The program was asked to end (TERM, or first its preStop hook); after `kill_at` it will be made to."""

    kill_at: Milliseconds
    has_pre_stop: bool = False


@dataclass(frozen=True, slots=True)
class TermSent:
    """The preStop hook is over, or was cut, and the program was asked to end."""

    at: Milliseconds
    kill_at: Milliseconds


@dataclass(frozen=True, slots=True)
class PostStartAsked:
    """The postStart hook runs."""


@dataclass(frozen=True, slots=True)
class PostStartEnded:
    """The postStart hook is over; `error` is empty where it passed."""

    attempt: int
    error: str


@dataclass(frozen=True, slots=True)
class PreStopEnded:
    """The preStop hook is over, well or not: its failure stops nothing."""

    attempt: int


@dataclass(frozen=True, slots=True)
class KillAsked:
    """The grace period is over and everything was killed."""


@dataclass(frozen=True, slots=True)
class RetryDue:
    """A wait for an image shows as ImagePullBackOff from now on."""


ContainerEvent = (
    Begun
    | Started
    | Blocked
    | Exited
    | BackedOff
    | StopAsked
    | TermSent
    | PostStartAsked
    | PostStartEnded
    | PreStopEnded
    | KillAsked
    | RetryDue
)


def with_event(container: Container, event: ContainerEvent) -> Container:
    """Return the container after `event`. Raises IllegalTransition where the table has no such row."""
    step = TRANSITIONS.get((container.phase, type(event)))
    if step is None:
        raise IllegalTransition(
            f"container {container.name!r} is {container.phase}: {type(event).__name__} cannot happen to it"
        )
    return step(container, event)


def probes_of(spec: Object, at: Milliseconds) -> tuple[ProbeState, ...]:
    """Return the probes of a run of the container `spec` that began at `at`."""
    found = (probe_of(spec, kind, at) for kind in ProbeKind)
    return tuple(probe for probe in found if probe is not None)


def is_started(container: Container) -> bool:
    """Return whether the container runs, and its postStart hook and startup probe, if it has them, have passed."""
    return (
        container.phase in (Phase.RUNNING, Phase.STOPPING)
        and container.post_start is Hook.NONE
        and all(probe.passing is True for probe in container.probes if probe.kind is ProbeKind.STARTUP)
    )


def is_ready(container: Container) -> bool:
    """Return whether the container is started and its readiness probe, if it has one, passes."""
    return is_started(container) and all(
        probe.passing is True for probe in container.probes if probe.kind is ProbeKind.READINESS
    )


def failed_probe_of(container: Container) -> ProbeState | None:
    """Return the liveness or startup probe for whose failure the container must be restarted, if any."""
    for probe in container.probes:
        if probe.kind is not ProbeKind.READINESS and probe.passing is False:
            return probe
    return None


def _begin(container: Container, event: Begun) -> Container:
    back_off = container.back_off
    if container.exit is not None:
        back_off = next_back_off(back_off, container.exit.finished_at, event.at)
    return replace(
        container, phase=Phase.STARTING, shows_exit=container.phase is Phase.EXITED, back_off=back_off
    )


def _start(container: Container, event: Started) -> Container:
    return replace(
        container,
        phase=Phase.RUNNING,
        attempt=container.attempt + 1,
        reason=CREATING if event.has_post_start else "",
        message="",
        post_start=Hook.WANTED if event.has_post_start else Hook.NONE,
        pre_stop=Hook.NONE,
        term_at=0,
        container_id=event.container_id,
        image_id=event.image_id,
        is_verified=event.is_verified,
        started_at=event.at,
        last=container.exit,
        exit=None,
        is_killed=False,
        shows_exit=False,
        pull_back_off=None,
        probes=event.probes,
    )


def _block(container: Container, event: Blocked) -> Container:
    again = container.pull_back_off is not None and event.reason == "ErrImagePull"
    if event.reason in _RETRIES:
        return replace(
            container,
            phase=Phase.WAITING,
            reason=event.reason,
            message=event.message,
            retry_at=event.at + _RETRIES[event.reason],
            shows_exit=False,
        )
    back_off = next_back_off(container.pull_back_off, event.at, event.at)
    return replace(
        container,
        phase=Phase.WAITING,
        reason="ImagePullBackOff" if again else event.reason,
        message=f"Back-off pulling image: {event.message}" if again else event.message,
        retry_at=event.at + back_off.delay,
        pull_back_off=back_off,
        shows_exit=False,
    )


def _exit(container: Container, event: Exited) -> Container:
    began_now = container.phase is Phase.STARTING
    return replace(
        container,
        phase=Phase.EXITED,
        attempt=container.attempt + 1 if began_now else container.attempt,
        container_id=event.exit.container_id or container.container_id,
        last=container.exit if began_now else container.last,
        exit=event.exit,
        shows_exit=False,
        probes=(),
        post_start=Hook.NONE,
        pre_stop=Hook.NONE,
    )


def _back_off(container: Container, event: BackedOff) -> Container:
    return replace(
        container,
        phase=Phase.WAITING,
        reason="CrashLoopBackOff",
        message=event.message,
        retry_at=event.retry_at,
    )


def _stop(container: Container, event: StopAsked) -> Container:
    return replace(
        container,
        phase=Phase.STOPPING,
        kill_at=event.kill_at,
        is_killed=False,
        pre_stop=Hook.RUNNING if event.has_pre_stop else Hook.NONE,
    )


def _hasten(container: Container, event: StopAsked) -> Container:
    return replace(container, kill_at=min(container.kill_at, event.kill_at))


def _send_term(container: Container, event: TermSent) -> Container:
    return replace(container, pre_stop=Hook.NONE, term_at=event.at, kill_at=event.kill_at)


def _ask_post_start(container: Container, _: PostStartAsked) -> Container:
    return replace(container, post_start=Hook.RUNNING)


def _end_post_start(container: Container, event: PostStartEnded) -> Container:
    if event.attempt != container.attempt or container.post_start is not Hook.RUNNING:
        return container
    if not event.error:
        return replace(container, post_start=Hook.NONE, reason="")
    return replace(container, post_start=Hook.FAILED, reason="PostStartHookError", message=event.error)


def _end_pre_stop(container: Container, event: PreStopEnded) -> Container:
    if event.attempt != container.attempt or container.pre_stop is not Hook.RUNNING:
        return container
    return replace(container, pre_stop=Hook.FINISHED)


def _ignore(container: Container, _: PostStartEnded | PreStopEnded) -> Container:
    return container


def _kill(container: Container, _: KillAsked) -> Container:
    return replace(container, is_killed=True)


def _show_back_off(container: Container, _: RetryDue) -> Container:
    return replace(
        container, reason="ImagePullBackOff", message=f"Back-off pulling image: {container.message}"
    )


TRANSITIONS: dict[tuple[Phase, type[Any]], Callable[[Container, Any], Container]] = {
    (Phase.WAITING, Begun): _begin,
    (Phase.WAITING, RetryDue): _show_back_off,
    (Phase.STARTING, Started): _start,
    (Phase.STARTING, Blocked): _block,
    (Phase.STARTING, Exited): _exit,
    (Phase.RUNNING, StopAsked): _stop,
    (Phase.RUNNING, PostStartAsked): _ask_post_start,
    (Phase.RUNNING, PostStartEnded): _end_post_start,
    (Phase.STOPPING, PostStartEnded): _end_post_start,
    (Phase.STOPPING, TermSent): _send_term,
    (Phase.STOPPING, PreStopEnded): _end_pre_stop,
    **{(phase, PostStartEnded): _ignore for phase in (Phase.WAITING, Phase.STARTING, Phase.EXITED)},
    **{
        (phase, PreStopEnded): _ignore
        for phase in (Phase.WAITING, Phase.STARTING, Phase.RUNNING, Phase.EXITED)
    },
    (Phase.RUNNING, Exited): _exit,
    (Phase.STOPPING, StopAsked): _hasten,
    (Phase.STOPPING, KillAsked): _kill,
    (Phase.STOPPING, Exited): _exit,
    (Phase.EXITED, Begun): _begin,
    (Phase.EXITED, BackedOff): _back_off,
}


def new_container(spec: Object, is_init: bool) -> Container:
    """Return a container that has never run."""
    return Container(spec["name"], is_init, is_init and spec.get("restartPolicy") == "Always")


def within(event: Told, since: Milliseconds, now: Milliseconds) -> Told:
    """Return what a runtime tells, by a clock of its own, as of a time between `since` and `now`.

    A machine's clock may have been set meanwhile, and whoever waits for a time that is far ahead waits for ever.
    """
    match event:
        case Started(at=told) if (at := min(max(told, since), now)) != told:
            probes = tuple(replace(each, next_at=each.next_at + at - told) for each in event.probes)
            return replace(event, at=at, probes=probes)
        case Exit(finished_at=told) if (at := min(max(told, since), now)) != told:
            return replace(event, started_at=min(event.started_at, at), finished_at=at)
    return event


def restored(spec: Object, is_init: bool, run: tuple[int, Started], status: Object | None) -> Container:
    """Return a running container as an agent finds it that has just been started.

    `run` is the number of the run and how it began; `status` is its last reported containerStatus: what it says of
    this very run (ready, started) and of the one before is believed, so that a restarted agent disturbs nobody.
    """
    attempt, started = run
    known = status if status and status.get("containerID") == started.container_id else {}
    passing = {ProbeKind.STARTUP: known.get("started"), ProbeKind.READINESS: known.get("ready")}
    probes = tuple(
        replace(probe, passing=True) if passing.get(probe.kind) else probe for probe in started.probes
    )
    was_running = "running" in (known.get("state") or {})
    started = replace(started, probes=probes, has_post_start=started.has_post_start and not was_running)
    container = _start(replace(new_container(spec, is_init), attempt=attempt - 1), started)
    is_backed_off = _waiting_in(known).get("reason") == "CrashLoopBackOff"
    return replace(
        container,
        last=_end_in(known.get("lastState") or {}),
        back_off=back_off_of(attempt, started.at) if is_backed_off else None,
    )


def remembered(container: Container, status: Object) -> Container:
    """Return a container of which nothing is on this machine, as its last reported status tells of it.

    The numbering of its runs goes on, and what it waited for (an image) it waits for still: it is tried at once, and
    where nothing has changed nothing new is reported.
    """
    waiting = _waiting_in(status)
    if status.get("containerID"):
        return replace(container, attempt=int(status["restartCount"]))
    if waiting.get("reason") in (None, CREATING, INITIALIZING):
        return container
    return replace(
        container,
        reason=waiting["reason"],
        message=waiting.get("message", ""),
        pull_back_off=BackOff(FIRST_DELAY, 0),
    )


def _waiting_in(status: Object) -> Object:
    waiting: Object = (status.get("state") or {}).get("waiting") or {}
    return waiting


def _end_in(state: Object) -> Exit | None:
    ended = state.get("terminated")
    if not ended:
        return None
    return Exit(
        code=ended["exitCode"],
        signal=ended.get("signal", 0),
        reason=ended.get("reason", ""),
        message=ended.get("message", ""),
        started_at=parse_rfc3339(ended["startedAt"]) if "startedAt" in ended else 0,
        finished_at=parse_rfc3339(ended["finishedAt"]) if "finishedAt" in ended else 0,
        container_id=ended.get("containerID", ""),
    )
