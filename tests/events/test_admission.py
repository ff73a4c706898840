"""What a commit adds to a new pod, and which pods it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from events.admission import admitted_pod
from events.commit import Committer, Intent, Proposal
from events.memory import MemoryLog
from events.replay import replay
from events.state import State
from schemas.changes import Create
from schemas.envelopes import Actor
from schemas.errors import Forbidden
from schemas.objects import Object, key_of_object
from schemas.pod_columns import pod_status
from tests.builders import a_pod, a_state, an_object

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"


def admitted(pod: Object, *others: Object) -> Any:
    state = a_state(*others)
    return admitted_pod(pod, state.get, state.list)["spec"]


def a_priority_class(name: str, value: int, **more: Any) -> Object:
    return an_object("PriorityClass", name, api_version="scheduling.k8s.io/v1", value=value, **more)


def limits(spec: Any) -> dict[str, Any]:
    return {each.get("key", ""): each.get("tolerationSeconds") for each in spec["tolerations"]}


def test_a_pod_that_says_nothing_is_completed_as_on_kubernetes() -> None:
    spec = admitted(a_pod())

    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert spec["tolerations"] == [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in (NOT_READY, UNREACHABLE)
    ]
    assert "priorityClassName" not in spec


def test_a_pod_behind_gates_says_so() -> None:
    pod = admitted_pod(a_pod(schedulingGates=[{"name": "hold"}]), a_state().get, a_state().list)

    assert [each["reason"] for each in pod["status"]["conditions"]] == ["SchedulingGated"]
    assert pod_status(pod) == "SchedulingGated"


def test_a_new_pod_is_pending_and_of_a_class_of_service_whoever_makes_it() -> None:
    pod = a_pod()
    del pod["status"]

    assert admitted_pod(pod, a_state().get, a_state().list)["status"] == {
        "phase": "Pending",
        "qosClass": "BestEffort",
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"key": NOT_READY, "operator": "Exists"}, {NOT_READY: None, UNREACHABLE: 300}),
        (
            {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
            {UNREACHABLE: 5, NOT_READY: 300},
        ),
        ({"operator": "Exists"}, {"": None}),
        ({"operator": "Exists", "effect": "NoSchedule"}, {"": None, NOT_READY: 300, UNREACHABLE: 300}),
        (
            {"key": NOT_READY, "operator": "Exists", "effect": "NoSchedule"},
            {NOT_READY: 300, UNREACHABLE: 300},
        ),
    ],
)
def test_tolerations_are_added_for_what_the_pod_does_not_speak_of(
    given: Object, expected: dict[str, Any]
) -> None:
    assert limits(admitted(a_pod(tolerations=[given]))) == expected


def test_a_priority_class_gives_its_value_and_its_policy() -> None:
    urgent = a_priority_class("urgent", 1000, preemptionPolicy="Never")

    spec = admitted(a_pod(priorityClassName="urgent"), urgent)

    assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")


def test_the_class_that_is_everybodys_counts_for_those_who_name_none() -> None:
    classes = [a_priority_class("b", 7, globalDefault=True), a_priority_class("a", 9, globalDefault=True)]

    spec = admitted(a_pod(), *classes, a_priority_class("c", 1))

    assert (spec["priorityClassName"], spec["priority"]) == ("b", 7)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"priorityClassName": "gone"}, "no PriorityClass with name gone was found"),
        ({"priority": 5}, r"integer value of priority \(5\) must not be provided.*computed 0"),
        ({"preemptionPolicy": "Never"}, r"value of PreemptionPolicy \(Never\) must not be provided"),
        (
            {"serviceAccountName": "bot"},
            'error looking up service account default/bot: serviceaccount "bot" not found',
        ),
    ],
)
def test_what_does_not_exist_or_does_not_fit_is_refused(spec: dict[str, Any], problem: str) -> None:
    with pytest.raises(Forbidden, match=f'pods "web-0" is forbidden: .*{problem}'):
        admitted(a_pod(**spec))


def test_a_service_account_gives_the_names_of_its_pull_secrets() -> None:
    bot = an_object("ServiceAccount", "bot", "default", imagePullSecrets=[{"name": "mine"}])

    assert admitted(a_pod(serviceAccountName="bot"), bot)["imagePullSecrets"] == [{"name": "mine"}]
    own = a_pod(serviceAccountName="bot", imagePullSecrets=[{"name": "own"}])
    assert admitted(own, bot)["imagePullSecrets"] == [{"name": "own"}]


def test_a_pod_that_was_admitted_is_admitted_as_it_is() -> None:
    once = admitted(a_pod())

    assert admitted({**a_pod(), "spec": once}) == once


def test_every_pod_passes_by_whoever_makes_it() -> None:
    log = MemoryLog()
    log.create()
    committer = Committer(log, State(), lambda _: None)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    pod = a_pod()
    intent = Intent(Actor("controller:statefulset"), "c1")
    committer.commit(lambda: Proposal([Create(namespace)]), Intent(Actor("user:alice"), "c0"))
    committer = Committer(log, replay(log, log.last()), lambda _: None)

    committer.commit(lambda: Proposal([Create(pod)]), intent)

    stored = replay(log, log.last()).get(key_of_object(pod))
    assert stored is not None and stored["spec"]["priority"] == 0
