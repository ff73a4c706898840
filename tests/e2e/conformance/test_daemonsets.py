"""test/e2e/apps/daemon_set.go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ConflictException

from schemas.objects import Object
from tests.e2e.conformance.sites import Site, a_daemon_set, a_template, is_ready, revision_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COLOR = "daemonset-color"
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}


@pytest.fixture
def colors(site: Site) -> Iterator[Site]:
    """The site; the nodes have no colour before and after the test."""
    yield site
    for node in site.all_nodes():
        _color(site, node, None)


def _color(site: Site, node: str, color: str | None) -> None:
    site.core.patch_node(node, {"metadata": {"labels": {COLOR: color}}})


def _image(site: Site, tag: str, **fields: Any) -> Any:
    spec = {"template": {"spec": {"containers": [{"name": "webserver", "image": tag}]}}, **fields}
    return site.apps.patch_namespaced_daemon_set("ds", site.space, {"spec": spec})


def _uids(site: Site) -> dict[str, str]:
    """Return the uid of each node's pod."""
    return {pod.spec.node_name: pod.metadata.uid for pod in site.pods().values()}


def test_a_simple_daemon_runs_everywhere_and_a_pod_that_is_deleted_is_revived(site: Site) -> None:
    """should run and stop simple daemon [Conformance]."""
    site.create_daemon(a_daemon_set())
    site.wait_daemons()
    assert site.nodes_of_pods() == site.all_nodes()
    name, pod = next(iter(site.pods().items()))
    site.core.delete_namespaced_pod(name, site.space)
    site.wait(lambda: pod.metadata.uid not in _uids(site).values(), "the pod to go")
    site.wait_daemons()
    site.apps.delete_namespaced_daemon_set("ds", site.space, propagation_policy="Foreground")
    site.wait(lambda: not site.pods(), "the pods to go")


def _affinity(color: str) -> Object:
    terms = [{"matchExpressions": [{"key": COLOR, "operator": "In", "values": [color]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}}


def test_a_complex_daemon_follows_the_labels_of_nodes(colors: Site) -> None:
    """should run and stop complex daemon [Conformance]."""
    site, node = colors, colors.all_nodes()[0]
    site.create_daemon(a_daemon_set(template=a_template(nodeSelector={COLOR: "blue"})))
    site.wait(lambda: site.daemon().status.observed_generation == 1, "the set to be looked at")
    assert site.pods() == {}
    _color(site, node, "blue")
    site.wait_daemons(1)
    assert site.nodes_of_pods() == [node]
    _color(site, node, "green")
    site.wait(lambda: not site.pods(), "the pod to go")
    patch = {"spec": {"template": {"spec": {"nodeSelector": {COLOR: "green"}}}, "updateStrategy": ROLLING}}
    site.apps.patch_namespaced_daemon_set("ds", site.space, patch)
    site.wait_daemons(1)
    assert site.nodes_of_pods() == [node]


@pytest.mark.long
def test_a_complex_daemon_follows_its_node_affinity(colors: Site) -> None:
    """should run and stop complex daemon with node affinity."""
    site, node = colors, colors.all_nodes()[1]
    site.create_daemon(a_daemon_set(template=a_template(**_affinity("blue"))))
    site.wait(lambda: site.daemon().status.observed_generation == 1, "the set to be looked at")
    assert site.pods() == {}
    _color(site, node, "blue")
    site.wait_daemons(1)
    assert site.nodes_of_pods() == [node]
    _color(site, node, None)
    site.wait(lambda: not site.pods(), "the pod to go")


def test_a_failed_pod_is_created_again(site: Site) -> None:
    """should retry creating failed daemon pods [Conformance]."""
    site.create_daemon(a_daemon_set())
    site.wait_daemons()
    name, pod = next(iter(site.pods().items()))
    status = {"status": {"phase": "Failed"}}
    site.core.patch_namespaced_pod_status(name, site.space, status)
    site.wait(lambda: pod.metadata.uid not in _uids(site).values(), "the failed pod to go")
    site.wait_daemons()


def test_on_delete_leaves_pods_as_they_are(site: Site) -> None:
    """should not update pod when spec was updated and update strategy is OnDelete."""
    site.create_daemon(a_daemon_set(updateStrategy={"type": "OnDelete"}))
    site.wait_daemons()
    before, pods = _revision(site), _uids(site)
    _image(site, "web:2")
    site.wait(lambda: site.daemon().status.observed_generation == 2, "the update to be seen")
    after = _revision(site)
    assert before != after and [each.revision for each in _history(site)] == [1, 2]
    assert _uids(site) == pods
    assert {pod.spec.containers[0].image for pod in site.pods().values()} == {"web:1"}
    assert {revision_of(pod) for pod in site.pods().values()} == {before}


def test_a_rolling_update_replaces_every_pod(site: Site) -> None:
    """should update pod when spec was updated and update strategy is RollingUpdate [Conformance]."""
    site.create_daemon(a_daemon_set(updateStrategy=ROLLING))
    site.wait_daemons()
    before = _revision(site)
    _image(site, "web:2")
    site.wait_daemons()
    assert {pod.spec.containers[0].image for pod in site.pods().values()} == {"web:2"}
    after = _revision(site)
    assert after != before and {revision_of(pod) for pod in site.pods().values()} == {after}


def test_a_rollback_restarts_nothing_that_had_not_changed(site: Site) -> None:
    """should rollback without unnecessary restarts [Conformance]."""
    site.create_daemon(a_daemon_set(updateStrategy=ROLLING))
    site.wait_daemons()
    before = _uids(site)
    _image(site, site.broken)
    site.wait(lambda: site.broken in _images(site), "a pod of the new image")
    kept = {node: uid for node, uid in _uids(site).items() if before.get(node) == uid}
    assert len(kept) == 1
    _image(site, "web:1")
    site.wait_daemons()
    assert set(_images(site)) == {"web:1"}
    assert {node: uid for node, uid in _uids(site).items() if node in kept} == kept


@pytest.mark.long
def test_a_surge_makes_the_new_pod_before_the_old_one_goes(site: Site) -> None:
    """should surge pods onto nodes when spec was updated and update strategy is RollingUpdate."""
    surge = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    site.create_daemon(a_daemon_set(updateStrategy=surge, minReadySeconds=1))
    site.wait_daemons()
    since, nodes = site.version(), site.all_nodes()
    old = set(_uids(site).values())
    _image(site, "web:2")
    seen = site.follow(since, lambda seen: sum(kind == "DELETED" for kind, _ in seen) == len(nodes))
    assert _least_ready(seen, nodes) == 1
    site.wait_daemons()
    assert set(_images(site)) == {"web:2"} and not old & set(_uids(site).values())


def test_sets_are_listed_and_deleted_as_a_collection(site: Site) -> None:
    """should list and delete a collection of DaemonSets [Conformance]."""
    body = a_daemon_set("e2e")
    body["metadata"]["labels"] = {"e2e": "collection"}
    site.create_daemon(body)
    site.wait_daemons(name="e2e")
    found = site.apps.list_daemon_set_for_all_namespaces(label_selector="e2e=collection").items
    assert [each.metadata.name for each in found] == ["e2e"]
    site.apps.delete_collection_namespaced_daemon_set(site.space, label_selector="e2e=collection")
    site.wait(lambda: not site.apps.list_namespaced_daemon_set(site.space).items, "the collection to go")
    site.wait(lambda: not site.pods(), "the pods to go")


def test_the_status_is_read_updated_and_patched_by_its_own_path(site: Site) -> None:
    """should verify changes to a daemon set status [Conformance]."""
    site.create_daemon(a_daemon_set())
    site.wait_daemons()

    def update() -> Any:
        found = site.apps.read_namespaced_daemon_set_status("ds", site.space)
        condition = client.V1DaemonSetCondition(
            type="StatusUpdate", status="True", reason="E2E", message="Set from e2e test"
        )
        found.status.conditions = [condition]
        try:
            return site.apps.replace_namespaced_daemon_set_status("ds", site.space, found)
        except ConflictException:
            return None

    assert (
        site.wait(update, "an update without a conflict").status.conditions[0].message == "Set from e2e test"
    )
    patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
    found = site.apps.patch_namespaced_daemon_set_status("ds", site.space, patch)
    assert "StatusPatched" in [each.type for each in found.status.conditions]
    assert found.status.number_available == len(site.all_nodes())
    kept = site.daemon().status.conditions
    assert "StatusPatched" in [each.type for each in kept]


def _history(site: Site) -> list[Any]:
    found = site.apps.list_namespaced_controller_revision(site.space).items
    return sorted(found, key=lambda each: each.revision)


def _revision(site: Site) -> str:
    """Return the hash of the newest revision."""
    found: str = _history(site)[-1].metadata.labels["controller-revision-hash"]
    return found


def _images(site: Site) -> list[str]:
    return [pod.spec.containers[0].image for pod in site.pods().values()]


def _least_ready(seen: list[tuple[str, Any]], nodes: list[str]) -> int:
    """Return on how few pods a node was at any time of a watch that began with one Ready pod on each."""
    ready: dict[str, set[str]] = {node: {"the one before"} for node in nodes}
    least = 1
    for kind, pod in seen:
        node, uid = pod.spec.node_name, pod.metadata.uid
        if node is None:
            continue
        if kind == "ADDED" or pod.spec.containers[0].image == "web:2":
            (ready[node].add if is_ready(pod) else ready[node].discard)(uid)
        elif not is_ready(pod):
            ready[node].discard("the one before")
        least = min(least, len(ready[node]))
    return least
