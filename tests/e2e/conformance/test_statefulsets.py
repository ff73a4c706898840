"""test/e2e/apps/statefulset.go."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ConflictException

from tests.e2e.conformance.sites import (
    LABELS,
    PAUSED,
    PROBE,
    SELECTOR,
    Site,
    a_claim_template,
    a_container,
    a_stateful_set,
    a_template,
    is_ready,
    names,
    partition,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WITH_CLAIMS = {
    "volumeClaimTemplates": [a_claim_template()],
    "template": a_template(
        containers=[
            a_container(readinessProbe=PROBE, volumeMounts=[{"name": "datadir", "mountPath": "/data"}])
        ]
    ),
}
PAUSING = {"template": a_template(PAUSED)}
MISSING = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "nowhere", "operator": "Exists"}]}]
        }
    }
}


# --- what a pod of a set is


@pytest.mark.long
def test_pods_have_a_basic_identity(site: Site) -> None:
    """should provide basic identity: name, index, host name, its own volume, whose content outlives the pod."""
    site.create(a_stateful_set(3, **WITH_CLAIMS))
    site.wait_ready(3)
    pods = site.pods()
    assert list(pods) == names(3)
    for ordinal, (name, pod) in enumerate(pods.items()):
        labels = pod.metadata.labels
        assert labels["statefulset.kubernetes.io/pod-name"] == name
        assert labels["apps.kubernetes.io/pod-index"] == str(ordinal)
        assert (pod.spec.hostname, pod.spec.subdomain) == (name, "test")
        site.run_in(name, f'echo {name} >"{site.volume}/identity"')
    assert list(site.claims()) == [f"datadir-{name}" for name in names(3)]

    site.patch_spec(replicas=0)
    site.wait_ready(0)
    assert list(site.claims()) == [f"datadir-{name}" for name in names(3)]
    site.patch_spec(replicas=3)
    site.wait_ready(3)
    assert [site.run_in(name, f'cat "{site.volume}/identity"').strip() for name in names(3)] == names(3)


def test_orphans_that_match_are_adopted_and_what_does_not_match_is_released(site: Site) -> None:
    """should adopt matching orphans and release non-matching pods."""
    site.create(a_stateful_set(1))
    site.wait_ready(1)
    uid = site.set().metadata.uid

    def owners(name: str) -> list[str]:
        return [each.uid for each in site.pods("app!=none")[name].metadata.owner_references or ()]

    core = site.core
    core.patch_namespaced_pod("ss-0", site.space, {"metadata": {"ownerReferences": None}})
    site.wait(lambda: owners("ss-0") == [uid], "the orphan to be adopted")
    pod = site.pods()["ss-0"].metadata.uid
    core.patch_namespaced_pod("ss-0", site.space, {"metadata": {"labels": {"foo": None, "baz": None}}})
    site.wait(lambda: owners("ss-0") == [], "the pod to be released")
    core.patch_namespaced_pod("ss-0", site.space, {"metadata": {"labels": LABELS}})
    site.wait(lambda: owners("ss-0") == [uid], "the pod to be adopted again")
    assert site.pods()["ss-0"].metadata.uid == pod


@pytest.mark.long
def test_a_failed_predecessor_holds_nothing_up_once_it_is_well(site: Site) -> None:
    """should not deadlock when a pod's predecessor fails."""
    site.create(a_stateful_set(2, **PAUSING))
    site.releases("ss-0")
    site.wait(lambda: "ss-1" in site.pods(), "ss-1")
    first = site.pods()["ss-0"].metadata.uid
    site.core.delete_namespaced_pod("ss-0", site.space)
    site.wait(lambda: site.pods().get("ss-0", _Nobody).metadata.uid not in (first, None), "another ss-0")
    site.releases("ss-0")
    site.releases("ss-1")
    site.wait_ready(2)


# --- rolling updates


def _rolls_and_rolls_back(site: Site) -> None:
    before = site.wait_ready(3)
    assert before.status.current_revision == before.status.update_revision
    site.breaks("ss-1")
    since = site.version()
    site.set_image("2")
    site.wait(lambda: site.set().status.update_revision != before.status.update_revision, "another revision")
    site.mends("ss-1")
    after = site.wait_updated()
    assert set(site.images().values()) == {"web:2"}
    assert set(site.revisions().values()) == {after.status.update_revision}
    assert _created_since(site, since, 3) == ["ss-2", "ss-1", "ss-0"]

    since = site.version()
    site.set_image("1")
    site.wait(lambda: site.set().status.update_revision == before.status.update_revision, "the old revision")
    site.wait_updated()
    assert set(site.images().values()) == {"web:1"}
    assert _created_since(site, since, 3) == ["ss-2", "ss-1", "ss-0"]


def test_a_template_rolls_out_from_the_highest_ordinal_down_and_back(site: Site) -> None:
    """should perform rolling updates and roll backs of template modifications [Conformance]."""
    site.create(a_stateful_set(3))
    _rolls_and_rolls_back(site)


@pytest.mark.long
def test_a_template_with_claims_rolls_out_and_back(site: Site) -> None:
    """should perform rolling updates and roll backs of template modifications with PVCs."""
    site.create(a_stateful_set(3, **WITH_CLAIMS))
    site.wait_ready(3)
    volumes = {name: claim.spec.volume_name for name, claim in site.claims().items()}
    _rolls_and_rolls_back(site)
    assert {name: claim.spec.volume_name for name, claim in site.claims().items()} == volumes


def test_canaries_and_phases_follow_the_partition(site: Site) -> None:
    """should perform canary updates and phased rolling updates of template modifications [Conformance]."""
    site.create(a_stateful_set(3, updateStrategy=partition(3)))
    first = site.wait_ready(3).status.current_revision
    site.set_image("2")
    second = site.wait(lambda: _other(site.set().status.update_revision, first), "another revision")
    assert set(site.revisions().values()) == {first}

    site.patch_spec(updateStrategy=partition(2))
    site.wait(lambda: site.revisions().get("ss-2") == second, "the canary")
    site.wait_ready(3)
    assert site.images() == {"ss-0": "web:1", "ss-1": "web:1", "ss-2": "web:2"}

    for name in ("ss-0", "ss-2"):
        uid = site.pods()[name].metadata.uid
        site.core.delete_namespaced_pod(name, site.space)
        site.wait(lambda name=name, uid=uid: _is_anew(site, name, uid), f"another {name}")
    site.wait_ready(3)
    assert site.revisions() == {"ss-0": first, "ss-1": first, "ss-2": second}

    for number in (1, 0):
        site.patch_spec(updateStrategy=partition(number))
        site.wait(lambda number=number: site.revisions().get(f"ss-{number}") == second, "the next phase")
        site.wait_ready(3)
    found = site.wait_updated()
    assert found.status.current_revision == second and set(site.images().values()) == {"web:2"}


@pytest.mark.long
def test_on_delete_waits_for_somebody_to_delete(site: Site) -> None:
    """should implement legacy replacement when the update strategy is OnDelete."""
    site.create(a_stateful_set(3, updateStrategy={"type": "OnDelete"}))
    first = site.wait_ready(3).status.current_revision
    site.set_image("2")
    second = site.wait(lambda: _other(site.set().status.update_revision, first), "another revision")
    assert set(site.revisions().values()) == {first}
    for name in names(3):
        site.core.delete_namespaced_pod(name, site.space)
    site.wait(lambda: set(site.revisions().values()) == {second} and len(site.pods()) == 3, "all to be new")
    found = site.wait_ready(3)
    assert (found.status.current_revision, found.status.updated_replicas) == (first, 3)


@pytest.mark.long
def test_no_more_than_max_unavailable_are_away_at_once(site: Site) -> None:
    """should perform rolling updates with more than one pod unavailable (MaxUnavailableStatefulSet)."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    site.create(a_stateful_set(4, updateStrategy=strategy, podManagementPolicy="Parallel"))
    site.wait_ready(4)
    since = site.version()
    site.set_image("2")
    site.wait_updated()
    away: set[str] = set()
    most = 0
    for _, pod in site.follow(since, lambda seen: _all_came_back(seen, 4)):
        (away.discard if is_ready(pod) else away.add)(pod.metadata.name)
        most = max(most, len(away))
    assert most == 2


# --- scaling


def test_scaling_goes_in_order_and_halts_at_an_unhealthy_pod(site: Site) -> None:
    """Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Conformance]."""
    since = site.version()
    site.create(a_stateful_set(1))
    site.wait_ready(1)
    site.breaks("ss-0")
    site.patch_spec(replicas=3)
    site.wait(lambda: site.set().status.observed_generation == 2, "the scale to be seen")
    assert list(site.pods()) == ["ss-0"]
    site.mends("ss-0")
    site.wait_ready(3)
    assert _created_since(site, since, 3) == ["ss-0", "ss-1", "ss-2"]

    site.breaks(*names(3))
    since = site.version()
    site.patch_spec(replicas=0)
    site.wait(lambda: site.set().status.observed_generation == 3, "the scale to be seen")
    assert list(site.pods()) == names(3)
    for name in ("ss-0", "ss-1"):  # then ss-2 is the first that is unhealthy, and need not be well to go
        site.run_in(name, 'touch "$HOME/ready"')
    site.wait_ready(0)
    assert _deleted_since(site, since, 3) == ["ss-2", "ss-1", "ss-0"]


@pytest.mark.long
def test_burst_scaling_goes_on_with_unhealthy_pods(site: Site) -> None:
    """Burst scaling should run to completion even with unhealthy pods [Conformance]."""
    site.create(a_stateful_set(1, podManagementPolicy="Parallel"))
    site.wait_ready(1)
    site.breaks("ss-0")
    site.patch_spec(replicas=3)
    site.wait(lambda: [is_ready(pod) for pod in site.pods().values()] == [False, True, True], "the others")
    site.breaks("ss-1", "ss-2")
    site.patch_spec(replicas=0)
    site.wait_ready(0)


def test_the_scale_subresource_works(site: Site) -> None:
    """should have a working scale subresource [Conformance]."""
    site.create(a_stateful_set(1))
    site.wait_ready(1)
    scale = site.apps.read_namespaced_stateful_set_scale("ss", site.space)
    assert (scale.spec.replicas, scale.status.replicas) == (1, 1)
    assert scale.status.selector == SELECTOR
    scale.metadata.resource_version = ""
    scale.spec.replicas = 2
    assert site.apps.replace_namespaced_stateful_set_scale("ss", site.space, scale).spec.replicas == 2
    assert site.set().spec.replicas == 2
    patched = site.apps.patch_namespaced_stateful_set_scale("ss", site.space, {"spec": {"replicas": 4}})
    assert (patched.spec.replicas, site.set().spec.replicas) == (4, 4)


def test_sets_are_listed_patched_and_deleted_as_a_collection(site: Site) -> None:
    """should list, patch and delete a collection of StatefulSets [Conformance]."""
    body = a_stateful_set(1, "test-ss")
    body["metadata"]["labels"] = {"test-ss": "patched-not-yet"}
    site.create(body)
    site.wait(lambda: (site.set("test-ss").status.ready_replicas or 0) == 1, "the pod")
    everywhere = site.apps.list_stateful_set_for_all_namespaces(label_selector="test-ss=patched-not-yet")
    assert [each.metadata.namespace for each in everywhere.items] == [site.space]
    patch = {
        "metadata": {"labels": {"test-ss": "patched"}},
        "spec": {
            "replicas": 2,
            "template": {
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "webserver", "image": "web:2"}],
                }
            },
        },
    }
    found = site.patch(patch, "test-ss")
    container = found.spec.template.spec.containers[0]
    assert (found.metadata.labels["test-ss"], found.spec.replicas, container.image) == ("patched", 2, "web:2")
    assert found.spec.template.spec.termination_grace_period_seconds == 0
    site.wait_ready(2, "test-ss")
    site.apps.delete_collection_namespaced_stateful_set(site.space, label_selector="test-ss=patched")
    site.wait(
        lambda: not site.apps.list_namespaced_stateful_set(site.space).items, "the collection to be gone"
    )


def test_the_status_is_read_updated_and_patched_by_its_own_path(site: Site) -> None:
    """should validate Statefulset Status endpoints [Conformance]."""
    site.create(a_stateful_set(1))
    site.wait_ready(1)
    dynamic = site.apps.read_namespaced_stateful_set_status("ss", site.space)
    assert dynamic.status.replicas == 1
    condition = {
        "type": "StatusUpdate",
        "status": "True",
        "reason": "E2E",
        "message": "Set from e2e test",
    }

    def update() -> Any:
        found = site.apps.read_namespaced_stateful_set_status("ss", site.space)
        found.status.conditions = [client.V1StatefulSetCondition(**condition)]
        try:
            return site.apps.replace_namespaced_stateful_set_status("ss", site.space, found)
        except ConflictException:
            return None

    assert site.wait(update, "an update without a conflict").status.conditions[0].reason == "E2E"
    site.wait(lambda: [each.type for each in site.set().status.conditions or ()] == ["StatusUpdate"], "it")
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
    found = site.apps.patch_namespaced_stateful_set_status(
        "ss", site.space, patch, _content_type="application/merge-patch+json"
    )
    assert [each.type for each in found.status.conditions] == ["StatusPatched"]
    assert found.status.replicas == 1 and found.metadata.generation == 1


# --- what else is done to pods


def test_an_evicted_pod_is_created_again(site: Site) -> None:
    """Should recreate evicted statefulset [Conformance]: a port that is taken fails its pod, again and again."""
    ports = [{"containerPort": 21017, "hostPort": 21017}]
    node = site.core.list_node().items[0].metadata.name
    blocker = {"containers": [a_container(ports=ports)], "nodeName": node}
    site.core.create_namespaced_pod(site.space, {"metadata": {"name": "test-pod"}, "spec": blocker})
    site.wait(
        lambda: site.core.read_namespaced_pod("test-pod", site.space).status.phase == "Running", "the blocker"
    )
    since = site.version()
    site.create(
        a_stateful_set(
            1,
            template=a_template(nodeName=node, containers=[a_container(ports=ports)]),
        )
    )
    seen = site.follow(since, lambda seen: len(_uids(seen, "ADDED")) >= 2)
    assert "Failed" in [pod.status.phase for _, pod in seen] and _uids(seen, "DELETED")
    site.core.delete_namespaced_pod("test-pod", site.space, grace_period_seconds=0)
    site.wait_ready(1)


def test_a_pod_counts_as_available_after_min_ready_seconds(site: Site) -> None:
    """MinReadySeconds should be honored when enabled; AvailableReplicas should get updated accordingly."""
    site.create(a_stateful_set(2, minReadySeconds=3600, podManagementPolicy="Parallel"))
    assert (site.wait_ready(2).status.available_replicas or 0) == 0
    site.patch_spec(minReadySeconds=1)
    site.wait(lambda: site.set().status.available_replicas == 2, "both to be available")
    site.patch_spec(minReadySeconds=3600)
    site.wait(lambda: (site.set().status.available_replicas or 0) == 0, "none to be available")


@pytest.mark.long
def test_the_next_pod_waits_until_the_one_before_is_available(site: Site) -> None:
    """MinReadySeconds should be honored when enabled, by a set that goes in order."""
    since = site.version()
    site.create(a_stateful_set(2, minReadySeconds=3))
    site.wait_ready(2)
    times = {}
    for _, pod in site.follow(since, lambda seen: len(_ready(seen)) == 2):
        created = pod.metadata.creation_timestamp
        ready = [each.last_transition_time for each in pod.status.conditions or () if is_ready(pod)]
        times[pod.metadata.name] = (created, ready)
    assert (times["ss-1"][0] - times["ss-0"][1][0]).total_seconds() >= 2


# --- claims


def _retained(deleted: str, scaled: str) -> dict[str, Any]:
    return {
        **WITH_CLAIMS,
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled},
    }


def test_claims_go_with_the_set_when_it_is_deleted(site: Site) -> None:
    """should delete PVCs with a WhenDeleted policy."""
    site.create(a_stateful_set(3, **_retained("Delete", "Retain")))
    site.wait_ready(3)
    site.wait(lambda: _owners_of_claims(site) == [["StatefulSet"]] * 3, "claims that are owned by the set")
    site.apps.delete_namespaced_stateful_set("ss", site.space)
    site.wait(lambda: not site.claims(), "the claims to go")


def test_claims_go_with_their_pods_when_the_set_is_scaled_down(site: Site) -> None:
    """should delete PVCs with a OnScaledown policy."""
    site.create(a_stateful_set(3, **_retained("Retain", "Delete")))
    site.wait_ready(3)
    site.patch_spec(replicas=1)
    site.wait(lambda: list(site.claims()) == ["datadir-ss-0"], "the claims of the condemned to go")
    site.apps.delete_namespaced_stateful_set("ss", site.space)
    site.wait(lambda: not site.pods(), "the pods to go")
    assert list(site.claims()) == ["datadir-ss-0"]


@pytest.mark.parametrize(
    ("deleted", "scaled"),
    [("Delete", "Retain"), pytest.param("Retain", "Delete", marks=pytest.mark.long)],
)
def test_claims_of_adopted_pods_follow_the_policy(site: Site, deleted: str, scaled: str) -> None:
    """should delete PVCs after adopting pod (WhenDeleted), (WhenScaled)."""
    site.create(a_stateful_set(2, **_retained("Retain", "Retain")))
    site.wait_ready(2)
    uids = {name: pod.metadata.uid for name, pod in site.pods().items()}
    site.apps.delete_namespaced_stateful_set("ss", site.space, propagation_policy="Orphan")
    site.wait(lambda: not any(pod.metadata.owner_references for pod in site.pods().values()), "orphans")
    site.create(a_stateful_set(2, **_retained(deleted, scaled)))
    site.wait_ready(2)
    site.wait(lambda: all(pod.metadata.owner_references for pod in site.pods().values()), "adoption")
    assert {name: pod.metadata.uid for name, pod in site.pods().items()} == uids
    if scaled == "Delete":
        site.patch_spec(replicas=1)
        site.wait(lambda: list(site.claims()) == ["datadir-ss-0"], "the claim of the condemned to go")
    else:
        site.wait(lambda: _owners_of_claims(site) == [["StatefulSet"]] * 2, "claims owned by the set")
        site.apps.delete_namespaced_stateful_set("ss", site.space)
        site.wait(lambda: not site.claims(), "the claims to go")


def test_a_claim_that_another_controller_owns_stays(site: Site) -> None:
    """should not delete PVC with OnScaledown policy if another controller owns the PVC."""
    site.create(a_stateful_set(2, **_retained("Delete", "Delete")))
    site.wait_ready(2)
    other = site.core.create_namespaced_config_map(site.space, {"metadata": {"name": "owner"}}).metadata
    owner = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": other.name,
        "uid": other.uid,
        "controller": True,
    }
    site.core.patch_namespaced_persistent_volume_claim(
        "datadir-ss-1",
        site.space,
        {"metadata": {"ownerReferences": [owner]}},
        _content_type="application/merge-patch+json",
    )
    site.patch_spec(replicas=0)
    site.wait_ready(0)
    site.wait(lambda: list(site.claims()) == ["datadir-ss-1"], "the claim that is the set's to go")


def test_a_claim_that_is_missing_is_made_again_for_a_pod_that_waits(site: Site) -> None:
    """PVC should be recreated when pod is pending due to missing PVC."""
    template = a_template(affinity=MISSING, containers=WITH_CLAIMS["template"]["spec"]["containers"])
    site.create(a_stateful_set(1, volumeClaimTemplates=[a_claim_template()], template=template))
    first = site.wait(lambda: site.claims().get("datadir-ss-0"), "the claim").metadata.uid
    pod = site.wait(lambda: site.pods().get("ss-0"), "the pod").metadata.uid
    site.core.patch_namespaced_persistent_volume_claim(
        "datadir-ss-0", site.space, {"metadata": {"finalizers": None}}
    )
    site.core.delete_namespaced_persistent_volume_claim("datadir-ss-0", site.space)
    site.wait(
        lambda: (found := site.claims().get("datadir-ss-0")) and found.metadata.uid != first, "another claim"
    )
    assert site.pods()["ss-0"].metadata.uid == pod


# --- the first ordinal


@pytest.mark.long
def test_ordinals_begin_where_they_are_told_to(site: Site) -> None:
    """Setting, increasing, decreasing and removing .start ordinal."""
    site.create(a_stateful_set(2, ordinals={"start": 2}))
    site.wait_ready(2)
    assert list(site.pods()) == names(2, 2)
    kept = site.pods()["ss-3"].metadata.uid
    site.patch_spec(ordinals={"start": 3})
    site.wait(lambda: list(site.pods()) == names(2, 3), "ordinals from 3")
    assert site.wait_ready(2) and site.pods()["ss-3"].metadata.uid == kept
    site.patch_spec(ordinals={"start": 2})
    site.wait(lambda: list(site.pods()) == names(2, 2), "ordinals from 2")
    assert site.wait_ready(2) and site.pods()["ss-3"].metadata.uid == kept
    site.patch_spec(ordinals=None)
    site.wait(lambda: list(site.pods()) == names(2), "ordinals from 0")
    site.wait_ready(2)


# --- what the watches told


class _Nobody:
    class metadata:
        uid = None


def _other(found: str, than: str) -> str:
    return found if found != than else ""


def _is_anew(site: Site, name: str, uid: str) -> bool:
    pod = site.pods().get(name)
    return pod is not None and pod.metadata.uid != uid and is_ready(pod)


def _uids(seen: list[tuple[str, Any]], kind: str) -> list[str]:
    return [pod.metadata.uid for each, pod in seen if each == kind]


def _ready(seen: list[tuple[str, Any]]) -> set[str]:
    return {pod.metadata.name for _, pod in seen if is_ready(pod)}


def _all_came_back(seen: list[tuple[str, Any]], number: int) -> bool:
    added = set(_uids(seen, "ADDED"))
    return len(added) == number and len({p.metadata.uid for _, p in seen if is_ready(p)} & added) == number


def _created_since(site: Site, since: str, number: int) -> list[str]:
    seen = site.follow(since, lambda seen: len(_uids(seen, "ADDED")) == number)
    return [pod.metadata.name for kind, pod in seen if kind == "ADDED"]


def _deleted_since(site: Site, since: str, number: int) -> list[str]:
    seen = site.follow(since, lambda seen: len(_uids(seen, "DELETED")) == number)
    return [pod.metadata.name for kind, pod in seen if kind == "DELETED"]


def _owners_of_claims(site: Site) -> list[list[str]]:
    return [
        [owner.kind for owner in claim.metadata.owner_references or ()] for claim in site.claims().values()
    ]
