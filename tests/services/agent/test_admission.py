"""What a node takes."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.demands import SHARED_ADDRESS
from schemas.objects import Object
from services.agent.admission import rejection_of
from tests.services.agent.builders import a_container, a_pod

NODE: Object = {
    "metadata": {"name": "n1", "labels": {"disk": "hdd"}},
    "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "2"}},
}


def wanting(**amounts: str) -> Object:
    return a_container(resources={"requests": amounts})


def taking(port: int, **more: str) -> Object:
    return a_container(ports=[{"containerPort": 1, "hostPort": port, **more}])


def affine(key: str, value: str) -> dict[str, Any]:
    terms = [{"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}}


@pytest.mark.parametrize(
    ("pod", "others", "reason"),
    [
        (a_pod(), [], None),
        (a_pod(nodeSelector={"disk": "hdd"}), [], None),
        (a_pod(nodeSelector={"disk": "ssd"}), [], "NodeAffinity"),
        (a_pod(**affine("disk", "hdd")), [], None),
        (a_pod(**affine("disk", "ssd")), [], "NodeAffinity"),
        (a_pod("a", wanting(cpu="1500m")), [], None),
        (a_pod("a", wanting(cpu="1500m")), [a_pod("b", wanting(cpu="501m"))], "OutOfcpu"),
        (a_pod("a", wanting(cpu="1"), wanting(cpu="1100m")), [], "OutOfcpu"),
        (a_pod("a", wanting(memory="2Gi")), [], "OutOfmemory"),
        (a_pod("a", wanting(gpu="1")), [], "OutOfgpu"),
        (a_pod("a", wanting(**{"example.com/gpu": "1"})), [], None),
        (a_pod("a", wanting(cpu="3"), nodeSelector={"disk": "ssd"}), [], "OutOfcpu"),
        (a_pod("a", wanting(cpu="3")), [a_pod("b"), a_pod("c")], "OutOfpods"),
        (a_pod(), [a_pod("b"), a_pod("c")], "OutOfpods"),
        (a_pod(resources={"requests": {"cpu": "3"}}), [], "OutOfcpu"),
        (a_pod(overhead={"memory": "2Gi"}), [], "OutOfmemory"),
        (a_pod("a", taking(80)), [a_pod("b", taking(80))], "NodePorts"),
        (a_pod("a", taking(80)), [a_pod("b", taking(81))], None),
        (a_pod("a", taking(80, hostIP="10.0.0.1")), [a_pod("b", taking(80, hostIP="10.0.0.2"))], None),
        (a_pod("a", taking(80, hostIP="10.0.0.1")), [a_pod("b", taking(80))], "NodePorts"),
    ],
)
def test_a_pod_is_taken_or_rejected_with_kubernetes_reason(
    pod: Object, others: list[Object], reason: str | None
) -> None:
    rejection = rejection_of(pod, NODE, others)
    assert (rejection.reason if rejection else None) == reason


MAINTAINED = {"key": "maintenance", "value": "yes", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("tolerations", "effect", "reason"),
    [
        ([], "NoExecute", "TaintToleration"),
        ([], "NoSchedule", None),
        ([{"key": "maintenance", "operator": "Exists"}], "NoExecute", None),
        (
            [{"key": "maintenance", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 5}],
            "NoExecute",
            None,
        ),
        ([{"key": "maintenance", "value": "no"}], "NoExecute", "TaintToleration"),
        (
            [{"key": "maintenance", "operator": "Exists", "effect": "NoSchedule"}],
            "NoExecute",
            "TaintToleration",
        ),
        ([{"operator": "Exists"}], "NoExecute", None),
    ],
)
def test_a_pod_with_a_node_of_its_own_choice_must_tolerate_what_would_end_it(
    tolerations: list[Object], effect: str, reason: str | None
) -> None:
    node = {**NODE, "spec": {"taints": [{**MAINTAINED, "effect": effect}]}}
    rejection = rejection_of(a_pod(tolerations=tolerations), node, [])
    assert (rejection.reason if rejection else None) == reason


def test_a_rejection_says_why_in_the_kubelets_words() -> None:
    def said(pod: Object, *others: Object, **spec: Any) -> str:
        rejection = rejection_of(pod, {**NODE, "spec": spec}, others)
        assert rejection is not None
        return rejection.message

    short = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
    assert said(a_pod("a", wanting(cpu="1500m")), a_pod("b", wanting(cpu="1"))) == short
    affinity = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    assert said(a_pod(nodeSelector={"disk": "ssd"})) == affinity
    taints = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
    assert said(a_pod(), taints=[MAINTAINED]) == taints


def test_pods_that_share_their_nodes_address_cannot_have_one_port() -> None:
    def serving(name: str) -> Object:
        pod = a_pod(name)
        container = {**pod["spec"]["containers"][0], "ports": [{"containerPort": 8080}]}
        return {**pod, "spec": {**pod["spec"], "containers": [container]}}

    first, second = serving("a-0"), serving("b-0")
    assert rejection_of(second, {"metadata": {"name": "n1"}}, [first]) is None
    shared = {"metadata": {"name": "n1", "annotations": {SHARED_ADDRESS: "true"}}}
    rejected = rejection_of(second, shared, [first])
    assert rejected is not None and rejected.reason == "NodePorts"
