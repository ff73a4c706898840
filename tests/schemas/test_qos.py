"""Classes of service: what a pod is for those who must choose whom to spare."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.qos import qos_class_of

SMALL = {"cpu": "100m", "memory": "64Mi"}
SAME = {"cpu": "0.1", "memory": "65536Ki"}


def a_container(requests: Any = None, limits: Any = None) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": requests or {}, "limits": limits or {}}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [a_container()]}, "BestEffort"),
        ({"containers": [{"name": "c", "resources": {}}]}, "BestEffort"),
        ({"containers": [a_container({"cpu": "0"}, {"memory": "0"})]}, "BestEffort"),
        ({"containers": [a_container({"ephemeral-storage": "1Gi"})]}, "BestEffort"),
        ({"containers": [a_container(SMALL, SMALL)]}, "Guaranteed"),
        ({"containers": [a_container(SMALL, SAME)]}, "Guaranteed"),
        ({"containers": [a_container(SMALL)]}, "Burstable"),
        ({"containers": [a_container(SMALL, {**SMALL, "cpu": "200m"})]}, "Burstable"),
        ({"containers": [a_container({"cpu": "1"}, {"cpu": "1"})]}, "Burstable"),
        ({"containers": [a_container(SMALL, SMALL), a_container()]}, "Burstable"),
        ({"containers": [a_container(SMALL, SMALL)], "initContainers": [a_container()]}, "Burstable"),
        ({"containers": [a_container()], "resources": {"requests": SMALL, "limits": SMALL}}, "Guaranteed"),
        ({"containers": [a_container(SMALL, SMALL)], "resources": {"requests": SMALL}}, "Burstable"),
    ],
)
def test_the_class_follows_from_requests_and_limits(spec: dict[str, Any], expected: str) -> None:
    assert qos_class_of(spec) == expected
