"""A pod in the agent's hands: its object as last seen, its containers' lives, where it is in ending."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from schemas.objects import Object, is_terminating, name_of, namespace_of, uid_of
from schemas.times import Milliseconds
from services.agent.lifecycle import (
    Container,
    ContainerEvent,
    Phase,
    Started,
    new_container,
    remembered,
    restored,
    with_event,
)
from services.agent.plans import Ending, Plan, grace_of, is_done, plan
from services.agent.probes import ProbeKind, ProbeState, with_asked, with_result
from services.agent.runtimes.port import FoundPod
from services.agent.statuses import OUR_CONDITIONS, Place, Remark, Verdict, is_marked_with_its_node, status_of
from services.agent.verdicts import OVERDUE, overdue_at


@dataclass(slots=True)
class Work:
    """The one mutable thing of an agent: owned by its loop, touched by no other thread."""

    pod: Object
    place: Place
    containers: dict[str, Container]
    deadline: Milliseconds | None = None
    """By when the pod must be gone; None while it is to live."""
    verdict: Verdict | None = None
    """Why the node ends the pod though nobody has deleted it."""
    is_released: bool = False
    """Whether what it has written was removed, though it stays."""
    is_gone: bool = False
    """Whether the object is gone: there is nothing to report to."""
    reported: Object | None = None
    wake_at: Milliseconds | None = 0

    @property
    def uid(self) -> str:
        return uid_of(self.pod)

    @property
    def is_alive(self) -> bool:
        """Whether a process of it may exist."""
        return any(container.is_alive for container in self.containers.values())

    @property
    def is_done(self) -> bool:
        """Whether nothing of it runs, and nothing will again."""
        containers = tuple(self.containers.values())
        policy = self.pod["spec"].get("restartPolicy", "Always")
        return not self.is_alive and (self.verdict is not None or is_done(containers, policy))

    @property
    def _ending(self) -> Ending | None:
        if self.deadline is None:
            return None
        if self.verdict is None or self.is_gone or is_terminating(self.pod):
            return Ending(self.deadline)
        return Ending(self.deadline, stays=True, why=self.verdict.message)

    @property
    def is_beginning(self) -> bool:
        """Whether there is no more to tell than that its first containers are being created."""
        return self.reported is None and all(
            container.attempt < 0
            and not container.message
            and container.phase in (Phase.WAITING, Phase.STARTING)
            for container in self.containers.values()
        )

    @property
    def has_begun(self) -> bool:
        """Whether any of its containers has ever run."""
        return any(container.attempt >= 0 for container in self.containers.values())

    @property
    def addresses(self) -> Object:
        """What of its status the downward API may show."""
        return {
            "hostIP": self.place.host_address,
            "hostIPs": [{"ip": self.place.host_address}],
            "podIP": self.place.address,
            "podIPs": [{"ip": self.place.address}],
        }

    @property
    def title(self) -> str:
        return title_of(self.pod)

    def plan(self, now: Milliseconds) -> Plan:
        """Return what to do now."""
        found = plan(self.pod, tuple(self.containers.values()), self._ending, now)
        overdue = None if self._ending or self.is_done else overdue_at(self.pod, self.place.accepted_at)
        if overdue is None:
            return found
        return replace(found, wake_at=min(overdue, found.wake_at or overdue))

    def judge(self, now: Milliseconds) -> None:
        """End a pod whose time is up."""
        overdue = overdue_at(self.pod, self.place.accepted_at)
        if overdue is not None and now >= overdue and not self.is_done:
            self.condemn(OVERDUE, grace_of(self.pod), now)

    def condemn(self, verdict: Verdict, grace: Milliseconds, now: Milliseconds) -> None:
        """End the pod, for good; the first verdict holds, and none on a pod that is being deleted."""
        if self.deadline is None:
            self.verdict = verdict
            self._end_by(now + grace)

    def apply(self, container: str, event: ContainerEvent) -> None:
        """Feed what happened to one of the containers."""
        self.containers[container] = with_event(self.containers[container], event)
        self.wake_at = 0

    def remark(self, remarks: tuple[Remark, ...]) -> None:
        """Take note of what the runtime remarks on the pod now."""
        if remarks != self.place.remarks:
            self.place = replace(self.place, remarks=remarks)
            self.wake_at = 0

    def see(self, pod: Object, now: Milliseconds) -> None:
        """Take note of the object as it is now; the grace period of a deletion begins when it is first seen."""
        self.pod = pod
        self.wake_at = 0
        if is_marked_with_its_node(pod):
            self.reported = pod["status"]
        if is_terminating(pod):
            self._end_by(now + grace_of(pod))

    def lose(self, now: Milliseconds) -> None:
        """Take note that the object is gone without our consent: a forced deletion, or one while we were away."""
        self.is_gone = True
        self._end_by(now + grace_of(self.pod))

    def ask(self, container: str, kind: ProbeKind) -> None:
        """Mark a probe as asked."""
        self._with_probe(container, kind, with_asked)

    def answer(self, container: str, kind: ProbeKind, result: tuple[bool, str], now: Milliseconds) -> None:
        """Feed the answer of a probe."""
        self._with_probe(container, kind, lambda probe: with_result(probe, *result, now))
        self.wake_at = 0

    def status(self, is_over: bool, now: Milliseconds) -> Object:
        """Return what to report."""
        pod = {**self.pod, "status": self._status_before()}
        end = self.verdict if self.verdict and not self.is_alive else is_over
        return status_of(pod, tuple(self.containers.values()), self.place, end, now)

    def _status_before(self) -> Object:
        """Return the status to go on from: what we reported last, and what others have written since."""
        theirs: Object = self.pod.get("status") or {}
        if self.reported is None:
            return theirs
        conditions = [
            *(item for item in self.reported.get("conditions") or () if item["type"] in OUR_CONDITIONS),
            *(item for item in theirs.get("conditions") or () if item["type"] not in OUR_CONDITIONS),
        ]
        return {**theirs, **self.reported, "conditions": conditions}

    def _with_probe(self, name: str, kind: ProbeKind, change: Callable[[ProbeState], ProbeState]) -> None:
        container = self.containers[name]
        probes = tuple(change(probe) if probe.kind is kind else probe for probe in container.probes)
        self.containers[name] = replace(container, probes=probes)

    def _end_by(self, deadline: Milliseconds) -> None:
        if self.deadline is None or deadline < self.deadline:
            self.deadline = deadline
            self.wake_at = 0


def title_of(pod: Object) -> str:
    """Return what people call a pod: `default/db-0`."""
    return f"{namespace_of(pod)}/{name_of(pod)}"


def new_work(pod: Object, place: Place) -> Work:
    """Return the work for a pod that was just accepted.

    What its status tells of an earlier time, of which nothing is left on this machine, is remembered.
    """
    statuses = {status["name"]: status for status in _reported(pod)}
    containers = {
        spec["name"]: remembered(new_container(spec, is_init), statuses.get(spec["name"], {}))
        for is_init, spec in _specs(pod)
    }
    return Work(pod, place, containers)


def adopted_work(found: FoundPod, latest: Object | None, host_address: str) -> Work:
    """Return the work for a pod that a runtime has found: running containers run on, ended ones have ended."""
    pod = latest or found.pod
    place = Place(found.address, host_address, found.accepted_at, found.remarks)
    work = new_work(pod, place)
    statuses = {status["name"]: status for status in _reported(pod)}
    specs = {spec["name"]: (is_init, spec) for is_init, spec in _specs(pod)}
    for run in found.runs:
        if run.container in specs:
            is_init, spec = specs[run.container]
            begun: tuple[int, Started] = (run.attempt, run.started)
            work.containers[run.container] = restored(spec, is_init, begun, statuses.get(run.container))
    work.reported = pod.get("status")
    if work.reported and work.reported.get("phase") == "Failed" and work.reported.get("reason"):
        verdict = Verdict(work.reported["reason"], work.reported.get("message", ""))
        work.condemn(verdict, 0, found.accepted_at)
    return work


def _specs(pod: Object) -> list[tuple[bool, Object]]:
    spec = pod["spec"]
    inits = [(True, container) for container in spec.get("initContainers") or ()]
    return inits + [(False, container) for container in spec.get("containers") or ()]


def _reported(pod: Object) -> list[Object]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
