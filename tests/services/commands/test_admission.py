"""What a write is asked that looks at other objects: the class of a new claim, and whether one may grow."""

from __future__ import annotations

import pytest

from schemas.errors import Forbidden
from schemas.objects import Object
from services.commands.admission import admitted, check_deletion
from tests.builders import a_claim, a_class, a_node, a_pod, a_state, an_object

LARGER = {"resources": {"requests": {"storage": "2Gi"}}}
NOT_RESIZABLE = (
    'persistentvolumeclaims "data" is forbidden: only dynamically provisioned pvc can be resized and the storageclass '
    "that provisions the pvc must support resize"
)


def grown(claim: Object) -> Object:
    return {**claim, "spec": {**claim["spec"], **LARGER}}


def test_a_new_claim_gets_the_default_class() -> None:
    state = a_state(a_class(), a_class("other", default=False))

    assert admitted(None, a_claim(), state)["spec"]["storageClassName"] == "local"


@pytest.mark.parametrize("name", ["", "other"])
def test_a_claim_that_says_which_class_it_wants_keeps_it(name: str) -> None:
    claim = a_claim(spec={"storageClassName": name})

    assert admitted(None, claim, a_state(a_class())) is claim


def test_without_a_default_class_a_claim_stays_as_it_is() -> None:
    claim = a_claim()

    assert admitted(None, claim, a_state(a_class(default=False))) is claim


def test_other_kinds_are_none_of_its_business() -> None:
    pod = a_pod()

    assert admitted(None, pod, a_state()) is pod


def test_a_new_node_takes_no_pods_until_it_is_known_to_be_ready() -> None:
    node, taint = a_node(), {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}

    tainted = admitted(None, node, a_state())

    assert tainted["spec"]["taints"] == [taint]
    assert admitted(None, tainted, a_state()) is tainted
    assert admitted(tainted, node, a_state()) is node


def a_priority(name: str, value: int = 1, default: bool = False) -> Object:
    return an_object(
        "PriorityClass", name, api_version="scheduling.k8s.io/v1", value=value, globalDefault=default
    )


@pytest.mark.parametrize(
    ("priority", "problem"),
    [
        (a_priority("mine", 1_000_000_001), "maximum allowed value"),
        (a_priority("system-mine", 1), "names that begin with system- are reserved"),
        (a_priority("second", default=True), "PriorityClass first is already marked as default"),
    ],
)
def test_a_priority_class_leaves_the_systems_and_the_default_alone(priority: Object, problem: str) -> None:
    with pytest.raises(Forbidden, match=problem):
        admitted(None, priority, a_state(a_priority("first", default=True)))


def test_a_priority_class_of_people_and_those_of_the_system_are_taken() -> None:
    for each in (a_priority("mine", 1_000_000_000), a_priority("system-node-critical", 2_000_001_000)):
        assert admitted(None, each, a_state(a_priority("first"))) is each
    first = a_priority("first", default=True)
    assert admitted(first, first, a_state(first, a_priority("second"))) is first


@pytest.mark.parametrize(
    ("obj", "sentence"),
    [
        (
            an_object("Namespace", "default"),
            'namespaces "default" is forbidden: this namespace may not be deleted',
        ),
        (a_priority("system-node-critical"), "this is a system priority class and cannot be deleted"),
    ],
)
def test_what_every_cluster_needs_is_not_deleted(obj: Object, sentence: str) -> None:
    with pytest.raises(Forbidden, match=sentence):
        check_deletion(obj)


def test_anything_else_may_be_deleted() -> None:
    for each in (an_object("Namespace", "kube-node-lease"), a_priority("mine"), a_pod("default")):
        check_deletion(each)


def test_a_bound_claim_grows_where_its_class_allows_it() -> None:
    claim = a_claim(volume="pv1", spec={"storageClassName": "local"})

    assert admitted(claim, grown(claim), a_state(a_class(allowVolumeExpansion=True))) == grown(claim)


@pytest.mark.parametrize(
    ("claim", "classes", "problem"),
    [
        (
            a_claim(),
            [a_class(allowVolumeExpansion=True)],
            'persistentvolumeclaims "data" is forbidden: Only bound persistent volume claims can be expanded',
        ),
        (a_claim(volume="pv1", spec={"storageClassName": "local"}), [a_class()], NOT_RESIZABLE),
        (a_claim(volume="pv1", spec={"storageClassName": "gone"}), [a_class()], NOT_RESIZABLE),
        (a_claim(volume="pv1", spec={"storageClassName": ""}), [a_class()], NOT_RESIZABLE),
    ],
)
def test_other_claims_do_not_grow(claim: Object, classes: list[Object], problem: str) -> None:
    with pytest.raises(Forbidden) as refused:
        admitted(claim, grown(claim), a_state(*classes))

    assert str(refused.value) == problem
