"""What an agent must do for a pod now, and when to look again: level-triggered, so a lost event costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from schemas.objects import Object
from schemas.times import Milliseconds
from services.agent.lifecycle import (
    BackedOff,
    Container,
    Exit,
    Hook,
    Phase,
    RetryDue,
    failed_probe_of,
    is_started,
)
from services.agent.probes import ProbeKind, is_due
from services.agent.restarts import allowed_at, is_restarted

PULL_SHOWN: Milliseconds = 1_000
"""How long a missing image shows as ErrImagePull before it shows as ImagePullBackOff."""
LEAST_TERM: Milliseconds = 2_000
"""What is left to a program at least after its preStop hook (kubelet: minimumGracePeriodInSeconds)."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start the next run of the container."""

    container: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask the container to end; everything it started is killed at `kill_at`."""

    container: str
    kill_at: Milliseconds
    why: str = ""


@dataclass(frozen=True, slots=True)
class Terminate:
    """The preStop hook is over, or its time is: ask the program itself to end, until `kill_at`."""

    container: str
    kill_at: Milliseconds


@dataclass(frozen=True, slots=True)
class RunPostStart:
    """Run the container's postStart hook."""

    container: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill everything the container started."""

    container: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Run a probe of the container."""

    container: str
    kind: ProbeKind


@dataclass(frozen=True, slots=True)
class Note:
    """Nothing to do but time has changed what is shown: feed `event` to the container."""

    container: str
    event: BackedOff | RetryDue


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing of the pod runs any more and it is to go: report, confirm the deletion, forget it."""


Action = Start | Stop | Terminate | RunPostStart | Kill | Ask | Note | Finish


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again though nothing happened (None: never)."""

    actions: tuple[Action, ...] = ()
    wake_at: Milliseconds | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """The pod is to end, by `deadline` at the latest; it `stays` where it has not been deleted."""

    deadline: Milliseconds
    stays: bool = False
    why: str = "the pod is being deleted"


def grace_of(pod: Object) -> Milliseconds:
    """Return the pod's grace period: of its deletion if it is being deleted, else of its spec (30 s)."""
    seconds = pod["metadata"].get("deletionGracePeriodSeconds")
    if seconds is None:
        seconds = pod["spec"].get("terminationGracePeriodSeconds")
    return 1000 * (30 if seconds is None else int(seconds))


def plan(pod: Object, containers: tuple[Container, ...], ending: Ending | None, now: Milliseconds) -> Plan:
    """Return what to do now for `pod`, whose containers are in these states, and when to look again."""
    steps = (
        _ending_steps(containers, ending, grace_of(pod), now)
        if ending
        else _living_steps(pod, containers, now)
    )
    actions: list[Action] = []
    times: list[Milliseconds] = []
    for step in steps:
        (times if isinstance(step, int) else actions).append(step)  # type: ignore[arg-type]
    return Plan(tuple(actions), min(times, default=None))


Step = Action | Milliseconds
"""Something to do now, or a time to look again."""


def _ending_steps(
    containers: tuple[Container, ...], ending: Ending, grace: Milliseconds, now: Milliseconds
) -> Iterator[Step]:
    """Stop everything, the sidecars last: they have what is left of the grace period, two seconds at least."""
    alive = [container for container in containers if container.is_alive]
    if not alive and not ending.stays:
        yield Finish()
    for container in [container for container in alive if not container.is_sidecar]:
        deadline = max(ending.deadline, container.term_at + LEAST_TERM if container.term_at else 0)
        if container.phase is Phase.RUNNING or (
            container.phase is Phase.STOPPING and deadline < container.kill_at
        ):
            yield Stop(container.name, deadline, ending.why)
            container = replace(container, phase=Phase.STOPPING, kill_at=deadline)
        yield from _stopping_steps(container, now)
    if alive and all(container.is_sidecar for container in alive):
        if grace:
            yield from _sidecar_endings(containers, max(ending.deadline, now + LEAST_TERM), now)
        else:
            for container in alive:
                is_patient = container.phase is Phase.STOPPING and container.kill_at > now
                if container.phase is Phase.RUNNING or is_patient:
                    yield Stop(container.name, now, ending.why)
                else:
                    yield from _stopping_steps(container, now)


def _living_steps(pod: Object, containers: tuple[Container, ...], now: Milliseconds) -> Iterator[Step]:
    """Init containers run one after the other, each to success; then the others, side by side.

    A sidecar must only have started for the next to begin, stays, and is stopped when all the others have ended.
    """
    policy = pod["spec"].get("restartPolicy", "Always")
    if is_done(containers, policy):
        yield from _sidecar_endings(containers, now + grace_of(pod), now)
        return
    has_begun = _has_begun(containers)
    for container in containers:
        if container.is_sidecar:
            yield from _drive(pod, container, "Always", now)
        elif container.is_init and not is_completed(container):
            yield from _drive(pod, container, "OnFailure" if policy == "Always" else policy, now)
        if container.is_init and not has_begun and not is_past(container):
            return
    for container in containers:
        if not container.is_init:
            yield from _drive(pod, container, policy, now)


def _sidecar_endings(
    containers: Iterable[Container], deadline: Milliseconds, now: Milliseconds
) -> Iterator[Step]:
    """Stop the sidecars that are left, the last one first, each when the one after it has gone."""
    for container in reversed([container for container in containers if container.is_sidecar]):
        if container.phase is Phase.RUNNING:
            yield Stop(container.name, deadline, "all other containers have ended")
        yield from _stopping_steps(container, now)
        if container.is_alive:
            return


def is_done(containers: Iterable[Container], policy: str) -> bool:
    """Return whether no container but sidecars will run again: an init container failed for good, or all have ended."""
    others = [container for container in containers if not container.is_sidecar]
    if any(
        container.is_init and _is_final(container, policy) and not is_completed(container)
        for container in others
    ):
        return True
    mains = [container for container in others if not container.is_init]
    return bool(mains) and all(_is_final(container, policy) for container in mains)


def _is_final(container: Container, policy: str) -> bool:
    if container.is_init and policy == "Always":
        policy = "OnFailure"
    end = container.exit
    return container.phase is Phase.EXITED and end is not None and not is_restarted(policy, end.code)


def _has_begun(containers: Iterable[Container]) -> bool:
    """Return whether any container but the init containers has ever run."""
    return any(container.attempt >= 0 for container in containers if not container.is_init)


def is_past(container: Container) -> bool:
    """Return whether an init container lets the next one begin: it has done its work, or, a sidecar, has started."""
    return is_started(container) if container.is_sidecar else is_completed(container)


def is_completed(container: Container) -> bool:
    """Return whether an init container has done its work."""
    return container.phase is Phase.EXITED and container.exit is not None and container.exit.code == 0


def _drive(pod: Object, container: Container, policy: str, now: Milliseconds) -> Iterator[Step]:
    match container.phase:
        case Phase.WAITING:
            yield from _waiting_steps(container, now)
        case Phase.EXITED if container.exit is not None and is_restarted(policy, container.exit.code):
            yield from _restart_steps(pod, container, container.exit, now)
        case Phase.RUNNING:
            yield from _running_steps(pod, container, now)
        case Phase.STOPPING:
            yield from _stopping_steps(container, now)


def _waiting_steps(container: Container, now: Milliseconds) -> Iterator[Step]:
    if now >= container.retry_at:
        yield Start(container.name)
        return
    yield container.retry_at
    if container.reason == "ErrImagePull" and container.pull_back_off is not None:
        shown_until = container.pull_back_off.updated_at + PULL_SHOWN
        yield Note(container.name, RetryDue()) if now >= shown_until else shown_until


def _restart_steps(pod: Object, container: Container, end: Exit, now: Milliseconds) -> Iterator[Step]:
    allowed = allowed_at(container.back_off, end.finished_at)
    if now >= allowed:
        yield Start(container.name)
        return
    metadata = pod["metadata"]
    message = (
        f"back-off {(allowed - end.finished_at) // 1000}s restarting failed container={container.name} "
        f"pod={metadata['name']}_{metadata['namespace']}({metadata['uid']})"
    )
    yield Note(container.name, BackedOff(message, allowed))
    yield allowed


def _running_steps(pod: Object, container: Container, now: Milliseconds) -> Iterator[Step]:
    if failed := failed_probe_of(container):
        yield Stop(container.name, now + grace_of(pod), f"{failed.kind} probe failed: {failed.message}")
        yield now + grace_of(pod)
        return
    match container.post_start:
        case Hook.WANTED:
            yield RunPostStart(container.name)
            return
        case Hook.RUNNING:
            return
        case Hook.FAILED:
            yield Stop(container.name, now + grace_of(pod), f"postStart hook failed: {container.message}")
            yield now + grace_of(pod)
            return
    started = is_started(container)
    for probe in container.probes:
        if started is (probe.kind is ProbeKind.STARTUP):
            continue
        if is_due(probe, now):
            yield Ask(container.name, probe.kind)
        elif not probe.running:
            yield probe.next_at


def _stopping_steps(container: Container, now: Milliseconds) -> Iterator[Step]:
    if container.phase is not Phase.STOPPING or container.is_killed:
        return
    if container.pre_stop is Hook.FINISHED or (
        container.pre_stop is Hook.RUNNING and now >= container.kill_at
    ):
        yield Terminate(container.name, max(container.kill_at, now + LEAST_TERM))
    elif now >= container.kill_at:
        yield Kill(container.name)
    else:
        yield container.kill_at
