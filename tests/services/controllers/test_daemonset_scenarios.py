"""The DaemonSet controller, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from events.state import daemon_place
from schemas.changes import Create, Replace
from schemas.errors import Conflict
from schemas.objects import Object, controller_of, name_of, uid_of, with_metadata
from services.controllers.daemonset import View
from services.controllers.daemonset.decide import COUNT_DOWN_NODES
from services.controllers.daemonset.placing import fit_of
from tests.builders import a_node
from tests.events.worlds import a_bare_pod, with_image
from tests.services.controllers.fleets import (
    KEY,
    LABELS,
    Fleet,
    a_daemonset,
    rolling,
    tolerates,
    uids,
)

NOT_READY = "node.kubernetes.io/not-ready"


# --- where pods belong


def required(*terms: Object) -> Object:
    return {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [*terms]}}
    }


def zone_in(*zones: str) -> Object:
    return {"matchExpressions": [{"key": "zone", "operator": "In", "values": [*zones]}]}


NAMED_N1 = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
NO_SCHEDULE = {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}
NO_EXECUTE = {"taints": [{"key": "gpu", "effect": "NoExecute"}]}
PREFER_NO = {"taints": [{"key": "gpu", "effect": "PreferNoSchedule"}]}
ANYTHING = {"tolerations": [{"operator": "Exists"}]}


@pytest.mark.parametrize(
    ("template", "node", "runs", "stays"),
    [
        pytest.param({}, {}, True, True, id="a plain node"),
        pytest.param({"nodeName": "n1"}, {}, True, True, id="named"),
        pytest.param({"nodeName": "n2"}, {}, False, False, id="another one is named"),
        pytest.param({"nodeSelector": {"zone": "a"}}, {"labels": {"zone": "a"}}, True, True, id="selected"),
        pytest.param({"nodeSelector": {"zone": "a"}}, {"labels": {"zone": "b"}}, False, False, id="not selected"),
        pytest.param({"affinity": required(zone_in("a", "b"))}, {"labels": {"zone": "b"}}, True, True, id="affine"),
        pytest.param({"affinity": required(zone_in("a"))}, {"labels": {"zone": "b"}}, False, False, id="not affine"),
        pytest.param({"affinity": required(zone_in("a"), NAMED_N1)}, {}, True, True, id="terms are ORed"),
        pytest.param(
            {"nodeSelector": {"zone": "a"}, "affinity": required(zone_in("b"))},
            {"labels": {"zone": "a"}}, False, False, id="selector and affinity are ANDed",
        ),
        pytest.param({}, NO_SCHEDULE, False, True, id="NoSchedule lets a pod stay"),
        pytest.param({}, NO_EXECUTE, False, False, id="NoExecute does not"),
        pytest.param({}, PREFER_NO, True, True, id="PreferNoSchedule is no matter"),
        pytest.param({"tolerations": [tolerates("gpu")]}, NO_EXECUTE, True, True, id="tolerated"),
        pytest.param({"tolerations": [tolerates("gpu", "NoSchedule")]}, NO_EXECUTE, False, False, id="another effect"),
        pytest.param({}, {"unschedulable": True}, True, True, id="cordoned"),
        pytest.param({}, {"ready": "False"}, False, True, id="not ready"),
        pytest.param({}, {"ready": "Unknown"}, False, True, id="unreachable"),
        pytest.param({}, {"ready": ""}, False, True, id="new, never ready"),
        pytest.param({"tolerations": [tolerates(NOT_READY)]}, {"ready": "False"}, True, True, id="network agent"),
        pytest.param(ANYTHING, {"ready": "Unknown", **NO_EXECUTE}, True, True, id="tolerates anything"),
        pytest.param({}, {"pods": "0", "cpu": "0"}, True, True, id="never by resources"),
    ],
)  # fmt: skip
def test_a_pod_belongs_on_a_node_by_name_labels_and_taints(
    template: Object, node: dict[str, Any], runs: bool, stays: bool
) -> None:
    fit = fit_of({"tolerations": [], **template}, a_node("n1", **node))
    assert (fit.runs, fit.stays) == (runs, stays)
    assert bool(fit.why) is not runs


@pytest.mark.parametrize(
    "taint",
    ["not-ready:NoExecute", "unreachable:NoExecute", "disk-pressure:NoSchedule", "memory-pressure:NoSchedule",
     "pid-pressure:NoSchedule", "unschedulable:NoSchedule"],
)  # fmt: skip
def test_daemons_tolerate_what_befalls_nodes(taint: str) -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    key, effect = taint.split(":")
    fleet.taint("n1", f"node.kubernetes.io/{key}", effect)
    assert fleet.run() == ["+n1"]
    assert {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect} in fleet.pod_on("n1")[
        "spec"
    ]["tolerations"]


@pytest.mark.parametrize(("host_network", "told"), [(True, ["+n1"]), (False, [])])
def test_only_with_the_hosts_network_a_daemon_does_without_the_clusters(
    host_network: bool, told: list[str]
) -> None:
    fleet = Fleet(a_daemonset(template={"hostNetwork": host_network}), nodes=1)
    fleet.taint("n1", "node.kubernetes.io/network-unavailable", "NoSchedule")
    assert fleet.run() == told


# --- one pod on every node


def test_every_node_gets_one_pod_in_one_batch_with_the_status_that_counts_it() -> None:
    fleet = Fleet(a_daemonset(), nodes=3)
    fleet.step()
    assert fleet.shown() == ["n1 fluentd:1 Pending", "n2 fluentd:1 Pending", "n3 fluentd:1 Pending"]
    assert fleet.status == {
        "observedGeneration": 1, "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0,
        "updatedNumberScheduled": 3, "numberReady": 0, "numberUnavailable": 3,
    }  # fmt: skip
    assert fleet.waiting_for == "3 pods to be available: just created"
    assert fleet.run() == []
    assert fleet.status == {
        "observedGeneration": 1, "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0,
        "updatedNumberScheduled": 3, "numberReady": 3, "numberAvailable": 3,
    }  # fmt: skip
    assert fleet.waiting_for == ""


def test_the_scheduler_is_told_the_node_and_the_controller_binds_nothing() -> None:
    """The template's own terms are replaced, for terms are ORed; preferences stay."""
    preferred = [{"weight": 1, "preference": zone_in("a")}]
    affinity = required(zone_in("a"), zone_in("b"))
    affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    affinity["podAffinity"] = {}
    fleet = Fleet(a_daemonset(template={"affinity": affinity}), nodes=0)
    fleet.join("n1", labels={"zone": "b"})
    fleet.step()
    (pod,) = fleet.pods
    assert "nodeName" not in pod["spec"]
    assert pod["spec"]["affinity"] == {
        "nodeAffinity": {
            **required(NAMED_N1)["nodeAffinity"],
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
        },
        "podAffinity": {},
    }
    assert pod["metadata"]["generateName"] == "fluentd-"
    assert (controller_of(pod) or {})["uid"] == uid_of(fleet.set)


def test_host_ports_follow_the_ports_of_a_daemon_on_the_hosts_network() -> None:
    workload = a_daemonset(template={"hostNetwork": True})
    workload["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 24224}]
    fleet = Fleet(workload, nodes=1)
    fleet.step()
    assert fleet.pod_on("n1")["spec"]["containers"][0]["ports"] == [
        {"containerPort": 24224, "hostPort": 24224, "protocol": "TCP"}
    ]


def test_a_node_that_joins_gets_a_pod_and_one_that_is_gone_loses_it() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    fleet.join("n2")
    assert fleet.run() == ["+n2"]
    fleet.remove(fleet.node("n1"))
    assert fleet.run() == ["-n1"]
    assert fleet.shown() == ["n2 fluentd:1 Ready"]
    assert fleet.status["desiredNumberScheduled"] == 1


def test_a_pod_for_a_node_that_is_gone_before_it_was_bound_goes_at_once() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.step()
    fleet.remove(fleet.node("n1"))
    assert fleet.reconcile() == ["-n1"]
    assert fleet.pods == []


def test_a_node_that_stops_matching_loses_its_pod_and_gets_one_when_it_matches_again() -> None:
    fleet = Fleet(a_daemonset(template={"nodeSelector": {"logs": "yes"}}), nodes=2)
    assert fleet.run() == []
    assert fleet.waiting_for == "a node that it may run on: 0 of 2 fit (2 the node selector does not match)"
    fleet.label("n2", logs="yes")
    assert fleet.run() == ["+n2"]
    fleet.label("n2", logs=None)
    assert fleet.run() == ["-n2"]
    assert fleet.status["desiredNumberScheduled"] == 0


def test_without_nodes_it_says_so() -> None:
    fleet = Fleet(a_daemonset(), nodes=0)
    fleet.run()
    assert fleet.waiting_for == "a node: there is none"


def test_a_running_pod_stays_through_NoSchedule_and_counts_as_misscheduled() -> None:
    fleet = Fleet(a_daemonset(), nodes=2)
    fleet.run()
    fleet.taint("n1", "gpu", "NoSchedule")
    assert fleet.run() == []
    assert (fleet.status["numberMisscheduled"], fleet.status["desiredNumberScheduled"]) == (1, 1)
    fleet.delete(fleet.pod_on("n1"), 0)
    assert fleet.run() == []
    fleet.taint("n2", "gpu", "NoExecute")
    assert fleet.run() == ["-n2"]


def test_a_cordoned_node_is_no_different() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.change(fleet.node("n1"), spec={"unschedulable": True})
    assert fleet.run() == ["+n1"]


def test_a_network_agent_runs_before_the_node_is_ready_and_a_log_collector_waits() -> None:
    agent = Fleet(a_daemonset(template={"hostNetwork": True, **ANYTHING}), nodes=0)
    collector = Fleet(a_daemonset(), nodes=0)
    for fleet in (agent, collector):
        fleet.join("n1", ready="False")
    assert (agent.run(), collector.run()) == (["+n1"], [])
    collector.set_ready("n1", "True")
    assert collector.run() == ["+n1"]


def test_a_terminating_pod_blocks_its_successor() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    fleet.delete(fleet.pod_on("n1"))
    assert fleet.reconcile() == []
    assert fleet.waiting_for == f"{name_of(fleet.pod_on('n1'))} on node n1 to end"
    assert fleet.run() == ["+n1"]


def test_an_ended_pod_that_a_finalizer_holds_blocks_nobody() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    pod = fleet.pod_on("n1")
    fleet.world.commit(Replace(pod, with_metadata(pod, finalizers=["x/y"])))
    fleet.fail("n1")
    assert fleet.reconcile() == ["-n1", "+n1"]
    assert len(fleet.pods) == 2


def test_of_several_pods_on_a_node_the_scheduled_the_oldest_the_first_by_name_stays() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    first = fleet.pod_on("n1")
    fleet.pass_time(5)
    for name, spec in (("a", {"nodeName": "n1"}), ("b", {"nodeName": "n1"}), ("c", {})):
        extra = a_bare_pod(f"fluentd-{name}", labels=first["metadata"]["labels"])
        affinity = first["spec"]["affinity"]
        fleet.world.commit(Create({**extra, "spec": {**extra["spec"], "affinity": affinity, **spec}}))
    assert fleet.run() == ["-n1", "-n1", "-n1"]
    assert uids(fleet) == {"n1": uid_of(first)}


def test_an_unscheduled_older_pod_is_surplus_beside_a_scheduled_one() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.step()
    waiting = fleet.pod_on("n1")
    fleet.pass_time(5)
    bound = a_bare_pod("fluentd-b", labels=waiting["metadata"]["labels"])
    fleet.world.commit(Create({**bound, "spec": {**bound["spec"], "nodeName": "n1"}}))
    fleet.reconcile()
    assert [name_of(pod) for pod in fleet.pods] == ["fluentd-b"]


def test_a_pod_that_loses_the_selectors_labels_is_released_and_replaced() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    pod = fleet.pod_on("n1")
    fleet.world.commit(Replace(pod, with_metadata(pod, labels={})))
    assert fleet.reconcile() == ["+n1"]
    free = fleet.world.the(f"core/pods/default/{name_of(pod)}")
    assert controller_of(free) is None
    assert len(fleet.pods) == 2


def test_an_orphan_with_the_selectors_labels_is_adopted() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    orphan = a_bare_pod("stray", labels=LABELS)
    fleet.world.commit(Create({**orphan, "spec": {**orphan["spec"], "nodeName": "n1"}}))
    fleet.step()
    assert (controller_of(fleet.pod_on("n1")) or {})["uid"] == uid_of(fleet.set)


def test_a_set_that_is_being_deleted_is_left_alone() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    held = with_metadata(
        fleet.set, finalizers=["foregroundDeletion"], deletionTimestamp="2027-01-15T08:00:00Z"
    )
    fleet.world.commit(Replace(fleet.set, held))
    assert fleet.run() == []
    assert fleet.waiting_for == "the set is being deleted"


def test_a_great_fleet_gets_its_pods_in_batches() -> None:
    fleet = Fleet(None, nodes=0)
    for number in range(450):
        fleet.join(f"n{number}")
    fleet.world.commit(Create(a_daemonset()))
    first = fleet.step()
    assert sum(isinstance(change, Create) for change in first.changes) == 400
    assert fleet.status["currentNumberScheduled"] == 400
    fleet.step()
    assert fleet.status["currentNumberScheduled"] == 450
    assert not fleet.step().changes


# --- pods that end


def test_a_failed_pod_is_replaced_at_once_and_then_after_a_pause_that_doubles() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    pauses = []
    for _ in range(6):
        fleet.fail("n1")
        began = fleet.now
        while not (told := fleet.reconcile()):
            (again,) = {fleet.decisions[-1].requeue_at}
            assert again is not None and again > fleet.now
            assert "is replaced at" in fleet.waiting_for
            fleet.now = again
        assert told == ["-n1", "+n1"]
        pauses.append((fleet.now - began) // 1000)
        fleet.run()
    assert pauses == [0, 1, 2, 4, 8, 16]
    assert fleet.world.state.failures[uid_of(fleet.set), daemon_place("n1")].count == 6


def test_another_node_and_another_generation_start_without_a_pause() -> None:
    fleet = Fleet(a_daemonset(), nodes=2)
    fleet.run()
    fleet.fail("n1")
    fleet.run()
    fleet.fail("n1")
    fleet.fail("n2")
    assert fleet.reconcile() == ["-n2", "+n2"]
    fleet.edit(minReadySeconds=1)
    assert fleet.reconcile() == ["-n1", "+n1"]


def test_a_failure_is_forgotten_after_half_an_hour() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    for pause in (0, 1, 1801, 0):
        fleet.run()
        fleet.fail("n1")
        fleet.pass_time(pause)
    fleet.reconcile()
    assert fleet.world.state.failures[uid_of(fleet.set), daemon_place("n1")].count == 1


def test_failures_are_forgotten_with_the_node_and_with_the_set() -> None:
    fleet = Fleet(a_daemonset(), nodes=2)
    fleet.run()
    fleet.fail("n1")
    fleet.fail("n2")
    fleet.run()
    fleet.remove(fleet.node("n1"))
    assert [place for _, place in fleet.world.state.failures] == [daemon_place("n2")]
    fleet.remove(fleet.set)
    assert fleet.world.state.failures == {}


def test_a_succeeded_pod_is_replaced_at_once() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    for _ in range(3):
        fleet.run()
        fleet.set_status(fleet.pod_on("n1"), "Succeeded", "False")
        assert fleet.reconcile() == ["-n1", "+n1"]


# --- updates


def outdated(fleet: Fleet) -> Fleet:
    fleet.run()
    fleet.set_image("fluentd:2")
    return fleet


@pytest.mark.parametrize(
    ("unavailable", "at_once"), [(1, 1), (2, 2), ("25%", 2), ("26%", 2), ("1%", 1), ("100%", 5), (9, 5)]
)
def test_a_rolling_update_goes_by_the_names_of_nodes_within_its_budget(
    unavailable: int | str, at_once: int
) -> None:
    """A percentage rounds up."""
    fleet = outdated(Fleet(a_daemonset(updateStrategy=rolling(unavailable)), nodes=5))
    assert fleet.reconcile() == [f"-n{number}" for number in range(1, at_once + 1)]
    fleet.run()
    assert fleet.images() == {f"n{number}": ["fluentd:2"] for number in range(1, 6)}
    assert fleet.status["updatedNumberScheduled"] == 5
    assert fleet.revisions == {"fluentd:1": 1, "fluentd:2": 2}


def test_an_update_waits_for_the_node_that_it_has_just_updated() -> None:
    fleet = outdated(Fleet(a_daemonset(), nodes=3))
    fleet.reconcile()
    fleet.world.commit()
    fleet.work(fleet.pod_on("n1"))
    assert fleet.reconcile() == ["+n1"]
    assert fleet.waiting_for == (
        "the update, 2 old pods are left: 1 nodes count as unavailable; "
        f"{name_of(fleet.pod_on('n1'))} on node n1 to be available: it waits for a node"
    )
    assert fleet.status["updatedNumberScheduled"] == 1


def test_unavailable_old_pods_are_replaced_whatever_the_budget_is_yet_count() -> None:
    fleet = outdated(Fleet(a_daemonset(), nodes=4))
    for node in ("n3", "n4"):
        fleet.set_status(fleet.pod_on(node), "Running", "False")
    assert fleet.reconcile() == ["-n3", "-n4"]


def test_a_node_without_a_pod_counts() -> None:
    fleet = outdated(Fleet(a_daemonset(), nodes=2))
    fleet.delete(fleet.pod_on("n2"))
    assert fleet.reconcile() == []


def test_ready_is_available_only_after_min_ready_seconds() -> None:
    fleet = Fleet(a_daemonset(minReadySeconds=10), nodes=2)
    fleet.run()
    assert (fleet.status["numberReady"], fleet.status.get("numberAvailable", 0)) == (2, 0)
    assert fleet.decisions[-1].requeue_at == fleet.now + 10_000
    fleet.pass_time(10)
    fleet.run()
    assert fleet.status["numberAvailable"] == 2
    assert fleet.decisions[-1].requeue_at is None
    fleet.set_image("fluentd:2")
    assert fleet.run() == ["-n1", "+n1"]
    fleet.pass_time(9.9)
    assert fleet.run() == []
    fleet.pass_time(0.1)
    assert fleet.run() == ["-n2", "+n2"]


def test_OnDelete_updates_a_pod_when_it_is_deleted() -> None:
    fleet = Fleet(a_daemonset(updateStrategy={"type": "OnDelete"}), nodes=2)
    fleet.run()
    fleet.set_image("fluentd:2")
    assert fleet.run() == []
    fleet.delete(fleet.pod_on("n2"))
    assert fleet.run() == ["+n2"]
    assert fleet.images() == {"n1": ["fluentd:1"], "n2": ["fluentd:2"]}
    assert fleet.status["updatedNumberScheduled"] == 1


def test_surge_puts_the_new_pod_beside_the_old_one_until_it_is_available() -> None:
    fleet = outdated(Fleet(a_daemonset(updateStrategy=rolling(0, 1)), nodes=3))
    assert fleet.reconcile() == ["+n1"]
    assert {node: sorted(images) for node, images in fleet.images().items()} == {
        "n1": ["fluentd:1", "fluentd:2"],
        "n2": ["fluentd:1"],
        "n3": ["fluentd:1"],
    }
    assert fleet.status["numberAvailable"] == 3
    assert fleet.run() == ["-n1", "+n2", "-n2", "+n3", "-n3"]
    assert fleet.images() == {f"n{number}": ["fluentd:2"] for number in (1, 2, 3)}


@pytest.mark.parametrize(("surge", "at_once"), [(2, 2), ("34%", 2), ("100%", 4)])
def test_a_surge_is_a_number_or_a_share_rounded_up(surge: int | str, at_once: int) -> None:
    fleet = outdated(Fleet(a_daemonset(updateStrategy=rolling(0, surge)), nodes=4))
    assert fleet.reconcile() == [f"+n{number}" for number in range(1, at_once + 1)]


def test_an_old_pod_that_is_not_ready_gets_a_successor_beyond_the_surge_and_goes() -> None:
    fleet = outdated(Fleet(a_daemonset(updateStrategy=rolling(0, 1)), nodes=3))
    fleet.set_status(fleet.pod_on("n3"), "Running", "False")
    assert fleet.reconcile() == ["+n1", "+n3", "-n3"]


def test_with_surge_a_terminating_pod_blocks_nobody() -> None:
    fleet = Fleet(a_daemonset(updateStrategy=rolling(0, 1)), nodes=1)
    fleet.run()
    fleet.delete(fleet.pod_on("n1"))
    assert fleet.reconcile() == ["+n1"]


def test_with_surge_a_node_loses_its_pod_only_when_enough_others_are_available() -> None:
    fleet = outdated(Fleet(a_daemonset(updateStrategy=rolling(0, 1)), nodes=2))
    fleet.taint("n1", "gpu", "NoSchedule")
    fleet.set_status(fleet.pod_on("n2"), "Running", "False")
    assert "-n1" not in fleet.reconcile()
    assert fleet.run(without=()) == ["-n1"]


def test_a_failed_pod_in_back_off_is_not_surged_over() -> None:
    fleet = Fleet(a_daemonset(updateStrategy=rolling(0, 1)), nodes=1)
    for _ in range(2):
        fleet.run()
        fleet.fail("n1")
    assert fleet.reconcile() == []


# --- nodes that are down


def test_a_node_that_was_down_before_the_update_does_not_hold_it_up() -> None:
    fleet = Fleet(a_daemonset(), nodes=3)
    fleet.run()
    fleet.set_ready("n1", "Unknown")
    fleet.set_status(fleet.pod_on("n1"), "Running", "False")
    fleet.pass_time(60)
    fleet.set_image("fluentd:2")
    assert fleet.run(without=("n1",)) == ["-n1", "-n2", "+n2", "-n3", "+n3"]
    assert fleet.images() == {"n2": ["fluentd:2"], "n3": ["fluentd:2"]}


@pytest.mark.parametrize(
    ("annotations", "goes_on"),
    [({}, True), ({COUNT_DOWN_NODES: "false"}, True), ({COUNT_DOWN_NODES: "true"}, False)],
)
def test_a_switch_makes_it_count_as_in_kubernetes(annotations: dict[str, str], goes_on: bool) -> None:
    fleet = Fleet(a_daemonset(), nodes=2)
    fleet.run()
    fleet.annotate(**annotations)
    fleet.set_ready("n1", "Unknown")
    fleet.set_status(fleet.pod_on("n1"), "Running", "False")
    fleet.pass_time(60)
    fleet.set_image("fluentd:2")
    assert ("+n2" in fleet.run(without=("n1",))) is goes_on


def test_a_node_that_goes_down_after_its_pod_was_replaced_counts() -> None:
    fleet = outdated(Fleet(a_daemonset(), nodes=3))
    fleet.pass_time(60)
    assert fleet.reconcile() == ["-n1"]
    fleet.work(fleet.pod_on("n1"))
    fleet.reconcile()
    fleet.set_ready("n1", "Unknown")
    assert fleet.run(without=("n1",)) == []


def test_a_node_that_comes_back_counts_again() -> None:
    fleet = Fleet(a_daemonset(), nodes=3)
    fleet.run()
    fleet.set_ready("n1", "Unknown")
    fleet.pass_time(60)
    fleet.set_image("fluentd:2")
    fleet.set_status(fleet.pod_on("n1"), "Running", "False")
    assert fleet.reconcile() == ["-n1", "-n2"]
    fleet.set_ready("n1", "True")
    fleet.work(fleet.pod_on("n2"))
    fleet.reconcile()
    assert fleet.run(without=("n1",)) == []
    assert fleet.images()["n3"] == ["fluentd:1"]


# --- history


def test_undo_renumbers_the_revision_and_touches_no_pod_that_already_matches() -> None:
    fleet = outdated(Fleet(a_daemonset(), nodes=3))
    fleet.reconcile()
    fleet.work(fleet.pod_on("n1"))
    fleet.reconcile()
    before = uids(fleet)
    fleet.undo()
    assert fleet.run() == ["-n1", "+n1"]
    after = uids(fleet)
    assert (after["n2"], after["n3"]) == (before["n2"], before["n3"])
    assert fleet.revisions == {"fluentd:2": 2, "fluentd:1": 3}


def test_equal_revisions_are_merged_and_their_pods_relabelled_not_restarted() -> None:
    fleet = Fleet(a_daemonset(), nodes=2)
    fleet.run()
    before = uids(fleet)
    (revision,) = fleet.world.list("apps/controllerrevisions", "default")
    labels = {**revision["metadata"]["labels"], "controller-revision-hash": "twin"}
    metadata = {**revision["metadata"], "name": "fluentd-twin", "labels": labels}
    fleet.world.commit(Create({**revision, "metadata": metadata, "revision": 9}))
    assert fleet.run() == []
    assert uids(fleet) == before
    assert [name_of(each) for each in fleet.world.list("apps/controllerrevisions", "default")] == [
        "fluentd-twin"
    ]
    assert {pod["metadata"]["labels"]["controller-revision-hash"] for pod in fleet.pods} == {"twin"}


def test_history_beyond_the_limit_goes_oldest_first_but_for_what_pods_still_run() -> None:
    fleet = Fleet(a_daemonset(revisionHistoryLimit=1, updateStrategy={"type": "OnDelete"}), nodes=1)
    fleet.run()
    for number in (2, 3, 4, 5):
        fleet.set_image(f"fluentd:{number}")
        fleet.run()
    assert fleet.revisions == {"fluentd:1": 1, "fluentd:5": 5}


def test_a_revision_that_a_user_deletes_is_derived_again() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    (revision,) = fleet.world.list("apps/controllerrevisions", "default")
    fleet.remove(revision)
    assert fleet.run() == []
    (again,) = fleet.world.list("apps/controllerrevisions", "default")
    assert name_of(again) == name_of(revision)


def test_a_name_that_other_data_has_taken_is_counted_as_a_collision() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    found = fleet.world.list("apps/controllerrevisions", "default")
    fleet.remove(fleet.set)
    (revision,) = found
    data = {"spec": {"template": {"$patch": "replace"}}}
    taken = {**revision["metadata"], "ownerReferences": None}
    fleet.remove(revision)
    fleet.world.commit(Create({**revision, "data": data, "metadata": {k: v for k, v in taken.items() if v}}))
    fleet.world.commit(Create(a_daemonset()))
    assert fleet.status["collisionCount"] == 1
    fleet.run()
    assert fleet.status["collisionCount"] == 1


def test_conditions_that_somebody_else_wrote_stay() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    condition = {"type": "Checked", "status": "True"}
    seen = fleet.set
    fleet.world.commit(Replace(seen, {**seen, "status": {**fleet.status, "conditions": [condition]}}))
    (pod,) = fleet.world.list("core/pods", "default")
    fleet.remove(pod)
    fleet.run()
    assert fleet.status["conditions"] == [condition]


# --- two workers, and what a decision rests upon


def test_of_two_workers_with_one_view_only_one_creates() -> None:
    fleet = Fleet(a_daemonset(), nodes=2)
    guard, decision = fleet.guard(), fleet.controller.reconcile(fleet.view(), fleet.now)
    again = fleet.controller.reconcile(fleet.view(), fleet.now)
    assert [change.key for change in again.changes] == [change.key for change in decision.changes]
    fleet.commit(decision, guard)
    with pytest.raises(Conflict):
        fleet.commit(again, guard)
    with pytest.raises(Conflict):
        fleet.commit(again, fleet.guard())
    assert len(fleet.pods) == 2


def test_a_name_that_is_taken_is_not_given_again() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.step()
    pod = fleet.pod_on("n1")
    fleet.world.commit(Replace(pod, with_metadata(pod, labels={}, ownerReferences=None)))
    assert fleet.reconcile() == ["+n1"]
    assert len({name_of(pod) for pod in fleet.pods}) == 2


@pytest.mark.parametrize(
    "meddle", ["the set changes", "a pod counted as available changes", "the node changes"]
)
def test_a_decision_that_has_become_stale_is_refused(meddle: str) -> None:
    fleet = outdated(Fleet(a_daemonset(), nodes=2))
    if meddle == "the node changes":
        fleet.join("n3")
    guard, decision = fleet.guard(), fleet.controller.reconcile(fleet.view(), fleet.now)
    match meddle:
        case "the set changes":
            fleet.edit(minReadySeconds=3)
        case "a pod counted as available changes":
            fleet.set_status(fleet.pod_on("n2"), "Running", "False")
        case _:
            fleet.taint("n3", "gpu", "NoSchedule")
    with pytest.raises(Conflict):
        fleet.commit(decision, guard)


# --- what an event concerns


def dirty(fleet: Fleet, old: Object | None, new: Object | None) -> list[str]:
    return sorted(set(fleet.controller.triggers(fleet.world.state, old, new)))


def test_a_node_concerns_every_set_when_it_comes_goes_or_changes_what_decides() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    node = fleet.node("n1")
    status = node["status"]
    assert dirty(fleet, None, node) == dirty(fleet, node, None) == [KEY]
    labelled = with_metadata(node, labels={"zone": "a"})
    tainted = {**node, "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}
    down = {**node, "status": {**status, "conditions": [{"type": "Ready", "status": "False"}]}}
    for changed in (labelled, tainted, down):
        assert dirty(fleet, node, changed) == [KEY]
    for changed in (
        {**node, "status": {**status, "allocatable": {"cpu": "1"}}},
        {**node, "spec": {"unschedulable": True}},
        with_metadata(node, annotations={"a": "b"}),
    ):
        assert dirty(fleet, node, changed) == []


def test_a_pod_concerns_its_set_and_an_orphan_those_that_may_adopt_it() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    pod = fleet.pod_on("n1")
    free = with_metadata(pod, ownerReferences=None)
    assert dirty(fleet, None, pod) == dirty(fleet, pod, free) == dirty(fleet, None, free) == [KEY]
    assert dirty(fleet, None, with_metadata(free, labels={"app": "other"})) == []


def test_a_revision_concerns_its_set_when_it_changes_or_goes_not_when_it_comes() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    (revision,) = fleet.world.list("apps/controllerrevisions", "default")
    assert dirty(fleet, None, revision) == []
    assert dirty(fleet, revision, None) == dirty(fleet, revision, {**revision, "revision": 7}) == [KEY]


def test_a_census_that_remembers_sees_what_a_fresh_one_sees() -> None:
    fleet = outdated(Fleet(a_daemonset(), nodes=3))
    fleet.set_image("fluentd:3")
    fleet.world.commit(Replace(fleet.set, with_image(fleet.set, "fluentd:4")))
    fleet.reconcile()
    fresh = Fleet(None, nodes=0)
    fresh.world = fleet.world
    assert in_order(fleet.view()) == in_order(fresh.view())


def in_order(view: View) -> str:
    """All of a view; in what order it has pods and revisions nobody minds."""
    pods, revisions = sorted(view.pods, key=name_of), sorted(view.revisions, key=name_of)
    return repr(replace(view, pods=tuple(pods), revisions=tuple(revisions)))


def test_a_set_made_anew_runs_while_the_revision_of_its_last_incarnation_has_its_name() -> None:
    """Once that one is collected, its own is derived, with the same name and hash: no pod is restarted."""
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    (left,) = fleet.world.list("apps/controllerrevisions", "default")
    (pod,) = fleet.pods
    fleet.remove(fleet.set)
    fleet.remove(pod)
    fleet.world.commit(Create(a_daemonset()))
    assert fleet.run() == ["+n1"]
    fleet.remove(left)
    assert fleet.run() == []
    (own,) = fleet.world.list("apps/controllerrevisions", "default")
    assert (name_of(own), (controller_of(own) or {})["uid"]) == (name_of(left), uid_of(fleet.set))


def test_a_succeeded_pod_does_not_wait_for_the_back_off_of_failed_ones() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    for _ in range(2):
        fleet.run()
        fleet.fail("n1")
        fleet.pass_time(1)
    fleet.run()
    fleet.set_status(fleet.pod_on("n1"), "Succeeded", "False")
    assert fleet.reconcile() == ["-n1", "+n1"]


def test_with_surge_the_old_pod_stays_until_the_new_one_is_available_not_only_ready() -> None:
    fleet = Fleet(a_daemonset(updateStrategy=rolling(0, 1), minReadySeconds=10), nodes=1)
    fleet.run()
    fleet.pass_time(10)
    fleet.set_image("fluentd:2")
    assert fleet.run() == ["+n1"]
    fleet.pass_time(9)
    assert fleet.run() == []
    fleet.pass_time(1)
    assert fleet.run() == ["-n1"]


def test_a_new_generation_counts_failures_from_one() -> None:
    fleet = Fleet(a_daemonset(), nodes=1)
    for pause in (0, 1, 2):
        fleet.run()
        fleet.fail("n1")
        fleet.pass_time(pause)
    fleet.run()
    fleet.edit(minReadySeconds=1)
    fleet.fail("n1")
    fleet.run()
    fleet.fail("n1")
    assert fleet.reconcile() == []
    assert fleet.decisions[-1].requeue_at == fleet.now + 1_000


def test_an_adopted_pod_that_is_meant_for_no_node_is_left_to_the_scheduler() -> None:
    """Once it is bound it counts like any other (getNodesToDaemonPods leaves it out until then)."""
    fleet = Fleet(a_daemonset(), nodes=1)
    fleet.run()
    fleet.pass_time(1)
    fleet.world.commit(Create(a_bare_pod("stray", labels=LABELS)))
    assert fleet.reconcile() == []
    stray = fleet.world.the("core/pods/default/stray")
    assert (controller_of(stray) or {})["uid"] == uid_of(fleet.set)
    fleet.change(stray, spec={**stray["spec"], "nodeName": "n1"})
    assert fleet.reconcile() == ["-n1"]
    assert "deletionTimestamp" in fleet.world.the("core/pods/default/stray")["metadata"]
