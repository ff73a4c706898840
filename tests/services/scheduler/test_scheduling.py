"""Where pods go, and what is said of those that go nowhere."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from events.state import State
from schemas.changes import Create, Decision, Replace
from schemas.demands import SHARED_ADDRESS
from schemas.kinds import CLAIM, POD, VOLUME
from schemas.objects import Object, key_of_object, with_metadata
from schemas.selectors import matches_node
from services.scheduler.census import Census, controller_uid_of
from services.scheduler.filters import NO_PORTS, lasting_refusal, passing_refusals
from services.scheduler.placement import Placement
from services.scheduler.requirements import requests_of, requirements_of
from services.scheduler.scheduling import MOST_CHANGES, MOST_PODS, schedule
from tests.builders import a_claim, a_class, a_controller, a_node, a_pod, a_state, a_volume

NOW = 1_767_225_600_000


def decide(*objects: Object, census: Census | None = None) -> Decision:
    return decide_on(a_state(*objects), census)


def decide_on(state: State, census: Census | None = None) -> Decision:
    view = (census or Census()).view_of(state, "all")
    return schedule(view, NOW) if view else Decision()


def commit(state: State, decision: Decision) -> None:
    """What the commit and the fold would do, as far as the scheduler can see."""
    for change in decision.changes:
        match change:
            case Create(obj):
                state.put(change.key, None, {**obj, "metadata": {**obj["metadata"], "uid": "new"}})
            case Replace(old, new):
                assert state.get(change.key) is old
                state.put(change.key, old, new)


def bound(decision: Decision) -> dict[str, str]:
    """Pod -> node, of the pods that a decision binds."""
    return {
        change.new["metadata"]["name"]: change.new["spec"]["nodeName"]
        for change in decision.changes
        if isinstance(change, Replace) and change.new["kind"] == "Pod" and change.new["spec"].get("nodeName")
    }


def said(decision: Decision) -> dict[str, str]:
    """Pod -> message, of the pods that a decision calls unschedulable."""
    return {
        change.new["metadata"]["name"]: condition["message"]
        for change in decision.changes
        if isinstance(change, Replace) and change.new["kind"] == "Pod"
        for condition in change.new["status"]["conditions"]
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable"
    }


def required(*terms: Object) -> dict[str, Any]:
    return {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}
            }
        }
    }


def where(key: str, operator: str, *values: str) -> Object:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def named(operator: str, *values: str) -> Object:
    return {"matchFields": [{"key": "metadata.name", "operator": operator, "values": list(values)}]}


TAINT = {"key": "team", "value": "db", "effect": "NoSchedule"}
NOT_READY = "node(s) had untolerated taint {node.kubernetes.io/not-ready: }"
NO_MATCH = "node(s) didn't match Pod's node affinity/selector"

PLACES: list[tuple[str, Object, Object, str]] = [
    ("a plain pod", a_node(), a_pod(), ""),
    ("a selector that matches", a_node(labels={"disk": "ssd"}), a_pod(nodeSelector={"disk": "ssd"}), ""),
    (
        "a selector that does not",
        a_node(labels={"disk": "hdd"}),
        a_pod(nodeSelector={"disk": "ssd"}),
        NO_MATCH,
    ),
    ("In", a_node(labels={"zone": "b"}), a_pod(**required(where("zone", "In", "a", "b"))), ""),
    ("In, other value", a_node(labels={"zone": "c"}), a_pod(**required(where("zone", "In", "a"))), NO_MATCH),
    ("NotIn", a_node(labels={"zone": "b"}), a_pod(**required(where("zone", "NotIn", "b"))), NO_MATCH),
    ("NotIn, absent", a_node(), a_pod(**required(where("zone", "NotIn", "b"))), ""),
    ("Exists", a_node(labels={"zone": ""}), a_pod(**required(where("zone", "Exists"))), ""),
    ("Exists, absent", a_node(), a_pod(**required(where("zone", "Exists"))), NO_MATCH),
    ("DoesNotExist", a_node(), a_pod(**required(where("zone", "DoesNotExist"))), ""),
    ("Gt", a_node(labels={"gen": "7"}), a_pod(**required(where("gen", "Gt", "6"))), ""),
    ("Gt, equal", a_node(labels={"gen": "6"}), a_pod(**required(where("gen", "Gt", "6"))), NO_MATCH),
    ("Lt", a_node(labels={"gen": "5"}), a_pod(**required(where("gen", "Lt", "6"))), ""),
    ("Lt, no number", a_node(labels={"gen": "x"}), a_pod(**required(where("gen", "Lt", "6"))), NO_MATCH),
    ("terms are ORed", a_node(), a_pod(**required(where("a", "Exists"), named("In", "n1"))), ""),
    ("an empty term matches nothing", a_node(), a_pod(**required({})), NO_MATCH),
    ("its name", a_node(), a_pod(**required(named("In", "n1"))), ""),
    (
        "another's name",
        a_node(),
        a_pod(**required(named("In", "n2"))),
        "node(s) didn't satisfy plugin(s) [NodeAffinity]",
    ),
    ("not its name", a_node(), a_pod(**required(named("NotIn", "n1"))), NO_MATCH),
    (
        "selector and affinity",
        a_node(labels={"a": "1"}),
        a_pod(nodeSelector={"a": "2"}, **required(where("a", "Exists"))),
        NO_MATCH,
    ),
    ("a taint", a_node(taints=[TAINT]), a_pod(), "node(s) had untolerated taint {team: db}"),
    ("tolerated by value", a_node(taints=[TAINT]), a_pod(tolerations=[{"key": "team", "value": "db"}]), ""),
    (
        "another value tolerated",
        a_node(taints=[TAINT]),
        a_pod(tolerations=[{"key": "team", "operator": "Equal", "value": "web"}]),
        "node(s) had untolerated taint {team: db}",
    ),
    (
        "tolerated by key",
        a_node(taints=[TAINT]),
        a_pod(tolerations=[{"key": "team", "operator": "Exists"}]),
        "",
    ),
    ("all tolerated", a_node(taints=[TAINT]), a_pod(tolerations=[{"operator": "Exists"}]), ""),
    (
        "another effect tolerated",
        a_node(taints=[TAINT]),
        a_pod(tolerations=[{"key": "team", "operator": "Exists", "effect": "NoExecute"}]),
        "node(s) had untolerated taint {team: db}",
    ),
    (
        "NoExecute",
        a_node(taints=[{"key": "gone", "effect": "NoExecute"}]),
        a_pod(),
        "node(s) had untolerated taint {gone: }",
    ),
    (
        "PreferNoSchedule forbids nothing",
        a_node(taints=[{**TAINT, "effect": "PreferNoSchedule"}]),
        a_pod(),
        "",
    ),
    ("not ready", a_node(ready="False"), a_pod(), NOT_READY),
    ("new, without a Ready condition", a_node(ready=""), a_pod(), NOT_READY),
    (
        "unreachable",
        a_node(ready="Unknown"),
        a_pod(),
        "node(s) had untolerated taint {node.kubernetes.io/unreachable: }",
    ),
    (
        "not ready, tolerated as a network agent does",
        a_node(ready="False"),
        a_pod(tolerations=[{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]),
        "",
    ),
    ("cordoned", a_node(unschedulable=True), a_pod(), "node(s) were unschedulable"),
    (
        "cordoned, tolerated",
        a_node(unschedulable=True),
        a_pod(
            tolerations=[
                {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}
            ]
        ),
        "",
    ),
    ("enough cpu, exactly", a_node(cpu="1"), a_pod(requests={"cpu": "1000m"}), ""),
    ("too little cpu", a_node(cpu="1"), a_pod(requests={"cpu": "1001m"}), "Insufficient cpu"),
    ("too little memory", a_node(memory="1Gi"), a_pod(requests={"memory": "1025Mi"}), "Insufficient memory"),
    ("no room for pods", a_node(pods="0"), a_pod(), "Too many pods"),
    (
        "a resource it does not have",
        a_node(),
        a_pod(requests={"example.com/gpu": "1"}),
        "Insufficient example.com/gpu",
    ),
]


@pytest.mark.parametrize(
    ("node", "pod", "refusal"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES]
)
def test_a_pod_goes_to_a_node_that_meets_its_spec_and_else_says_why_not(
    node: Object, pod: Object, refusal: str
) -> None:
    decision = decide(node, pod)

    if refusal:
        assert bound(decision) == {}
        assert said(decision) == {"web-0": f"0/1 nodes are available: 1 {refusal}."}
        assert decision.waiting_for == f"room for default/web-0: 0/1 nodes are available: 1 {refusal}."
    else:
        assert bound(decision) == {"web-0": "n1"}
        assert decision.waiting_for == ""


def test_the_sentence_counts_nodes_by_reason_and_sorts_them() -> None:
    nodes = [a_node("n1", taints=[TAINT]), a_node("n2", cpu="1"), a_node("n3", cpu="1", memory="1Mi")]

    decision = decide(*nodes, a_pod(requests={"cpu": "2", "memory": "2Mi"}))

    assert said(decision)["web-0"] == (
        "0/3 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {team: db}, "
        "2 Insufficient cpu."
    )


def test_without_nodes_the_pod_says_so() -> None:
    assert said(decide(a_pod())) == {"web-0": "no nodes available to schedule pods"}


def test_a_bind_sets_the_node_and_the_condition_and_rests_on_the_node() -> None:
    node, pod = a_node(), a_pod()

    decision = decide(node, pod)

    [change] = decision.changes
    assert isinstance(change, Replace)
    assert change.old is pod
    assert change.new["status"]["conditions"] == [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]
    assert decision.rests_on == (node,)


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(node="n9"),
        a_pod(schedulingGates=[{"name": "hold"}]),
        a_pod(schedulerName="mine"),
        a_pod(phase="Failed"),
        a_pod(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    ],
    ids=["node preset", "gated", "another scheduler's", "finished", "terminating"],
)
def test_pods_that_are_not_the_schedulers_are_left_alone(pod: Object) -> None:
    assert decide(a_node(), pod) == Decision()


def test_the_pods_of_a_controller_spread_over_the_nodes() -> None:
    web = a_controller()
    pods = [a_pod(f"web-{n}", owner=web) for n in range(7)]

    placed = bound(decide(*(a_node(f"n{n}") for n in range(3)), *pods))

    assert placed == {f"web-{n}": f"n{n % 3}" for n in range(7)}


def test_spread_counts_pods_bound_before_but_not_ended_or_terminating_ones() -> None:
    web = a_controller()
    there = [
        a_pod("web-0", "n1", owner=web),
        a_pod("web-1", "n2", owner=web, phase="Failed"),
        a_pod("web-2", "n3", owner=web, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    ]

    placed = bound(decide(*(a_node(f"n{n}") for n in (1, 2, 3)), *there, a_pod("web-3", owner=web)))

    assert placed == {"web-3": "n2"}


def test_among_equals_the_least_loaded_node_is_taken_then_the_first_by_name() -> None:
    nodes = [a_node("n1"), a_node("n2"), a_node("n3")]

    placed = bound(
        decide(*nodes, a_pod("old", "n1", requests={"cpu": "1"}), a_pod("a"), a_pod("b"), a_pod("c"))
    )

    assert placed == {"a": "n2", "b": "n3", "c": "n2"}


def test_a_written_preference_comes_before_spread() -> None:
    web = a_controller()
    ssd = {"weight": 10, "preference": where("disk", "In", "ssd")}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [ssd]}}
    pods = [a_pod(f"web-{n}", owner=web, affinity=affinity) for n in range(3)]

    placed = bound(decide(a_node("n1"), a_node("n2", labels={"disk": "ssd"}), *pods))

    assert set(placed.values()) == {"n2"}


def test_prefer_no_schedule_is_avoided_while_another_node_has_room() -> None:
    shunned = a_node("n1", taints=[{**TAINT, "effect": "PreferNoSchedule"}])

    placed = bound(decide(shunned, a_node("n2", pods="1"), a_pod("a"), a_pod("b")))

    assert placed == {"a": "n2", "b": "n1"}


def test_host_ports_are_had_once_a_node_and_protocol() -> None:
    taken = a_pod("old", "n1", host_ports=(80,))

    decision = decide(
        a_node("n1"), a_node("n2"), taken, a_pod("a", host_ports=(80,)), a_pod("b", host_ports=(80,))
    )

    assert bound(decision) == {"a": "n2"}
    assert said(decision) == {
        "b": "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports."
    }


def test_pods_that_have_their_nodes_address_take_its_ports_though_they_ask_for_no_host_port() -> None:
    def serving(name: str, port: int = 8080) -> Object:
        return a_pod(name, containers=[_c("c", "1m", ports=[{"containerPort": port}])])

    def joined(name: str) -> Object:
        node = a_node(name)
        return with_metadata(node, annotations={SHARED_ADDRESS: "true"})

    state = a_state(joined("n1"), joined("n2"), *(serving(f"a-{n}") for n in range(3)), serving("b-0", 80))
    decision = decide_on(state)
    assert sorted(bound(decision)[f"a-{n}"] for n in range(2)) == ["n1", "n2"]
    assert said(decision) == {"a-2": "0/2 nodes are available: 2 " + NO_PORTS + "."}
    assert "b-0" in bound(decision)
    commit(state, decision)
    assert bound(decide_on(state)) == {}
    assert len(bound(decide(a_node("n1"), *(serving(f"a-{n}") for n in range(3))))) == 3


def test_pods_that_ended_free_their_room() -> None:
    ended = a_pod("old", "n1", requests={"cpu": "1"}, phase="Succeeded")

    assert bound(decide(a_node(cpu="1"), ended, a_pod(requests={"cpu": "1"}))) == {"web-0": "n1"}


def test_higher_priority_first_then_the_older_then_by_ordinal() -> None:
    one = {"requests": {"cpu": "1"}}
    late = {"creationTimestamp": "2026-01-02T00:00:00Z"}
    pods = [
        a_pod("w-10", **one),
        a_pod("w-9", **one),
        a_pod("late", metadata=late, **one),
        a_pod("vip", priority=5, metadata=late, **one),
    ]

    assert list(bound(decide(a_node(cpu="2"), *pods))) == ["vip", "w-9"]
    assert list(bound(decide(a_node(cpu="4"), *pods))) == ["vip", "w-9", "w-10", "late"]


def _c(name: str, cpu: str, **fields: Any) -> Object:
    return {"name": name, "resources": {"requests": {"cpu": cpu}}, **fields}


SIDECAR = _c("s", "1", restartPolicy="Always")


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [{"name": "a"}]}, 0),
        ({"containers": [_c("a", "1"), _c("b", "500m")]}, 1500),
        ({"containers": [_c("a", "1")], "initContainers": [_c("i", "3")]}, 3000),
        ({"containers": [_c("a", "1")], "initContainers": [SIDECAR, _c("i", "3")]}, 4000),
        ({"containers": [_c("a", "1")], "initContainers": [SIDECAR]}, 2000),
        ({"containers": [_c("a", "1")], "overhead": {"cpu": "250m"}}, 1250),
        ({"containers": [_c("a", "1")], "resources": {"requests": {"cpu": "2"}}}, 2000),
    ],
    ids=["none", "sum", "init", "sidecar then init", "sidecar", "overhead", "pod level"],
)
def test_requests_of_a_pod_are_counted_as_kubernetes_counts_them(spec: Object, cpu: int) -> None:
    assert requests_of({"spec": spec}).get("cpu", 0) == cpu
    assert requests_of({"spec": spec})["pods"] == 1


class TestVolumes:
    def test_an_unbound_claim_gets_a_volume_on_the_pods_node_in_the_same_batch(self) -> None:
        claim = a_claim("data-web-0")
        uid = claim["metadata"]["uid"]

        decision = decide(a_node(), a_class(), claim, a_pod(claims=("data-web-0",)))

        create, bind, pod = decision.changes
        assert isinstance(create, Create) and isinstance(bind, Replace) and isinstance(pod, Replace)
        assert create.object["metadata"]["name"] == f"pvc-{uid}"
        assert create.object["spec"]["local"]["path"] == f"volumes/default-data-web-0-{uid}"
        assert create.object["spec"]["claimRef"]["uid"] == uid
        assert create.object["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        assert matches_node(create.object["spec"]["nodeAffinity"]["required"], a_node("n1"))
        assert not matches_node(create.object["spec"]["nodeAffinity"]["required"], a_node("n2"))
        assert bind.new["spec"]["volumeName"] == f"pvc-{uid}"
        assert bind.new["status"]["phase"] == "Bound"
        assert bind.new["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == "n1"
        assert pod.new["spec"]["nodeName"] == "n1"

    def test_a_bound_claim_takes_the_pod_to_its_volume(self) -> None:
        claim = a_claim(volume="pv1")
        nodes = [a_node(f"n{n}") for n in (1, 2, 3)]

        decision = decide(*nodes, claim, a_volume(claim=claim, node="n3"), a_pod(claims=("data",)))

        assert bound(decision) == {"web-0": "n3"}
        assert claim in decision.rests_on

    def test_a_pod_waits_rather_than_leave_its_volume(self) -> None:
        claim = a_claim(volume="pv1")
        nodes = [a_node("n1", cpu="1"), a_node("n2")]

        decision = decide(
            *nodes, claim, a_volume(claim=claim), a_pod(claims=("data",), requests={"cpu": "2"})
        )

        assert said(decision) == {
            "web-0": "0/2 nodes are available: 1 Insufficient cpu, "
            "1 node(s) didn't match PersistentVolume's node affinity."
        }

    def test_two_pods_of_one_new_claim_go_to_one_node(self) -> None:
        decision = decide(
            *(a_node("n1"), a_node("n2"), a_class(), a_claim()),
            *(a_pod("a", claims=("data",)), a_pod("b", claims=("data",))),
        )

        assert bound(decision) == {"a": "n1", "b": "n1"}
        assert sum(isinstance(change, Create) for change in decision.changes) == 1

    def test_a_node_without_a_hostname_label_is_named_by_the_volume(self) -> None:
        node = a_node()
        node["metadata"]["labels"] = {}

        create = decide(node, a_class(), a_claim(), a_pod(claims=("data",))).changes[0]

        assert isinstance(create, Create)
        assert matches_node(create.object["spec"]["nodeAffinity"]["required"], node)

    @pytest.mark.parametrize(
        ("objects", "problem"),
        [
            ([], 'persistentvolumeclaim "data" not found'),
            (
                [a_claim(deletionTimestamp="2026-01-01T00:00:00Z")],
                'persistentvolumeclaim "data" is being deleted',
            ),
            (
                [a_claim(volume="pv1")],
                "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
            ),
            (
                [a_claim(volume="pv1", phase="Pending"), a_volume()],
                "pod has unbound immediate PersistentVolumeClaims",
            ),
            ([a_claim(uid="u"), a_volume("pvc-u")], 'persistentvolume "pvc-u" already exists'),
        ],
    )
    def test_a_claim_that_cannot_be_had_is_named(self, objects: list[Object], problem: str) -> None:
        decision = decide(a_node(), *objects, a_pod(claims=("data",)))

        assert said(decision) == {"web-0": f"0/1 nodes are available: {problem}."}


def test_a_reason_is_written_once_and_again_only_when_the_reasons_change() -> None:
    state = a_state(a_node("n1", cpu="1"), a_pod(requests={"cpu": "2"}))
    commit(state, decide_on(state))

    state.put("core/nodes/n2", None, a_node("n2", cpu="1"))
    same = decide_on(state)
    state.put("core/nodes/n3", None, a_node("n3", taints=[TAINT]))
    other = decide_on(state)

    assert same.changes == ()
    assert same.waiting_for.endswith("0/2 nodes are available: 2 Insufficient cpu.")
    assert list(said(other)) == ["web-0"]


def test_a_pod_that_found_a_node_loses_its_reason() -> None:
    state = a_state(a_node("n1", cpu="1"), a_pod(requests={"cpu": "2"}))
    commit(state, decide_on(state))
    state.put("core/nodes/n2", None, a_node("n2"))

    [change] = decide_on(state).changes

    assert isinstance(change, Replace)
    assert change.new["status"]["conditions"] == [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]


def test_a_batch_is_bounded_and_the_rest_follows_at_once() -> None:
    state = a_state(a_node(pods="1000", cpu="100"), *(a_pod(f"p-{n}") for n in range(MOST_PODS + 5)))

    first = decide_on(state)
    commit(state, first)
    second = decide_on(state)

    assert len(bound(first)) == MOST_PODS and first.requeue_at == NOW
    assert len(bound(second)) == 5 and second.requeue_at is None


def test_pods_that_fit_nowhere_do_not_hold_up_the_others_and_all_get_their_reason() -> None:
    misfits = [a_pod(f"big-{n}", requests={"cpu": "100"}) for n in range(MOST_CHANGES + 50)]
    state = a_state(
        a_node(), *misfits, a_pod("small", metadata={"creationTimestamp": "2026-01-02T00:00:00Z"})
    )

    first = decide_on(state)
    commit(state, first)
    second = decide_on(state)

    assert bound(first) == {"small": "n1"}
    assert len(first.changes) <= 1000 and first.requeue_at == NOW
    assert len(said(first)) + len(said(second)) == len(misfits) and second.requeue_at is None


def a_random_cluster(seed: int) -> State:
    pick = random.Random(seed)
    nodes = [
        a_node(
            f"n{n}",
            cpu=str(pick.randint(1, 4)),
            memory=f"{pick.randint(1, 4)}Gi",
            pods=str(pick.randint(1, 8)),
            ready=pick.choice(["True", "True", "True", "False"]),
            labels={"zone": pick.choice("abc")},
            taints=[TAINT] if pick.random() < 0.2 else [],
            unschedulable=pick.random() < 0.1,
        )
        for n in range(pick.randint(1, 8))
    ]
    owners = [a_controller(f"set-{n}") for n in range(3)]
    bound_claims = [
        (claim := a_claim(f"old-{n}", f"pv-{n}"), a_volume(f"pv-{n}", claim, f"n{n}")) for n in range(3)
    ]
    pods = [
        a_pod(
            f"p-{n}",
            owner=pick.choice([None, *owners]),
            requests={"cpu": f"{pick.choice([0, 300, 700, 1500])}m", "memory": f"{pick.choice([0, 512])}Mi"},
            claims=pick.choice([(), (), (f"new-{n % 5}",), (f"old-{n % 3}",)]),
            host_ports=pick.choice([(), (), (80,)]),
            **pick.choice(
                [
                    {},
                    {"nodeSelector": {"zone": "a"}},
                    required(where("zone", "NotIn", "b")),
                    required(named("In", "n0", "n1")),
                ]
            ),
            **pick.choice([{}, {"tolerations": [{"operator": "Exists"}]}]),
        )
        for n in range(pick.randint(1, 30))
    ]
    return a_state(
        *nodes,
        a_class(),
        *(a_claim(f"new-{n}") for n in range(5)),
        *(each for pair in bound_claims for each in pair),
        *pods,
    )


def why_wrong(state: State, pod: Object) -> str:
    """The rules once more, written the long way: why a bound pod should not be where it is."""
    node = state.get(f"core/nodes/{pod['spec']['nodeName']}")
    assert node is not None
    spec = pod["spec"]
    if any(
        node["metadata"]["labels"].get(key) != value for key, value in spec.get("nodeSelector", {}).items()
    ):
        return "selector"
    terms = (
        spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    )
    if not matches_node(terms, node):
        return "affinity"
    kept_away = (
        node["spec"]["taints"]
        or node["spec"]["unschedulable"]
        or node["status"]["conditions"][0]["status"] != "True"
    )
    if kept_away and not spec.get("tolerations"):
        return "taint"
    for volume in spec.get("volumes", ()):
        claim = state.get(f"{CLAIM.resource}/default/{volume['persistentVolumeClaim']['claimName']}")
        bound_to = state.get(f"{VOLUME.resource}/{claim['spec'].get('volumeName')}") if claim else None
        if bound_to is None or not matches_node(bound_to["spec"]["nodeAffinity"]["required"], node):
            return "volume"
    return ""


@pytest.mark.parametrize("seed", range(200))
def test_no_decision_breaks_a_rule(seed: int) -> None:
    """Pods match their nodes, no node is overfull, one view decides one thing, and a second look is a no-op."""
    state, census = a_random_cluster(seed), Census()
    decision = decide_on(state, census)
    assert decide_on(state, census) == decision == decide_on(state)

    commit(state, decision)

    placed = [pod for pod in state.list(POD.resource) if pod["spec"].get("nodeName")]
    assert [why_wrong(state, pod) for pod in placed] == [""] * len(placed)
    for node in state.list("core/nodes"):
        pods, offer = state.pods_on(node["metadata"]["name"]), node["status"]["allocatable"]
        assert sum(requests_of(pod).get("cpu", 0) for pod in pods) <= int(offer["cpu"]) * 1000
        assert sum(requests_of(pod).get("memory", 0) for pod in pods) <= int(offer["memory"][:-2]) << 30
        assert len(pods) <= int(offer["pods"])
        assert sum(bool(pod["spec"]["containers"][0]["ports"]) for pod in pods) <= 1
    assert decide_on(state, census).changes == ()


@pytest.mark.parametrize("seed", range(50))
def test_a_pod_that_stays_pending_fits_on_no_node_that_is_left(seed: int) -> None:
    """Scheduling the rest alone, one at a time and by another path, finds nothing either."""
    state = a_random_cluster(seed)
    commit(state, decide_on(state))
    waiting = state.pods_on("")

    for pod in waiting:
        alone = a_state(*(obj for obj in state.objects.values() if obj not in waiting), pod)
        assert bound(decide_on(alone)) == {}


@pytest.mark.parametrize("seed", range(100))
def test_each_pod_gets_the_node_that_looking_at_all_of_them_would_give(seed: int) -> None:
    """The heaps are only a faster way to the same choice: the least of (rank, pods of the controller, load, name)."""
    pick = random.Random(seed)
    nodes = [
        a_node(f"n{n}", cpu=str(pick.randint(2, 9)), labels={"zone": pick.choice("ab")}) for n in range(12)
    ]
    owners = [None, *(a_controller(f"set-{n}") for n in range(4))]
    pods = [
        a_pod(
            f"p-{n:03}",
            owner=pick.choice(owners),
            requests={"cpu": f"{pick.choice([100, 300, 900, 2500])}m"},
            **pick.choice([{}, {"nodeSelector": {"zone": "a"}}]),
        )
        for n in range(60)
    ]
    view = Census().view_of(a_state(*nodes, *pods), "all")
    assert view is not None

    rooms = Placement(view).rooms
    spread: dict[tuple[str, str], int] = Counter()
    expected = {}
    for pod in view.pending:
        wanted, uid = requirements_of(pod), controller_uid_of(pod)
        fits = [
            room
            for room in rooms.values()
            if not lasting_refusal(wanted, room.view) and not passing_refusals(wanted, room)
        ]
        if fits:
            best = min(fits, key=lambda room: (spread[uid, room.name], room.load, room.name))
            best.take(wanted)
            spread[uid, best.name] += bool(uid)
            expected[pod["metadata"]["name"]] = best.name

    assert bound(schedule(view, NOW)) == expected


def test_the_census_notices_every_change_of_a_node_and_its_pods() -> None:
    state, census = (
        a_state(a_node(cpu="1"), a_pod("old", "n1", requests={"cpu": "1"}), a_pod(requests={"cpu": "1"})),
        Census(),
    )
    assert bound(decide_on(state, census)) == {}

    old = state.get("core/pods/default/old")
    assert old is not None
    state.put(key_of_object(old), old, {**old, "status": {"phase": "Succeeded"}})
    assert bound(decide_on(state, census)) == {"web-0": "n1"}

    node = state.get("core/nodes/n1")
    assert node is not None
    state.put("core/nodes/n1", node, {**node, "spec": {"taints": [TAINT]}})
    assert bound(decide_on(state, census)) == {}
