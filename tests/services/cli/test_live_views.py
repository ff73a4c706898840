"""The live view: a state in, lines of text out that fit the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from events.state import State
from schemas.objects import Object, key_of_object
from services.cli.live_models import (
    Events,
    Happening,
    Health,
    Model,
    Pod,
    Revision,
    Workload,
    health_of,
    model_of,
)
from services.cli.live_views import view
from tests.builders import a_node, a_pod, an_object


def a_set(name: str = "db", replicas: int = 3, start: int = 0, **status: Any) -> Object:
    spec = {"replicas": replicas, **({"ordinals": {"start": start}} if start else {})}
    return an_object("StatefulSet", name, "default", "apps/v1", spec=spec, status=status)


def a_revision(owner: Object, number: int, image: str) -> Object:
    template = {"spec": {"containers": [{"name": "main", "image": image}]}}
    name = f"{owner['metadata']['name']}-r{number}"
    reference = {
        "apiVersion": "apps/v1",
        "kind": owner["kind"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    return an_object(
        "ControllerRevision",
        name,
        "default",
        "apps/v1",
        metadata={"ownerReferences": [reference], "labels": {"controller-revision-hash": f"r{number}"}},
        revision=number,
        data={"spec": {"template": template}},
    )


def a_running_pod(name: str, owner: Object, revision: str, ready: str = "True", **status: Any) -> Object:
    pod = a_pod(name, "n1", owner, metadata={"labels": {"controller-revision-hash": revision}})
    conditions = [{"type": "Ready", "status": ready}]
    return {**pod, "status": {"phase": "Running", "podIP": "127.0.0.9", "conditions": conditions, **status}}


def waiting_in(reason: str) -> Object:
    return {"name": "main", "restartCount": 4, "state": {"waiting": {"reason": reason}}}


def state_of(*objects: Object) -> State:
    state = State()
    for obj in objects:
        state.put(key_of_object(obj), None, obj)
    return state


def text_of(model: Model, width: int = 100, height: int = 30) -> list[str]:
    """Return the lines drawn, without trailing spaces."""
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(view(model, width, height))
    return [line.rstrip() for line in console.export_text().splitlines()]


def a_rollout() -> State:
    """Three pods: db-2 of the new revision and stuck, db-0 not ready, db-1 missing."""
    db = a_set(readyReplicas=0, updatedReplicas=1, currentRevision="db-r1", updateRevision="db-r2")
    stuck = a_running_pod(
        "db-2", db, "db-r2", "False", phase="Pending", containerStatuses=[waiting_in("ErrImagePull")]
    )
    return state_of(
        db,
        a_revision(db, 1, "db:5.7.2"),
        a_revision(db, 2, "db:5.7.23"),
        a_running_pod("db-0", db, "db-r1", "False"),
        stuck,
        a_node("n1"),
        a_node("n2", ready="False"),
    )


def test_a_rollout_is_seen_pod_by_pod_with_what_it_waits_for() -> None:
    key = "apps/statefulsets/default/db"
    model = model_of("demo", a_rollout(), {key: "db-2 is not Ready"}, Events())
    assert text_of(model)[:8] == [
        " demo   1/2 nodes ready",
        "",
        " statefulset db   0/3 ready, 1/3 updated",
        "   #2   db-r2  db:5.7.23  update",
        "   #1   db-r1  db:5.7.2  current",
        "   ◐ 0  Running, not ready  #1    n1      127.0.0.9",
        "   · 1  missing",
        "   ✗ 2  ErrImagePull        #2    n1      127.0.0.9       restarted 4x",
    ]
    assert text_of(model)[8] == "   waiting for: db-2 is not Ready"


def test_pods_have_the_colour_of_their_revision_and_the_failing_are_red() -> None:
    console = Console(
        record=True, width=100, file=io.StringIO(), force_terminal=True, color_system="standard"
    )
    console.print(view(model_of("demo", a_rollout(), {}, Events()), 100, 30))
    styled = console.export_text(styles=True)
    assert "\x1b[32m   #2   db-r2" in styled and "\x1b[33m   #1   db-r1" in styled
    assert "\x1b[1;33m◐ 0" in styled and "\x1b[1;31m✗ 2" in styled


def test_ordinals_begin_at_the_start_and_pods_beyond_them_are_shown_too() -> None:
    db = a_set(replicas=2, start=5)
    model = model_of("demo", state_of(db, a_running_pod("db-9", db, "db-r1")), {}, Events())
    assert [(pod.place, pod.health) for pod in model.workloads[0].pods] == [
        ("5", Health.MISSING),
        ("6", Health.MISSING),
        ("9", Health.READY),
    ]


def test_a_daemon_set_has_its_pods_by_node_and_pods_of_nobody_are_not_forgotten() -> None:
    agent = an_object(
        "DaemonSet",
        "agent",
        "kube-system",
        "apps/v1",
        spec={},
        status={"desiredNumberScheduled": 2, "numberReady": 1},
    )
    pod = a_running_pod("agent-x7", agent, "r1")
    model = model_of(
        "demo", state_of(agent, a_revision(agent, 1, "agent:1"), pod, a_pod("alone")), {}, Events()
    )
    (workload,) = model.workloads
    assert [each.place for each in workload.pods] == ["n1"]
    assert workload.revisions == (Revision("r1", 1, "agent:1", True, False),)
    lines = text_of(model)
    assert " daemonset kube-system/agent   1/2 ready, 0/2 updated" in lines
    assert lines[lines.index(" pods of no workload") + 1] == "   ○ alone"


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ({"phase": "Pending"}, Health.PENDING),
        ({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}, Health.READY),
        ({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}, Health.STARTING),
        ({"phase": "Failed"}, Health.FAILING),
        ({"phase": "Succeeded"}, Health.DONE),
        ({"phase": "Running", "containerStatuses": [waiting_in("CrashLoopBackOff")]}, Health.FAILING),
        ({"phase": "Pending", "initContainerStatuses": [waiting_in("ImagePullBackOff")]}, Health.FAILING),
        ({"phase": "Pending", "containerStatuses": [waiting_in("ContainerCreating")]}, Health.PENDING),
    ],
)
def test_a_sign_sums_up_a_pod(status: Object, health: Health) -> None:
    pod = {**a_pod(), "status": status}
    assert health_of(pod) is health
    leaving = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert health_of(leaving) is Health.LEAVING


def a_workload(name: str, pods: int, well: bool = True) -> Workload:
    marks = tuple(
        Pod(str(n), Health.READY if well else Health.STARTING, "Running", "r1") for n in range(pods)
    )
    ready = pods if well else 0
    revisions = (Revision("r1", 1, "db:1", True, True),)
    return Workload(
        "statefulset", "default", name, pods, ready, pods, marks, revisions, "" if well else "patience"
    )


def an_event(number: int) -> Happening:
    return Happening("04:00:00.000", "PodReady", f"db-{number}", "n1", "")


@pytest.mark.parametrize("height", [1, 2, 5, 12, 24, 50])
@pytest.mark.parametrize("width", [20, 80, 200])
@pytest.mark.parametrize("pods", [0, 3, 1000])
def test_it_never_takes_more_than_the_terminal_has(width: int, height: int, pods: int) -> None:
    workloads = tuple(a_workload(f"db-{number}", pods, number % 2 == 0) for number in range(12))
    model = Model(
        "demo", 1, 3, 3, workloads, (), tuple(map(an_event, range(200))), ("the log is away",), "Ctrl-C"
    )
    lines = text_of(model, width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


def test_where_room_is_short_it_is_the_well_that_are_shown_in_less_detail() -> None:
    workloads = (a_workload("well", 6), a_workload("ill", 6, False))
    lines = text_of(Model("demo", 1, 3, 3, workloads, (), (an_event(1),)), height=20)
    assert "   ● 0 ● 1 ● 2 ● 3 ● 4 ● 5" in lines
    assert "   ◐ 0  Running, not ready  #1" in lines
    assert "   waiting for: patience" in lines


def test_what_has_no_room_at_all_is_counted_and_the_events_keep_theirs() -> None:
    model = Model("demo", 1, 3, 3, tuple(a_workload(f"db-{n}", 1) for n in range(50)), (), (an_event(1),))
    lines = text_of(model, height=24)
    assert " ... and 33 lines more: chronoset get all -A" in lines
    assert lines[-1] == " 04:00:00.000  PodReady  db-1  n1"


def test_many_pods_stand_side_by_side() -> None:
    lines = text_of(Model("demo", 1, 3, 3, (a_workload("big", 100),)), 80, 24)
    assert lines[3] == "   #1 db:1"
    assert lines[4].startswith("   ● 0  ● 1  ● 2 ") and lines[4].endswith("● 14")


def test_the_newest_events_are_shown_last_and_fill_the_room() -> None:
    model = Model("demo", 1, 3, 3, (a_workload("db", 1),), (), tuple(map(an_event, range(100))))
    lines = text_of(model, height=20)
    assert len(lines) == 20
    assert lines[-1] == " 04:00:00.000  PodReady  db-99  n1"


def test_what_would_steer_the_terminal_is_shown_not_obeyed() -> None:
    pod = {**a_pod("evil"), "status": {"phase": "Failed", "reason": "\x1b[2J", "podIP": "\x1b]0;"}}
    model = model_of(
        "demo", state_of(pod, a_set("db")), {"apps/statefulsets/default/db": "\x1b[31m"}, Events()
    )
    assert model.others[0].word == "?[2J" and model.workloads[0].waiting == "?[31m"
    assert "\x1b" not in "".join(text_of(model))


def test_a_long_place_is_cut_before_anything_else_of_the_first_line() -> None:
    model = Model("demo", 1, 3, 3, place="/a" * 80, hint="Ctrl-C leaves")
    first = text_of(model, 60)[0]
    assert first.startswith(" demo   3/3 nodes ready   /a/a") and first.endswith("\u2026 Ctrl-C leaves")


def test_a_cluster_without_workloads_says_what_to_do() -> None:
    assert " no workloads yet: chronoset apply -f FILE" in text_of(model_of("demo", State(), {}, Events()))
