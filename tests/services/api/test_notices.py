"""What a change of an object means: the Events that kubectl shows, by reason and sentence."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from schemas.kinds import EVENT
from schemas.objects import Object, key_of_object, namespace_of
from schemas.positions import position_of
from services.api.failures import Failure
from services.api.notice_books import NoticeBook, merged
from services.api.notices import event_of, notices_of
from services.api.ring import Change
from tests.builders import a_node, a_pod, an_object

POSITION = position_of("1795404498048-3")
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def a_workload(kind: str = "StatefulSet", template: str = "web:1", **parts: Any) -> Object:
    spec = {"replicas": 3, "template": {"spec": {"containers": [{"name": "main", "image": template}]}}}
    return an_object(kind, "web", "default", "apps/v1", **{"spec": spec, **parts})


def a_change(old: Object | None, new: Object | None, actor: str = "", position: int = POSITION) -> Change:
    obj = new or old or {}
    key = key_of_object(obj)
    resource = key.rpartition(f"/{namespace_of(obj)}/" if namespace_of(obj) else "/")[0]
    return Change((position, resource, namespace_of(obj), key), old, new, position, actor)


def said(old: Object | None, new: Object | None, actor: str = "node:n1") -> list[tuple[str, str, str]]:
    """Return kind, reason and message of what a change means."""
    found = [each.said for each in notices_of(a_change(old, new, actor))]
    return [(each.about.kind, each.reason, each.message) for each in found]


def with_container(pod: Object, state: Object, **fields: Any) -> Object:
    status = {"name": "main", "state": state, "image": "web:1", **fields}
    return {**pod, "status": {**pod["status"], "containerStatuses": [status]}}


def changed(obj: Object, **metadata: Any) -> Object:
    return {**obj, "metadata": {**obj["metadata"], **metadata}}


def test_a_sets_controller_says_which_pods_it_makes_and_takes_away() -> None:
    owned = a_pod(owner=a_workload())
    ending = changed(owned, deletionTimestamp="2026-01-01T00:00:00Z")
    by = "controller:statefulset"
    assert said(None, owned, by) == [
        ("StatefulSet", "SuccessfulCreate", "create Pod web-0 in StatefulSet web successful")
    ]
    assert said(owned, ending, by) == [
        ("StatefulSet", "SuccessfulDelete", "delete Pod web-0 in StatefulSet web successful")
    ]
    assert said(owned, None, by) == said(owned, ending, by)
    assert said(ending, None, "node:n1") == [] == said(None, owned, "user:alice")


def test_a_daemon_sets_controller_says_why_it_takes_a_pod_away() -> None:
    owned = a_pod("web-x", "n1", a_workload("DaemonSet"), phase="Failed")
    ending = changed(owned, deletionTimestamp="2026-01-01T00:00:00Z")
    assert said(owned, ending, "controller:daemonset") == [
        (
            "DaemonSet",
            "FailedDaemonPod",
            "Found failed daemon pod default/web-x on node n1, will try to kill it",
        ),
        ("DaemonSet", "SuccessfulDelete", "Deleted pod: web-x"),
    ]


def test_a_pods_way_from_the_scheduler_to_its_end() -> None:
    pod, bound = a_pod(), a_pod(node="n1")
    runs = with_container(bound, RUNNING, containerID="process://1")
    assert said(pod, bound) == [("Pod", "Scheduled", "Successfully assigned default/web-0 to n1")]
    assert said(bound, runs) == [
        ("Pod", "Pulled", 'Container image "web:1" already present on machine'),
        ("Pod", "Created", "Created container: main"),
        ("Pod", "Started", "Started container main"),
    ]
    assert said(runs, with_container(bound, RUNNING, containerID="process://1", restartCount=0)) == []
    ending = changed(runs, deletionTimestamp="2026-01-01T00:00:00Z")
    assert said(runs, ending) == [("Pod", "Killing", "Stopping container main")]


def test_what_a_container_waits_for_is_said_once() -> None:
    pod = a_pod(node="n1")
    failing = with_container(pod, {"waiting": {"reason": "ErrImagePull", "message": "no such tag"}})
    backing = with_container(pod, {"waiting": {"reason": "ImagePullBackOff", "message": "again"}})
    crashing = with_container(pod, {"waiting": {"reason": "CrashLoopBackOff"}})
    assert said(pod, failing) == [
        ("Pod", "Failed", 'Failed to pull image "web:1": no such tag'),
        ("Pod", "Failed", "Error: ErrImagePull"),
    ]
    assert [each[1:] for each in said(failing, backing)] == [
        ("BackOff", 'Back-off pulling image "web:1"'),
        ("Failed", "Error: ImagePullBackOff"),
    ]
    assert said(backing, with_container(backing, {"waiting": {"reason": "ImagePullBackOff"}})) == []
    assert said(backing, with_container(pod, RUNNING, containerID="a"))[0][2] == (
        'Successfully pulled image "web:1"'
    )
    (backs_off,) = said(with_container(pod, RUNNING, containerID="a"), crashing)
    assert backs_off[1] == "BackOff"
    assert backs_off[2].startswith(
        "Back-off restarting failed container main in pod web-0_default(pod-web-0-"
    )


def test_a_probe_that_fails_a_node_that_is_lost_and_a_pod_that_fits_nowhere() -> None:
    pod = a_pod(node="n1")
    pod["spec"]["containers"][0] |= {"name": "main", "readinessProbe": {"exec": {"command": ["true"]}}}
    ready = with_container(pod, RUNNING, containerID="a", ready=True)
    not_ready = with_container(pod, RUNNING, containerID="a", ready=False)
    assert said(ready, not_ready) == [("Pod", "Unhealthy", "Readiness probe failed")]

    def conditioned(**condition: str) -> Object:
        return {**pod, "status": {**pod["status"], "conditions": [condition]}}

    lost = conditioned(type="Ready", status="False", reason="NodeNotReady")
    assert said(pod, lost, "controller:nodes") == [("Pod", "NodeNotReady", "Node is not ready")]
    misfit = conditioned(
        type="PodScheduled", status="False", reason="Unschedulable", message="0/3 nodes are available."
    )
    assert said(pod, misfit) == [("Pod", "FailedScheduling", "0/3 nodes are available.")]
    assert said(misfit, deepcopy(misfit)) == []
    rejected = {
        **pod,
        "status": {"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected: full"},
    }
    assert said(pod, rejected) == [("Pod", "OutOfcpu", "full")]


def test_a_rollout_is_said_of_its_set_with_who_began_it() -> None:
    old, new = a_workload(), a_workload(template="web:2")
    assert said(old, new, "user:alice") == [
        ("StatefulSet", "RollingUpdate", "Pod template changed by user:alice")
    ]
    rolling = {**new, "status": {"currentRevision": "web-1", "updateRevision": "web-2"}}
    done = {**new, "status": {"currentRevision": "web-2", "updateRevision": "web-2"}}
    assert said(rolling, done) == [("StatefulSet", "RollingUpdate", "Rolling update to web-2 complete")]
    scaled = {**old, "spec": {**old["spec"], "replicas": 5}}
    assert said(old, scaled, "user:bob") == [("StatefulSet", "Scaled", "Scaled from 3 to 5 by user:bob")]


def test_a_nodes_comings_and_goings() -> None:
    away, here = a_node(ready="Unknown"), a_node()
    assert [each[1] for each in said(None, here)] == ["RegisteredNode", "NodeReady"]
    assert said(away, here) == [("Node", "NodeReady", "Node n1 status is now: NodeReady")]
    assert said(here, away) == [("Node", "NodeNotReady", "Node n1 status is now: NodeNotReady")]
    assert said(here, a_node(unschedulable=True))[0][1] == "NodeNotSchedulable"
    assert said(here, None)[0][1] == "RemovingNode"


def test_objects_that_say_little_are_no_trouble() -> None:
    bare = an_object("Node", "n1")
    pod = a_pod(node="n1")
    odd = {**pod, "status": {"containerStatuses": [{"name": "main"}]}}
    assert said(bare, an_object("Node", "n1")) == [] == said(pod, odd) == said(odd, pod)


def test_an_event_has_the_same_name_and_uid_whenever_it_is_made() -> None:
    change = a_change(a_pod(), a_pod(node="n1"))
    (notice,) = notices_of(change)
    event = event_of(notice)
    assert event == event_of(*notices_of(change))
    assert event["metadata"]["name"] == f"web-0.{POSITION:x}"
    assert event["metadata"]["resourceVersion"] == str(POSITION)
    assert event["firstTimestamp"] == event["metadata"]["creationTimestamp"] == "2026-11-23T03:28:18Z"
    assert (event["type"], event["source"], event["count"]) == (
        "Normal",
        {"component": "default-scheduler"},
        1,
    )
    assert notice.key.startswith(f"{EVENT.resource}/default/web-0.")


def test_a_nodes_events_are_in_the_default_namespace() -> None:
    (notice,) = notices_of(a_change(a_node(), None))
    event = event_of(notice)
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]


def test_a_book_keeps_the_last_and_says_where_it_begins() -> None:
    book = NoticeBook(size=3, slack=1)
    pods = [(a_pod(f"web-{number}"), a_pod(f"web-{number}", "n1")) for number in range(5)]
    changes = [a_change(old, new, "", POSITION + at) for at, (old, new) in enumerate(pods)]
    assert [each.said.about.name for each in book.extend(changes[:4])] == ["web-0", "web-1", "web-2", "web-3"]
    assert book.floor == 0
    book.extend(changes[4:])
    assert book.floor == POSITION + 1
    assert [each.position - POSITION for each in book.since(book.floor)] == [2, 3, 4]
    assert [each.position - POSITION for each in book.since(POSITION + 2)] == [3, 4]
    assert [each.position - POSITION for each in book.until(POSITION + 3)] == [2, 3]
    assert [each.position - POSITION for each in book.until(POSITION + 4, "web-4")] == [4]
    last = book.since(POSITION + 3)[0]
    assert book.find("default", last.name) == last
    assert book.find("other", last.name) is None is book.find("default", f"web-0.{POSITION:x}")


def test_stored_events_win_over_those_that_follow() -> None:
    (notice,) = notices_of(a_change(a_pod(), a_pod(node="n1")))
    event = event_of(notice)
    mine = {**event, "message": "mine"}
    assert merged([mine], [notice, notice]) == [mine]


def test_a_book_begins_with_the_last_of_what_there_is() -> None:
    changes = [a_change(a_pod(), a_pod(node="n1"), "", POSITION + at) for at in range(2_500)]
    book = NoticeBook(floor=7, size=1_500)
    book.begin(changes)
    assert [each.position - POSITION for each in book.since(book.floor)] == list(range(500, 2_500))
    assert book.floor == POSITION + 499
    few = NoticeBook(floor=7)
    few.begin(changes[:3])
    assert (len(few.since(7)), few.floor) == (3, 7)


def test_a_watch_from_before_a_book_begins_is_too_late() -> None:
    book = NoticeBook(floor=POSITION)
    assert book.since(POSITION) == []
    with pytest.raises(Failure) as refusal:
        book.since(POSITION - 1)
    assert refusal.value.status["code"] == 410


def test_a_change_that_nobody_understands_means_nothing_and_hides_nothing() -> None:
    odd = a_change(a_pod(), {**a_pod(node="n1"), "status": {"containerStatuses": [7]}})
    assert [each.said.reason for each in NoticeBook().extend([odd, a_change(a_node(), None)])] == [
        "RemovingNode"
    ]
