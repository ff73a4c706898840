"""Graceful deletion, one row for each of Kubernetes' rules."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Delete, Replace
from schemas.deletion import deletion_of
from schemas.objects import Object
from schemas.times import rfc3339

NOON = 1_800_000_000_000


def a_pod(node: str = "n1", phase: str = "Running", grace: int | None = None, **metadata: Any) -> Object:
    spec: Object = {"nodeName": node} if node else {}
    if grace is not None:
        spec["terminationGracePeriodSeconds"] = grace
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", **metadata},
        "spec": spec,
        "status": {"phase": phase},
    }


def a_claim(**metadata: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", **metadata},
        "spec": {},
    }


def ending(seconds: int, grace: int) -> dict[str, Any]:
    return {"deletionTimestamp": rfc3339(NOON + seconds * 1000), "deletionGracePeriodSeconds": grace}


@pytest.mark.parametrize(
    ("obj", "options"),
    [
        (a_pod(node=""), {}),
        (a_pod(node="", grace=100), {"grace_seconds": 50}),
        (a_pod(phase="Failed"), {}),
        (a_pod(phase="Succeeded"), {}),
        (a_pod(), {"grace_seconds": 0}),
        (a_pod(grace=0), {}),
        (a_pod(**ending(20, 30)), {"grace_seconds": 0}),
        (a_claim(), {}),
        (a_claim(), {"grace_seconds": 30}),
        (a_claim(finalizers=["orphan"]), {}),
    ],
    ids=[
        "unscheduled",
        "unscheduled, whatever is asked",
        "failed",
        "succeeded",
        "forced",
        "a pod without grace",
        "forced while it ends",
        "no pod",
        "no pod has grace",
        "only the finalizer of another policy",
    ],
)
def test_goes_at_once(obj: Object, options: dict[str, Any]) -> None:
    assert deletion_of(obj, NOON, **options) == Delete(obj)


@pytest.mark.parametrize(
    ("obj", "options", "metadata"),
    [
        (a_pod(), {}, ending(30, 30)),
        (a_pod(grace=5), {}, ending(5, 5)),
        (a_pod(grace=5), {"grace_seconds": 90}, ending(90, 90)),
        (a_pod(), {"grace_seconds": -7}, ending(1, 1)),
        (a_pod(**ending(20, 30)), {"grace_seconds": 10}, ending(0, 10)),
        (a_pod(**ending(20, 30)), {"grace_seconds": 60}, ending(20, 30)),
        (a_pod(**ending(20, 30)), {}, ending(20, 30)),
        (a_pod(finalizers=["x/y"]), {"grace_seconds": 0}, {**ending(0, 0), "finalizers": ["x/y"]}),
        (a_claim(finalizers=["x/y"]), {}, {**ending(0, 0), "finalizers": ["x/y"]}),
        (a_claim(finalizers=["x/y"], **ending(-5, 0)), {}, {**ending(-5, 0), "finalizers": ["x/y"]}),
        (a_claim(), {"propagation": "Foreground"}, {**ending(0, 0), "finalizers": ["foregroundDeletion"]}),
        (a_claim(), {"propagation": "Orphan"}, {**ending(0, 0), "finalizers": ["orphan"]}),
        (
            a_claim(finalizers=["foregroundDeletion", "x/y"]),
            {"propagation": "Orphan"},
            {**ending(0, 0), "finalizers": ["x/y", "orphan"]},
        ),
    ],
    ids=[
        "30 s by default",
        "the pod's own grace",
        "the asked one",
        "a negative one is 1 s",
        "less time for one that ends",
        "never more",
        "asked again",
        "finalizers hold a forced pod",
        "finalizers",
        "asked again, with finalizers",
        "foreground",
        "orphan",
        "the last policy counts",
    ],
)
def test_is_marked(obj: Object, options: dict[str, Any], metadata: dict[str, Any]) -> None:
    change = deletion_of(obj, NOON, **options)
    assert isinstance(change, Replace)
    assert change.new == {**obj, "metadata": {"name": obj["metadata"]["name"], **metadata}}
