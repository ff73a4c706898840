"""What a StatefulSet does, event by event: strategy x management policy x what happens to it."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Create
from schemas.defaults import pod_defaults
from schemas.errors import Conflict
from schemas.objects import Object, name_of, with_fields, with_metadata
from schemas.times import rfc3339
from services.controllers.statefulset import STATEFULSET
from services.controllers.statefulset.decide import STUCK_AFTER_ANNOTATION
from tests.services.controllers.clusters import BAD, KEY, Cluster, a_set, rolling, uids

ORDERED = "OrderedReady"
PARALLEL = "Parallel"
ON_DELETE: Object = {"type": "OnDelete"}
BARE: Object = {"type": "RollingUpdate"}
"""What defaulting leaves of a strategy of which only the type is given."""


def a_cluster(
    policy: str = ORDERED, strategy: Object | None = None, replicas: int = 3, **spec: Any
) -> Cluster:
    """A set that has come to rest on image db:1."""
    workload = a_set(
        replicas=replicas, podManagementPolicy=policy, updateStrategy=strategy or rolling(), **spec
    )
    cluster = Cluster(workload)
    cluster.run()
    return cluster


def test_ordered_pods_start_one_after_the_other() -> None:
    cluster = Cluster(a_set())
    assert cluster.reconcile() == ["+db-0"]
    cluster.bind("db-0")
    assert cluster.reconcile() == []
    cluster.report("db-0")
    assert cluster.reconcile() == ["+db-1"]
    assert cluster.decisions[-1].waiting_for == "db-1 is not Ready: it waits for a node"


def test_parallel_pods_start_at_once() -> None:
    assert Cluster(a_set(podManagementPolicy=PARALLEL)).reconcile() == ["+db-0", "+db-1", "+db-2"]


def test_a_pod_has_its_identity_from_the_set_and_its_body_from_the_template() -> None:
    cluster = Cluster(a_set(ordinals={"start": 7}))
    cluster.reconcile()
    pod = cluster.pods["db-7"]
    revision = cluster.status["updateRevision"]
    assert pod["metadata"]["labels"] == {
        "app": "db",
        "apps.kubernetes.io/pod-index": "7",
        "statefulset.kubernetes.io/pod-name": "db-7",
        "controller-revision-hash": revision,
    }
    assert pod["metadata"]["ownerReferences"][0]["uid"] == cluster.set["metadata"]["uid"]
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-7", "db")
    template = cluster.set["spec"]["template"]
    assert pod["spec"]["containers"] == pod_defaults({"spec": template["spec"]})["spec"]["containers"]
    assert pod["spec"]["enableServiceLinks"] is True


def test_the_labels_of_identity_are_restored() -> None:
    cluster = a_cluster(replicas=1)
    pod = cluster.pods["db-0"]
    labels = {"app": "db", "mine": "yes", "controller-revision-hash": cluster.status["updateRevision"]}
    cluster.change(pod, metadata=with_metadata(pod, labels=labels)["metadata"])
    assert cluster.reconcile() == []
    assert cluster.pods["db-0"]["metadata"]["labels"] == {**pod["metadata"]["labels"], "mine": "yes"}


@pytest.mark.parametrize("policy", [ORDERED, PARALLEL])
@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"replicas": 5}, ["+db-3", "+db-4"]),
        ({"replicas": 1}, ["-db-2", "-db-1"]),
        ({"replicas": 0}, ["-db-2", "-db-1", "-db-0"]),
        ({"replicas": 3}, []),
        ({"ordinals": {"start": 1}}, ["+db-3", "-db-0"]),
        ({"ordinals": {"start": 5}, "replicas": 1}, ["+db-5", "-db-2", "-db-1", "-db-0"]),
    ],
    ids=["up", "down", "to zero", "not at all", "start moved by one", "start moved beyond"],
)
def test_scaling(policy: str, edit: Object, expected: list[str]) -> None:
    cluster = a_cluster(policy)
    cluster.edit(**edit)
    told = cluster.run()
    assert told == expected if policy == ORDERED else sorted(told) == sorted(expected)


def test_an_ordered_scale_down_waits_for_each_pod_to_end() -> None:
    cluster = a_cluster()
    cluster.edit(replicas=1)
    assert cluster.reconcile() == ["-db-2"]
    cluster.pass_time(3)
    assert cluster.step().waiting_for == "db-2 terminates since 3 s"
    cluster.confirm("db-2")
    assert cluster.reconcile() == ["-db-1"]


def test_a_parallel_scale_down_ends_all_at_once() -> None:
    cluster = a_cluster(PARALLEL)
    cluster.edit(replicas=0)
    assert cluster.reconcile() == ["-db-2", "-db-1", "-db-0"]


def test_an_ordered_scale_down_waits_until_every_replica_is_available() -> None:
    cluster = a_cluster(replicas=4)
    cluster.set_status("db-0", "Running", "False")
    cluster.edit(replicas=2)
    assert cluster.reconcile() == []
    assert cluster.decisions[-1].waiting_for.startswith("db-0 is not Ready")


def test_of_condemned_pods_only_the_lowest_unhealthy_one_goes_while_it_is_unhealthy() -> None:
    cluster = a_cluster(replicas=4)
    cluster.edit(replicas=2)
    cluster.set_status("db-2", "Running", "False")
    cluster.set_status("db-3", "Running", "False")
    assert cluster.reconcile() == []
    cluster.set_status("db-2", "Running", "True")
    assert cluster.reconcile() == ["-db-3"]


@pytest.mark.parametrize("policy", [ORDERED, PARALLEL])
@pytest.mark.parametrize(
    ("strategy", "expected", "images"),
    [
        (rolling(), ["-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"], "222"),
        (BARE, ["-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"], "222"),
        (rolling(partition=2), ["-db-2", "+db-2"], "112"),
        (rolling(partition=3), [], "111"),
        (rolling(partition=9), [], "111"),
        (ON_DELETE, [], "111"),
    ],
    ids=[
        "rolling",
        "rolling, nothing more said",
        "partition 2",
        "partition at the end",
        "beyond",
        "on delete",
    ],
)
def test_a_new_image_replaces_pods_from_the_top_down_to_the_partition(
    policy: str, strategy: Object, expected: list[str], images: str
) -> None:
    cluster = a_cluster(policy, strategy)
    cluster.set_image("db:2")
    assert cluster.run() == expected
    assert cluster.images() == {f"db-{n}": f"db:{image}" for n, image in enumerate(images)}


def test_the_partition_is_an_index_and_not_an_ordinal() -> None:
    cluster = a_cluster(strategy=rolling(partition=2), ordinals={"start": 5})
    cluster.set_image("db:2")
    assert cluster.run() == ["-db-7", "+db-7"]


def test_lowering_the_partition_goes_on_with_the_update() -> None:
    cluster = a_cluster(strategy=rolling(partition=2))
    cluster.set_image("db:2")
    cluster.run()
    held = cluster.status["currentRevision"]
    assert cluster.step().waiting_for == f"partition 2 holds 2 pods on revision {held}"
    cluster.edit(updateStrategy=rolling(partition=0))
    assert cluster.run() == ["-db-1", "+db-1", "-db-0", "+db-0"]
    assert cluster.step().waiting_for == ""


@pytest.mark.parametrize("policy", [ORDERED, PARALLEL])
@pytest.mark.parametrize("grace", [None, 0])
@pytest.mark.parametrize(
    ("strategy", "name", "image"),
    [
        (rolling(partition=2), "db-0", "db:1"),
        (rolling(partition=2), "db-2", "db:2"),
        (ON_DELETE, "db-0", "db:2"),
    ],
    ids=["below the partition", "above it", "on delete"],
)
def test_a_deleted_pod_comes_back_at_the_revision_of_its_place(
    policy: str, strategy: Object, name: str, image: str, grace: int | None
) -> None:
    cluster = a_cluster(policy, strategy)
    cluster.set_image("db:2")
    cluster.run()
    cluster.delete(name, grace)
    cluster.run()
    assert cluster.images()[name] == image


def test_an_ordered_update_replaces_a_pod_only_when_all_replicas_are_available() -> None:
    cluster = a_cluster()
    cluster.set_status("db-0", "Running", "False")
    cluster.set_image("db:2")
    assert cluster.reconcile() == []
    cluster.set_status("db-0", "Running", "True")
    assert cluster.reconcile() == ["-db-2"]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1, ["-db-3"]),
        (2, ["-db-3", "-db-2"]),
        ("50%", ["-db-3", "-db-2"]),
        ("49%", ["-db-3"]),
        ("10%", ["-db-3"]),
    ],
)
@pytest.mark.parametrize("policy", [ORDERED, PARALLEL])
def test_an_update_takes_as_many_as_may_be_unavailable(
    policy: str, most: int | str, expected: list[str]
) -> None:
    cluster = a_cluster(policy, rolling(maxUnavailable=most), replicas=4)
    cluster.set_image("db:2")
    assert cluster.reconcile() == expected


def test_a_parallel_update_takes_unavailable_old_pods_first_and_does_not_charge_them() -> None:
    cluster = a_cluster(PARALLEL, rolling(maxUnavailable=2, partition=1), replicas=5)
    for name in ("db-0", "db-1"):
        cluster.set_status(name, "Running", "False")
    cluster.set_image("db:2")
    assert cluster.reconcile() == ["-db-1"]
    assert cluster.decisions[-1].waiting_for.startswith("db-0 is not Ready")


@pytest.mark.parametrize("policy", [ORDERED, PARALLEL])
@pytest.mark.parametrize("strategy", [rolling(), BARE, ON_DELETE], ids=["rolling", "bare", "on delete"])
@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_ended_is_replaced(policy: str, strategy: Object, phase: str) -> None:
    cluster = a_cluster(policy, strategy)
    cluster.set_status("db-1", phase, "False")
    assert cluster.run() == ["-db-1", "+db-1"]
    assert len(cluster.pods) == 3


def test_a_failing_pod_is_replaced_at_once_and_then_after_longer_and_longer() -> None:
    cluster = a_cluster(replicas=1)
    waits = []
    for _ in range(12):
        cluster.fail("db-0")
        began = cluster.now
        while not cluster.reconcile():
            assert "ended" in cluster.decisions[-1].waiting_for
            assert cluster.decisions[-1].requeue_at is not None
            cluster.now = cluster.decisions[-1].requeue_at
        waits.append((cluster.now - began) // 1000)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]
    cluster.run()
    cluster.fail("db-0")
    assert cluster.reconcile() == ["-db-0", "+db-0"]


def test_an_update_does_not_wait_for_the_back_off_of_the_pod_it_replaces() -> None:
    cluster = a_cluster(replicas=1)
    for _ in range(5):
        cluster.fail("db-0")
        cluster.pass_time(10)
        cluster.reconcile()
    cluster.fail("db-0")
    assert cluster.reconcile() == []
    cluster.set_image("db:2")
    assert cluster.run() == ["-db-0", "+db-0"]


def test_min_ready_seconds_hold_back_the_next_pod() -> None:
    cluster = Cluster(a_set(minReadySeconds=10))
    cluster.reconcile()
    cluster.bind("db-0")
    cluster.report("db-0")
    cluster.pass_time(4)
    assert cluster.reconcile() == []
    last = cluster.decisions[-1]
    assert last.waiting_for == "db-0 is Ready since 4 s of the 10 s that minReadySeconds asks for"
    assert last.requeue_at == cluster.now + 6_000
    assert (cluster.status["readyReplicas"], cluster.status["availableReplicas"]) == (1, 0)
    cluster.pass_time(6)
    assert cluster.reconcile() == ["+db-1"]
    assert cluster.status["availableReplicas"] == 1


@pytest.mark.parametrize("policy", [ORDERED, PARALLEL])
def test_min_ready_seconds_hold_back_the_next_update(policy: str) -> None:
    cluster = a_cluster(policy, minReadySeconds=10)
    for _ in range(3):
        cluster.pass_time(10)
        cluster.run()
    cluster.set_image("db:2")
    assert cluster.run() == ["-db-2", "+db-2"]
    cluster.pass_time(9.5)
    assert cluster.run() == []
    cluster.pass_time(0.5)
    assert cluster.run() == ["-db-1", "+db-1"]


# Healing


@pytest.mark.parametrize("policy", [ORDERED, PARALLEL])
@pytest.mark.parametrize("strategy", [rolling(), BARE], ids=["rolling", "bare"])
def test_a_bad_rollout_stops_at_its_first_pod_and_a_good_one_heals_it(policy: str, strategy: Object) -> None:
    cluster = a_cluster(policy, strategy)
    before = uids(cluster)
    cluster.set_image(BAD)
    assert cluster.run() == ["-db-2", "+db-2"]
    assert cluster.step().waiting_for.startswith(
        "db-2 is not Ready: container web waits in ImagePullBackOff (db:bad)"
    )
    after = uids(cluster)
    assert {name for name in before if before[name] != after[name]} == {"db-2"}
    cluster.set_image("db:3")
    assert cluster.run() == ["-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"]


def test_a_pod_that_was_ready_once_is_never_healed_away() -> None:
    cluster = a_cluster()
    cluster.set_status(
        "db-0",
        "Running",
        "False",
        [{"name": "web", "image": "db:1", "restartCount": 4, "state": {"running": {}}}],
    )
    cluster.set_image("db:2")
    cluster.pass_time(3600)
    assert cluster.reconcile() == []


@pytest.mark.parametrize(
    "container",
    [
        {"state": {"waiting": {"reason": reason}}}
        for reason in (
            "CrashLoopBackOff",
            "ErrImagePull",
            "ImagePullBackOff",
            "InvalidImageName",
            "CreateContainerConfigError",
            "CreateContainerError",
            "RunContainerError",
        )
    ]
    + [{"restartCount": 1}],
    ids=lambda container: str(container),
)
@pytest.mark.parametrize("where", ["containerStatuses", "initContainerStatuses"])
def test_every_kind_of_failing_makes_an_outdated_pod_stuck(container: Object, where: str) -> None:
    cluster = Cluster(a_set(updateStrategy=rolling()))
    cluster.reconcile()
    cluster.bind("db-0")
    status = {"phase": "Pending", where: [{"name": "web", "image": "db:1", **container}]}
    cluster.change(cluster.pods["db-0"], status=status)
    assert cluster.reconcile() == []
    cluster.set_image("db:2")
    assert cluster.reconcile() == ["-db-0"]


def test_an_unschedulable_pod_is_stuck() -> None:
    cluster = Cluster(a_set(updateStrategy=rolling()))
    cluster.reconcile()
    scheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes fit",
    }
    cluster.change(cluster.pods["db-0"], status={"phase": "Pending", "conditions": [scheduled]})
    assert cluster.step().waiting_for == "db-0 is not Ready: no node fits (0/1 nodes fit)"
    cluster.set_image("db:2")
    assert cluster.reconcile() == ["-db-0", "+db-0"]
    assert cluster.images() == {"db-0": "db:2"}


@pytest.mark.parametrize(("annotation", "seconds"), [(None, 60), ("5", 5), ("soon", 60)])
def test_a_pod_that_is_merely_slow_is_stuck_after_a_minute_or_what_the_annotation_says(
    annotation: str | None, seconds: int
) -> None:
    workload = a_set(updateStrategy=rolling())
    if annotation is not None:
        workload = with_metadata(workload, annotations={STUCK_AFTER_ANNOTATION: annotation})
    cluster = Cluster(workload)
    cluster.reconcile()
    cluster.bind("db-0")
    cluster.set_image("db:2")
    assert cluster.reconcile() == []
    assert cluster.decisions[-1].requeue_at == cluster.now + seconds * 1000
    cluster.pass_time(seconds - 0.001)
    assert cluster.reconcile() == []
    cluster.pass_time(0.001)
    assert cluster.reconcile() == ["-db-0"]


def test_a_slow_pod_at_the_revision_it_should_have_is_left_alone() -> None:
    cluster = Cluster(a_set(updateStrategy=rolling()))
    cluster.reconcile()
    cluster.bind("db-0")
    cluster.pass_time(3600)
    assert cluster.reconcile() == []


def test_nothing_is_healed_while_a_pod_terminates() -> None:
    cluster = a_cluster()
    cluster.set_image(BAD)
    cluster.run()
    cluster.delete("db-0")
    cluster.set_image("db:3")
    assert cluster.reconcile() == []
    assert cluster.decisions[-1].waiting_for == "db-0 terminates since 0 s"
    cluster.confirm("db-0")
    assert cluster.reconcile() == ["-db-2", "+db-0"]


def test_on_delete_heals_nothing() -> None:
    cluster = a_cluster(strategy=ON_DELETE)
    cluster.set_image(BAD)
    cluster.delete("db-2")
    cluster.run()
    cluster.set_image("db:3")
    assert cluster.run() == []


@pytest.mark.parametrize("policy", [ORDERED, PARALLEL])
def test_a_stuck_pod_below_a_raised_partition_returns_to_the_current_revision(policy: str) -> None:
    cluster = a_cluster(policy)
    cluster.set_image(BAD)
    cluster.run()
    cluster.edit(updateStrategy=rolling(partition=3))
    assert cluster.run() == ["-db-2", "+db-2"]
    assert set(cluster.images().values()) == {"db:1"}


# Claims


DATA = {
    "metadata": {"name": "data", "labels": {"tier": "disk"}},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def test_claims_come_in_the_same_batch_as_their_pod_and_stay_when_it_goes() -> None:
    cluster = Cluster(a_set(volumeClaimTemplates=[DATA]))
    (claim, pod) = (change.object for change in cluster.step().changes if isinstance(change, Create))
    assert name_of(claim) == "data-db-0"
    assert claim["metadata"]["labels"] == {"tier": "disk", "app": "db"}
    assert claim["spec"] == DATA["spec"]
    assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]
    cluster.run()
    before = cluster.claims
    cluster.set_image("db:2")
    cluster.run()
    cluster.edit(replicas=0)
    cluster.run()
    assert cluster.claims == before
    assert set(before) == {"data-db-0", "data-db-1", "data-db-2"}


def test_a_claim_replaces_a_volume_of_its_name_in_the_template() -> None:
    workload = a_set(volumeClaimTemplates=[DATA])
    volumes = [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    workload["spec"]["template"]["spec"]["volumes"] = volumes
    cluster = Cluster(workload)
    cluster.reconcile()
    assert cluster.pods["db-0"]["spec"]["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}},
        {"name": "tmp", "emptyDir": {}},
    ]


def test_a_deleted_claim_is_created_again_while_its_pod_is_pending() -> None:
    cluster = Cluster(a_set(volumeClaimTemplates=[DATA]))
    cluster.reconcile()
    cluster.remove(cluster.claims["data-db-0"])
    cluster.reconcile()
    assert set(cluster.claims) == {"data-db-0"}


def test_a_claim_that_is_being_deleted_blocks_its_pod() -> None:
    cluster = Cluster(a_set(volumeClaimTemplates=[DATA]))
    cluster.reconcile()
    cluster.delete("db-0")
    claim = cluster.claims["data-db-0"]
    going = with_metadata(claim, finalizers=["hold"], deletionTimestamp=rfc3339(cluster.now))
    cluster.change(claim, metadata=going["metadata"])
    assert cluster.reconcile() == []
    assert cluster.decisions[-1].waiting_for == "db-0 is created once its claim data-db-0 is deleted"
    state = cluster.world.state
    assert KEY in STATEFULSET.triggers(state, cluster.claims["data-db-0"], None)
    cluster.remove(cluster.claims["data-db-0"])
    assert cluster.reconcile() == ["+db-0"]


DELETE_BOTH = {"whenDeleted": "Delete", "whenScaled": "Delete"}


def with_owner(claim: Object, **reference: Any) -> Object:
    return with_metadata(
        claim, ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "controller": True, **reference}]
    )


@pytest.mark.parametrize(("when_scaled", "blocked"), [("Delete", True), ("Retain", False)])
def test_a_claim_that_refers_to_the_former_pod_blocks_the_next_one(when_scaled: str, blocked: bool) -> None:
    """Until garbage collection has come: it would take the claim away under the new pod (PodClaimIsStale)."""
    retention = {"whenDeleted": "Retain", "whenScaled": when_scaled}
    cluster = Cluster(
        a_set(replicas=1, volumeClaimTemplates=[DATA], persistentVolumeClaimRetentionPolicy=retention)
    )
    cluster.run()
    claim = cluster.claims["data-db-0"]
    stale = with_owner(claim, name="db-0", uid="a-former-pod")
    cluster.change(claim, metadata=stale["metadata"])
    cluster.remove(cluster.pods["db-0"])
    assert cluster.reconcile() == ([] if blocked else ["+db-0"])
    assert cluster.claims["data-db-0"]["metadata"]["ownerReferences"][0]["uid"] == "a-former-pod"
    if blocked:
        assert cluster.decisions[-1].waiting_for == "db-0 is created once its claim data-db-0 is deleted"


@pytest.mark.parametrize("name", ["db", "web"])
def test_a_claim_of_a_former_set_is_left_to_garbage_collection_and_one_of_another_set_is_left_alone(
    name: str,
) -> None:
    cluster = Cluster(
        a_set(replicas=1, volumeClaimTemplates=[DATA], persistentVolumeClaimRetentionPolicy=DELETE_BOTH)
    )
    cluster.run()
    claim = cluster.claims["data-db-0"]
    theirs = with_owner(claim, apiVersion="apps/v1", kind="StatefulSet", name=name, uid="another")
    cluster.change(claim, metadata=theirs["metadata"])
    assert cluster.reconcile() == []
    assert cluster.claims["data-db-0"]["metadata"]["ownerReferences"] == theirs["metadata"]["ownerReferences"]


def test_a_reference_to_the_set_that_is_no_controller_is_made_one() -> None:
    cluster = Cluster(
        a_set(replicas=1, volumeClaimTemplates=[DATA], persistentVolumeClaimRetentionPolicy=DELETE_BOTH)
    )
    cluster.run()
    claim = cluster.claims["data-db-0"]
    (reference,) = claim["metadata"]["ownerReferences"]
    plain = {name: value for name, value in reference.items() if name != "controller"}
    cluster.change(claim, metadata=with_metadata(claim, ownerReferences=[plain])["metadata"])
    cluster.reconcile()
    assert cluster.claims["data-db-0"]["metadata"]["ownerReferences"] == [reference]


def test_many_condemned_pods_end_only_when_all_their_claims_go_with_them() -> None:
    retention = {"whenDeleted": "Retain", "whenScaled": "Delete"}
    cluster = Cluster(
        a_set(
            replicas=250,
            podManagementPolicy=PARALLEL,
            volumeClaimTemplates=[DATA],
            persistentVolumeClaimRetentionPolicy=retention,
        )
    )
    cluster.reconcile()
    for name in cluster.pods:
        cluster.bind(name)
    cluster.edit(replicas=0)
    while not cluster.step().waiting_for.startswith("db-"):
        for name, pod in cluster.pods.items():
            if "deletionTimestamp" in pod["metadata"]:
                owners = cluster.claims[f"data-{name}"]["metadata"]["ownerReferences"]
                assert [each["uid"] for each in owners] == [pod["metadata"]["uid"]]
    assert all("deletionTimestamp" in pod["metadata"] for pod in cluster.pods.values())
    assert max(len(decision.changes) for decision in cluster.decisions) <= 1000


# Ownership


def an_orphan(name: str, **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"containers": [{"name": "web", "image": "db:0", "resources": {}}]},
        "status": {"phase": "Pending"},
    }


def test_orphans_are_adopted_by_selector_and_name_and_brought_up_to_date() -> None:
    cluster = Cluster(a_set(replicas=1, updateStrategy=rolling()))
    for pod in (an_orphan("db-0", app="db"), an_orphan("db-9", app="db"), an_orphan("db-01", app="db")):
        cluster.world.commit(Create(pod))
    cluster.world.commit(Create(an_orphan("web-0", app="db")))
    cluster.step()
    owned = {name for name, pod in cluster.pods.items() if "ownerReferences" in pod["metadata"]}
    assert owned == {"db-0", "db-9"}
    assert cluster.pods["db-0"]["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "db-0"
    cluster.run()
    assert cluster.images() == {"db-0": "db:1", "db-01": "db:0", "web-0": "db:0"}


def test_a_pod_that_no_longer_matches_is_released_and_its_name_is_waited_for() -> None:
    cluster = a_cluster(replicas=1)
    pod = cluster.pods["db-0"]
    cluster.change(pod, metadata=with_metadata(pod, labels={"app": "other"})["metadata"])
    cluster.reconcile()
    assert "ownerReferences" not in cluster.pods["db-0"]["metadata"]
    assert "which is not the set's" in cluster.decisions[-1].waiting_for
    cluster.remove(cluster.pods["db-0"])
    assert cluster.reconcile() == ["+db-0"]


def test_a_set_that_is_being_deleted_only_tells_its_status() -> None:
    cluster = a_cluster()
    cluster.set_image("db:2")
    workload = cluster.set
    going = with_metadata(workload, finalizers=["foregroundDeletion"], deletionTimestamp=rfc3339(cluster.now))
    cluster.change(workload, metadata=going["metadata"])
    cluster.world.commit(Create(an_orphan("db-9", app="db")))
    cluster.fail("db-1")
    assert cluster.reconcile() == []
    assert cluster.status["readyReplicas"] == 2
    assert "ownerReferences" not in cluster.pods["db-9"]["metadata"]
    assert cluster.decisions[-1].waiting_for == "the set is being deleted"


# Revisions and status


def test_history_is_cut_to_its_limit_and_live_revisions_stay() -> None:
    cluster = a_cluster(strategy=rolling(partition=3), revisionHistoryLimit=1)
    for image in ("db:2", "db:3", "db:4", "db:5"):
        cluster.set_image(image)
        cluster.run()
    assert cluster.revisions == {"db:1": 1, "db:4": 4, "db:5": 5}


def test_a_revision_that_only_a_pod_still_has_is_live() -> None:
    cluster = a_cluster(strategy=ON_DELETE, revisionHistoryLimit=0)
    cluster.set_image("db:2")
    cluster.delete("db-1")
    cluster.run()
    cluster.set_image("db:3")
    cluster.run()
    assert cluster.revisions == {"db:1": 1, "db:2": 2, "db:3": 3}
    cluster.delete("db-1")
    cluster.run()
    assert cluster.revisions == {"db:1": 1, "db:3": 3}


def test_going_back_renumbers_the_revision_and_makes_no_other() -> None:
    cluster = a_cluster()
    cluster.set_image("db:2")
    cluster.run()
    cluster.set_image("db:1")
    cluster.run()
    assert cluster.revisions == {"db:2": 2, "db:1": 3}


@pytest.mark.parametrize("image", ["db:1", "db:2"])
def test_a_deleted_revision_is_derived_again(image: str) -> None:
    """The update revision always; the current one only while it is the update revision as well."""
    cluster = a_cluster()
    cluster.set_image("db:2")
    cluster.run()
    found = cluster.world.list("apps/controllerrevisions", "default")
    for each in found:
        if each["data"]["spec"]["template"]["spec"]["containers"][0]["image"] == image:
            cluster.remove(each)
    assert cluster.run() == []
    assert cluster.revisions == ({"db:2": 2} if image == "db:1" else {"db:1": 1, "db:2": 2})


def test_a_deleted_current_revision_lets_the_update_go_everywhere() -> None:
    """As in Kubernetes: what is not known any more cannot be kept (getStatefulSetRevisions)."""
    cluster = a_cluster(strategy=rolling(partition=2))
    cluster.set_image("db:2")
    cluster.run()
    current = cluster.status["currentRevision"]
    cluster.remove(cluster.world.the(f"apps/controllerrevisions/default/{current}"))
    cluster.delete("db-0")
    cluster.run()
    assert cluster.images() == {"db-0": "db:2", "db-1": "db:1", "db-2": "db:2"}


def test_status_counts_and_the_delete_that_changes_them_are_one_batch() -> None:
    cluster = a_cluster()
    revision = cluster.status["currentRevision"]
    cluster.set_image("db:2")
    cluster.step()
    assert "deletionTimestamp" in cluster.pods["db-2"]["metadata"]
    assert cluster.set["metadata"]["resourceVersion"] == cluster.pods["db-2"]["metadata"]["resourceVersion"]
    assert cluster.status == {
        "observedGeneration": 2,
        "replicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "currentReplicas": 2,
        "currentRevision": revision,
        "updateRevision": cluster.status["updateRevision"],
        "collisionCount": 0,
    }
    assert cluster.status["updateRevision"] != revision


def test_without_a_rolling_update_a_lost_pod_returns_as_the_update_left_it() -> None:
    """Those that the update has not reached are the lowest `currentReplicas`."""
    cluster = a_cluster(strategy=BARE)
    cluster.set_image("db:2")
    cluster.reconcile()
    cluster.confirm("db-2")
    cluster.remove(cluster.pods["db-0"])
    assert cluster.reconcile() == ["+db-0"]
    assert cluster.images() == {"db-0": "db:1", "db-1": "db:1"}
    cluster.run()
    assert set(cluster.images().values()) == {"db:2"}


def test_a_parallel_set_never_makes_a_pod_only_to_replace_it() -> None:
    cluster = a_cluster(PARALLEL, BARE)
    cluster.set_image("db:2")
    cluster.reconcile()
    cluster.confirm("db-2")
    cluster.remove(cluster.pods["db-0"])
    assert cluster.reconcile() == ["+db-0", "+db-2"]
    assert cluster.images() == {"db-0": "db:2", "db-1": "db:1", "db-2": "db:2"}


def test_a_pod_that_would_come_back_just_as_stuck_is_left_alone() -> None:
    cluster = a_cluster(strategy=BARE)
    cluster.remove(cluster.pods["db-0"])
    cluster.reconcile()
    cluster.pass_time(3600)
    cluster.set_image("db:2")
    assert cluster.reconcile() == []


def test_under_on_delete_the_current_revision_never_advances() -> None:
    cluster = a_cluster(strategy=ON_DELETE)
    first = cluster.status["currentRevision"]
    cluster.set_image("db:2")
    for name in ("db-0", "db-1", "db-2"):
        cluster.delete(name)
        cluster.run()
    assert cluster.status["currentRevision"] == first
    assert cluster.status["updatedReplicas"] == 3
    assert "currentReplicas" not in cluster.status


def test_the_update_completes_when_all_are_ready_even_before_they_are_available() -> None:
    cluster = a_cluster(PARALLEL, replicas=1, minReadySeconds=100)
    cluster.set_image("db:2")
    cluster.run()
    assert cluster.status["currentRevision"] == cluster.status["updateRevision"]
    assert cluster.status["availableReplicas"] == 0


def test_an_update_is_not_complete_while_its_last_pod_is_not_ready() -> None:
    cluster = a_cluster(replicas=1)
    old = cluster.status["currentRevision"]
    cluster.set_image(BAD)
    cluster.run()
    assert cluster.images() == {"db-0": BAD}
    assert (cluster.status["updatedReplicas"], cluster.status["currentRevision"]) == (1, old)


def test_the_status_counts_failed_and_terminating_pods_as_replicas() -> None:
    cluster = a_cluster(PARALLEL)
    cluster.edit(replicas=2)
    cluster.step()
    for _ in range(3):
        cluster.fail("db-0")
        cluster.step()
        cluster.step()
    cluster.fail("db-0")
    cluster.step()
    assert cluster.status["replicas"] == 3
    assert cluster.status["currentReplicas"] == 2
    assert cluster.status["readyReplicas"] == 2


def test_a_disruption_rests_on_the_pods_counted_as_available_and_creation_does_not() -> None:
    cluster = Cluster(a_set(updateStrategy=rolling()))
    assert [name_of(obj) for obj in cluster.step().rests_on] == ["db"]
    cluster.run()
    cluster.set_image("db:2")
    assert {name_of(obj) for obj in cluster.step().rests_on} == {"db", "db-0", "db-1", "db-2"}


def test_of_two_workers_with_one_view_only_one_wins() -> None:
    cluster = Cluster(a_set(updateStrategy=rolling()))
    decision, guard = STATEFULSET.reconcile(cluster.view(), cluster.now), cluster.guard()
    cluster.commit(decision, guard)
    with pytest.raises(Conflict):
        cluster.commit(decision, guard)
    assert list(cluster.pods) == ["db-0"]


@pytest.mark.parametrize("moved", ["the set", "a pod counted as available"])
def test_a_disruption_decided_on_what_has_moved_is_refused(moved: str) -> None:
    cluster = a_cluster()
    cluster.set_image("db:2")
    decision, guard = STATEFULSET.reconcile(cluster.view(), cluster.now), cluster.guard()
    if moved == "the set":
        cluster.edit(replicas=2)
    else:
        cluster.set_status("db-0", "Running", "False")
    with pytest.raises(Conflict):
        cluster.commit(decision, guard)
    assert len(cluster.images()) == 3


def test_many_pods_come_in_several_batches() -> None:
    cluster = Cluster(a_set(replicas=900, podManagementPolicy=PARALLEL))
    cluster.reconcile()
    assert len(cluster.pods) == 900
    assert max(len(decision.changes) for decision in cluster.decisions) <= 401


def a_revision(name: str) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": "default",
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "X", "name": "x", "uid": "x-1", "controller": True}
            ],
        },
        "data": {"other": True},
        "revision": 1,
    }


def test_the_collision_count_that_a_commit_raised_is_kept() -> None:
    name = a_cluster().status["updateRevision"]
    cluster = Cluster()
    cluster.world.commit(Create(a_revision(name)))
    cluster.world.commit(Create(a_set()))
    cluster.run()
    assert cluster.status["collisionCount"] == 1
    assert cluster.status["updateRevision"] != name
    assert cluster.images() == {"db-0": "db:1", "db-1": "db:1", "db-2": "db:1"}


def test_a_name_taken_after_a_revision_was_deleted_raises_the_collision_count() -> None:
    cluster = a_cluster()
    name = cluster.status["updateRevision"]
    cluster.remove(cluster.world.the(f"apps/controllerrevisions/default/{name}"))
    cluster.world.commit(Create(a_revision(name)))
    cluster.run()
    assert cluster.status["collisionCount"] == 1
    assert set(cluster.world.state.objects) >= {
        f"apps/controllerrevisions/default/{cluster.status['updateRevision']}"
    }


# Triggers


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("set", "set", False),
        ("set", "scaled set", True),
        ("set", "set of another status", False),
        (None, "set", True),
        (None, "pod", False),
        ("pod", "bound pod", False),
        ("pod", "waiting pod", True),
        ("pod", "terminating pod", True),
        ("pod", "labelled pod", True),
        ("pod", None, True),
        (None, "orphan", True),
        (None, "stranger", False),
        (None, "revision", False),
        ("revision", "revision", True),
        ("revision", None, True),
        (None, "node", False),
    ],
)
def test_events_concern_the_set(old: str | None, new: str | None, expected: bool) -> None:
    cluster = a_cluster(replicas=1)
    (revision,) = cluster.world.list("apps/controllerrevisions", "default")
    pod = cluster.pods["db-0"]
    objects = {
        "set": cluster.set,
        "scaled set": with_fields(cluster.set, spec={**cluster.set["spec"], "replicas": 5}),
        "set of another status": with_fields(cluster.set, status={"replicas": 5}),
        "pod": pod,
        "bound pod": with_fields(pod, spec={**pod["spec"], "nodeName": "n2"}),
        "waiting pod": with_fields(pod, status={**pod["status"], "containerStatuses": [{"name": "db"}]}),
        "terminating pod": with_metadata(pod, deletionTimestamp="2026-01-01T00:00:00Z"),
        "labelled pod": with_metadata(pod, labels={"app": "x"}),
        "orphan": an_orphan("db-7"),
        "stranger": an_orphan("x-7"),
        "revision": revision,
        "node": {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "db-0"}},
    }
    found = set(STATEFULSET.triggers(cluster.world.state, objects.get(old or ""), objects.get(new or "")))
    assert found == ({KEY} if expected else set())


def test_every_set_is_listed_and_one_that_is_gone_has_no_view() -> None:
    cluster = a_cluster(replicas=0)
    assert list(STATEFULSET.keys(cluster.world.state)) == [KEY]
    assert STATEFULSET.view_of(cluster.world.state, "apps/statefulsets/default/gone") is None
