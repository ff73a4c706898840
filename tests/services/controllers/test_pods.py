"""Predicates about pods, their words for people, and back-off."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.objects import Object
from schemas.times import rfc3339
from schemas.views import PodView
from services.controllers.backoff import delay_after
from services.controllers.pods import available_at, is_available, is_failing, is_ready, why_not_ready

NOON = 1_800_000_000_000


def a_pod(phase: str = "Running", ready: str = "True", node: str = "n1", **status: Any) -> PodView:
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": rfc3339(NOON)}
    return PodView(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p"},
            "spec": {"nodeName": node} if node else {},
            "status": {"phase": phase, "conditions": [condition], **status},
        }
    )


def a_container(**fields: Any) -> list[Object]:
    return [{"name": "db", "image": "db:1", "ready": False, "restartCount": 0, "state": {}, **fields}]


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (a_pod(), True),
        (a_pod(ready="False"), False),
        (a_pod(ready="Unknown"), False),
        (a_pod(phase="Pending"), False),
        (a_pod(phase="Failed"), False),
        (PodView({"metadata": {"name": "p"}, "spec": {}}), False),
    ],
)
def test_ready_is_running_with_a_true_condition(pod: PodView, expected: bool) -> None:
    assert is_ready(pod) is expected


def test_a_pod_is_available_once_it_was_ready_for_long_enough() -> None:
    pod = a_pod()
    assert available_at(pod, 0) == 0
    assert available_at(pod, 10) == NOON + 10_000
    assert not is_available(pod, 10, NOON + 9_999)
    assert is_available(pod, 10, NOON + 10_000)
    assert available_at(a_pod(ready="False"), 10) is None


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (a_container(), False),
        (a_container(restartCount=1), True),
        (a_container(state={"waiting": {"reason": "ContainerCreating"}}), False),
        (a_container(state={"waiting": {"reason": "CrashLoopBackOff"}}), True),
    ],
)
def test_failing_is_known_from_restarts_and_reasons(container: list[Object], expected: bool) -> None:
    assert is_failing(a_pod(ready="False", containerStatuses=container)) is expected
    assert is_failing(a_pod(ready="False", initContainerStatuses=container)) is expected


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (a_pod(phase="Failed", reason="OutOfcpu"), "it is Failed (OutOfcpu)"),
        (a_pod(phase="Pending", node=""), "it waits for a node"),
        (a_pod(phase="Pending"), "it starts on node n1"),
        (
            a_pod(containerStatuses=a_container(state={"waiting": {"reason": "ImagePullBackOff"}})),
            "container db waits in ImagePullBackOff (db:1)",
        ),
        (
            a_pod(containerStatuses=a_container(state={"terminated": {"exitCode": 3}})),
            "container db ended with exit code 3",
        ),
        (a_pod(ready="False", containerStatuses=a_container()), "container db is not ready yet"),
        (a_pod(ready="False"), "its Ready condition does not hold"),
    ],
)
def test_people_are_told_why_a_pod_is_not_ready(pod: PodView, expected: str) -> None:
    assert why_not_ready(pod) == expected


def test_back_off_doubles_from_a_second_to_a_quarter_of_an_hour() -> None:
    seconds = [delay_after(failures) // 1000 for failures in range(13)]
    assert seconds == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert delay_after(10_000) == 900_000
