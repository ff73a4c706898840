"""How far a rollout is, in the words of kubectl."""

from __future__ import annotations

from typing import Any

import pytest

from services.commands.rollouts import progress_of


def a_set(status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "kind": "StatefulSet",
        "metadata": {"name": "db", "generation": 2},
        "spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate"}, **spec},
        "status": {"observedGeneration": 2, "currentRevision": "db-a", "updateRevision": "db-a", **status},
    }


UPDATED = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3}
PARTITION = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}


@pytest.mark.parametrize(
    ("workload", "complete", "message"),
    [
        (
            a_set({"observedGeneration": 1, "readyReplicas": 3}),
            False,
            "waiting for the change to be observed",
        ),
        (a_set({"readyReplicas": 1}), False, "waiting for 2 pods to be ready"),
        (a_set({"readyReplicas": 3}), True, "rolling update complete: 3 pods at revision db-a"),
        (
            a_set({"readyReplicas": 3, "updatedReplicas": 1, "updateRevision": "db-b"}),
            False,
            "waiting for the rolling update: 1 pod at revision db-b",
        ),
        (
            a_set({"readyReplicas": 3, "updateRevision": "db-b"}, updateStrategy=PARTITION),
            False,
            "waiting for the partitioned roll out: 0 of 1 new pod updated",
        ),
        (
            a_set(
                {"readyReplicas": 3, "updatedReplicas": 1, "updateRevision": "db-b"}, updateStrategy=PARTITION
            ),
            True,
            "partitioned roll out complete: 1 new pod updated",
        ),
        (
            a_set({"readyReplicas": 3, "updateRevision": "db-b"}, updateStrategy={"type": "OnDelete"}),
            True,
            "3 pods ready; OnDelete",
        ),
        (a_set({}, replicas=0), True, "rolling update complete: 0 pods"),
    ],
)
def test_a_stateful_set_is_rolled_out_when_kubectl_says_so(
    workload: dict[str, Any], complete: bool, message: str
) -> None:
    progress = progress_of(workload)
    assert (progress.complete, progress.message.startswith(message)) == (complete, True)


@pytest.mark.parametrize(
    ("status", "complete", "message"),
    [
        ({"desiredNumberScheduled": 3, "updatedNumberScheduled": 1}, False, "1 of 3 pods updated"),
        (
            {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2},
            False,
            "2 of 3 are available",
        ),
        (
            {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3},
            True,
            "is rolled out",
        ),
    ],
)
def test_a_daemon_set_is_rolled_out_when_every_node_has_an_available_new_pod(
    status: dict[str, int], complete: bool, message: str
) -> None:
    workload = {**a_set(status), "kind": "DaemonSet"}
    progress = progress_of(workload)
    assert (progress.complete, message in progress.message) == (complete, True)
