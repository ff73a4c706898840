"""The life of containers, the plan for a pod, and the status that people see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas.objects import Object
from services.agent.lifecycle import (
    TRANSITIONS,
    BackedOff,
    Begun,
    Blocked,
    Container,
    ContainerEvent,
    Exit,
    Exited,
    IllegalTransition,
    KillAsked,
    Phase,
    RetryDue,
    Started,
    StopAsked,
    is_ready,
    probes_of,
    restored,
    with_event,
)
from services.agent.plans import Ask, Ending, Finish, Kill, Note, Plan, Start, Stop, plan
from services.agent.probes import ProbeKind, with_result
from services.agent.statuses import Place, status_of
from tests.services.agent.builders import NOW, a_container, a_pod

PLACE = Place("127.1.2.3", "127.0.0.1", NOW)


def an_exit(code: int = 0, at: int = NOW) -> Exit:
    return Exit(code, 0, "Completed" if code == 0 else "Error", "", NOW, at, "process://u/main/0")


def started(at: int = NOW, **fields: Any) -> Started:
    return Started("process://u/main/0", "sha256:1", True, at, probes_of(a_container(**fields), at))


EVENTS: list[ContainerEvent] = [
    Begun(NOW),
    started(),
    Blocked("ErrImagePull", "none", NOW),
    Exited(an_exit()),
    BackedOff("", NOW),
    StopAsked(NOW),
    KillAsked(),
    RetryDue(),
]


def lived(*events: ContainerEvent, name: str = "main") -> Container:
    container = Container(name)
    for event in events:
        container = with_event(container, event)
    return container


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_is_not_in_the_table_raises(phase: Phase, event: ContainerEvent) -> None:
    container = Container("main", phase=phase)
    if (phase, type(event)) in TRANSITIONS:
        with_event(container, event)
    else:
        with pytest.raises(IllegalTransition, match="main"):
            with_event(container, event)


def planned(*containers: Container, now: int = NOW, ending: Ending | None = None, **spec: Any) -> Plan:
    pod = a_pod("db-0", *[a_container(c.name) for c in containers], **spec)
    return plan(pod, containers, ending, now)


RUNNING = (Begun(NOW), started())


def crashed(times: int) -> Container:
    events: list[ContainerEvent] = []
    for _ in range(times):
        events += [Begun(NOW), started(), Exited(an_exit(1))]
    return lived(*events)


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (lived(), Plan((Start("main"),))),
        (lived(Begun(NOW)), Plan()),
        (lived(*RUNNING), Plan()),
        (crashed(1), Plan((Start("main"),))),
        (lived(Begun(NOW), Blocked("ErrImagePull", "", NOW)), Plan((), NOW + 1_000)),
        (lived(Begun(NOW), Blocked("ContainerCreating", "", NOW)), Plan((), NOW + 500)),
    ],
    ids=["new", "starting", "running", "crashed once", "no image", "no volume"],
)
def test_what_is_done_for_a_container(container: Container, expected: Plan) -> None:
    assert planned(container) == expected


def test_a_second_crash_waits_ten_seconds() -> None:
    result = planned(crashed(2))
    assert isinstance(result.actions[0], Note) and result.wake_at == NOW + 10_000
    waiting = with_event(crashed(2), result.actions[0].event)
    assert planned(waiting) == Plan((), NOW + 10_000)
    assert planned(waiting, now=NOW + 10_000) == Plan((Start("main"),))


def test_an_image_that_stays_missing_backs_off_and_is_tried_again() -> None:
    missing = lived(Begun(NOW), Blocked("ErrImagePull", "none", NOW))
    assert missing.reason == "ErrImagePull"
    note = planned(missing, now=NOW + 1_000).actions[0]
    assert note == Note("main", RetryDue())
    waiting = with_event(missing, RetryDue())
    assert waiting.reason == "ImagePullBackOff" and planned(waiting).wake_at == NOW + 10_000
    again = with_event(
        with_event(waiting, Begun(NOW + 10_000)), Blocked("ErrImagePull", "none", NOW + 10_000)
    )
    assert again.reason == "ImagePullBackOff" and again.retry_at == NOW + 30_000


def test_a_pod_that_ends_is_asked_then_killed_then_finished() -> None:
    ending = Ending(NOW + 5_000)
    running = lived(*RUNNING)
    first = planned(running, ending=ending)
    assert isinstance(first.actions[0], Stop) and first.wake_at == NOW + 5_000
    stopping = with_event(running, StopAsked(NOW + 5_000))
    assert planned(stopping, ending=ending) == Plan((), NOW + 5_000)
    assert planned(stopping, ending=ending, now=NOW + 5_000) == Plan((Kill("main"),))
    sooner = planned(stopping, ending=Ending(NOW + 1_000)).actions[0]
    assert isinstance(sooner, Stop) and sooner.kill_at == NOW + 1_000
    ended = with_event(stopping, Exited(an_exit(143)))
    assert planned(ended, ending=ending) == Plan((Finish(),))
    assert planned(lived(), ending=ending) == Plan((Finish(),))


def test_a_pod_that_is_still_starting_is_not_finished() -> None:
    assert planned(lived(Begun(NOW)), ending=Ending(NOW)) == Plan()


def test_init_containers_run_one_after_the_other_before_the_rest() -> None:
    pod = a_pod("db-0", a_container("main"), initContainers=[a_container("a"), a_container("b")])
    a, b, main = Container("a", True), Container("b", True), Container("main")
    assert plan(pod, (a, b, main), None, NOW) == Plan((Start("a"),))
    for event in (*RUNNING, Exited(an_exit())):
        a = with_event(a, event)
    assert plan(pod, (a, b, main), None, NOW) == Plan((Start("b"),))
    status = status_of(pod, (a, b, main), PLACE, False, NOW)
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


def test_readiness_is_asked_when_due_and_liveness_restarts() -> None:
    probe = {"tcpSocket": {"port": 1}, "failureThreshold": 1}
    events = (Begun(NOW), started(readinessProbe=probe, livenessProbe=probe))
    running = lived(*events)
    assert planned(running).actions == (Ask("main", ProbeKind.READINESS), Ask("main", ProbeKind.LIVENESS))
    sick = tuple(with_result(p, p.kind is ProbeKind.READINESS, "sick", NOW) for p in running.probes)
    stop = planned(replace(running, probes=sick)).actions[0]
    assert (
        isinstance(stop, Stop) and stop.kill_at == NOW + 5_000 and "liveness probe failed: sick" in stop.why
    )


def test_readiness_does_not_hold_before_it_was_asked_and_restarts_nothing_when_it_fails() -> None:
    probe = {"tcpSocket": {"port": 1}, "failureThreshold": 1}
    running = lived(Begun(NOW), started(readinessProbe=probe))
    (asked,) = running.probes
    well = replace(running, probes=(with_result(asked, True, "", NOW),))
    sick = replace(running, probes=(with_result(asked, False, "sick", NOW),))
    assert [is_ready(each) for each in (running, well, sick)] == [False, True, False]
    assert not [action for action in planned(sick).actions if isinstance(action, Stop)]


def condition(status: Object, name: str) -> Object:
    return next(item for item in status["conditions"] if item["type"] == name)


@pytest.mark.parametrize(
    ("containers", "policy", "phase", "ready"),
    [
        ((lived(),), "Always", "Pending", "False"),
        ((lived(*RUNNING),), "Always", "Running", "True"),
        ((lived(*RUNNING), lived(name="b")), "Always", "Pending", "False"),
        ((lived(*RUNNING), lived(*RUNNING, Exited(an_exit(1)), name="b")), "Always", "Running", "False"),
        ((lived(*RUNNING, Exited(an_exit(0))),), "Always", "Running", "False"),
        ((lived(*RUNNING, Exited(an_exit(0))),), "OnFailure", "Succeeded", "False"),
        ((lived(*RUNNING, Exited(an_exit(1))),), "OnFailure", "Running", "False"),
        ((lived(*RUNNING, Exited(an_exit(1))),), "Never", "Failed", "False"),
        ((lived(Begun(NOW), Blocked("ErrImagePull", "", NOW)),), "Always", "Pending", "False"),
    ],
)
def test_the_phase_follows_from_the_containers(
    containers: tuple[Container, ...], policy: str, phase: str, ready: str
) -> None:
    pod = a_pod("db-0", *[a_container(c.name) for c in containers], restartPolicy=policy)
    status = status_of(pod, containers, PLACE, False, NOW)
    assert status["phase"] == phase
    assert condition(status, "Ready")["status"] == ready == condition(status, "ContainersReady")["status"]


def test_a_crash_loop_shows_as_kubernetes_shows_it() -> None:
    waiting = with_event(crashed(2), BackedOff("back-off 10s", NOW + 10_000))
    status = status_of(a_pod("db-0"), (waiting,), PLACE, False, NOW)["containerStatuses"][0]
    assert status["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert status["restartCount"] == 1 and status["started"] is False and status["ready"] is False


def test_a_condition_keeps_its_time_until_its_status_changes_and_foreign_ones_stay() -> None:
    pod = a_pod("db-0")
    pod["status"]["conditions"] = [{"type": "Mine", "status": "True", "lastTransitionTime": "x"}]
    first = status_of(pod, (lived(),), PLACE, False, NOW)
    later = status_of({**pod, "status": first}, (lived(*RUNNING),), PLACE, False, NOW + 60_000)
    assert condition(later, "Mine")["lastTransitionTime"] == "x"
    assert condition(later, "Initialized") == condition(first, "Initialized")
    assert condition(later, "Ready")["lastTransitionTime"] != condition(first, "Ready")["lastTransitionTime"]
    assert status_of({**pod, "status": later}, (lived(*RUNNING),), PLACE, False, NOW + 90_000) == later


def test_a_readiness_gate_that_is_not_met_keeps_the_pod_from_ready() -> None:
    pod = a_pod("db-0", readinessGates=[{"conditionType": "Gate"}])
    status = status_of(pod, (lived(*RUNNING),), PLACE, False, NOW)
    assert condition(status, "Ready")["reason"] == "ReadinessGatesNotReady"
    assert condition(status, "ContainersReady")["status"] == "True"


def test_a_found_container_keeps_its_readiness_and_its_past() -> None:
    spec = a_container(readinessProbe={"tcpSocket": {"port": 1}})
    begun = started(readinessProbe={"tcpSocket": {"port": 1}})
    ready = lived(Begun(NOW), started(), Exited(an_exit(3)), Begun(NOW), started())
    status = status_of(a_pod("db-0"), (ready,), PLACE, False, NOW)["containerStatuses"][0]
    found = restored(spec, False, (1, begun), status)
    assert found.last and found.last.code == 3 and found.attempt == 1
    assert [probe.passing for probe in found.probes] == [True]
    stranger = restored(spec, False, (1, begun), {**status, "containerID": "process://other"})
    assert stranger.last is None and [probe.passing for probe in stranger.probes] == [None]
