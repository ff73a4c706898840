"""Claims on real nodes: refused where no disk holds them, grown, kept while used, and reclaimed as their class says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.event_types import condition_of
from schemas.objects import Object
from tests.e2e.clusters import Cluster, assert_nothing_left, assert_whole, temporary_cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.long]
GROW = '{"spec":{"resources":{"requests":{"storage":"2Mi"}}}}'


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes."""
    with temporary_cluster(nodes=2) as cluster:
        yield cluster
        assert_whole(cluster)
    assert_nothing_left(cluster)


def a_claim(name: str, size: str = "1Mi", **spec: Any) -> Object:
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": asked}


def a_pod(name: str, volume: Object) -> Object:
    """A pod that writes its name into a volume and stays."""
    container = {
        "name": "main",
        "image": "host",
        "command": ["sh", "-c", f"echo {name} >> $VOLUME_DATA/written; exec sleep 600"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "data", **volume}],
        "terminationGracePeriodSeconds": 1,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def uses(claim: str) -> Object:
    return {"persistentVolumeClaim": {"claimName": claim}}


def get(cluster: Cluster, resource: str, name: str) -> Object | None:
    return cluster.views.get(f"core/{resource}/{name}")


def claim_of(cluster: Cluster, name: str) -> Object:
    return get(cluster, "persistentvolumeclaims/default", name) or {"spec": {}, "status": {}}


def is_ready(cluster: Cluster, name: str) -> bool:
    pod = get(cluster, "pods/default", name)
    return pod is not None and condition_of(pod, "Ready") == "True"


def folder_of(cluster: Cluster, volume: str) -> Path:
    found = get(cluster, "persistentvolumes", volume)
    assert found is not None
    [term] = found["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    node = term["matchExpressions"][0]["values"][0]
    return cluster.data_dir / "nodes" / node / str(found["spec"]["local"]["path"])


def test_a_claim_for_more_than_any_disk_holds_is_refused_and_the_rest_goes_on(cluster: Cluster) -> None:
    cluster.apply(a_claim("huge", "900Ti"), a_pod("greedy", uses("huge")))

    def refusal() -> str:
        pod = get(cluster, "pods/default", "greedy") or {}
        conditions = (pod.get("status") or {}).get("conditions") or [{}]
        return str(conditions[0].get("message", ""))

    wait_for(refusal, "a reason")
    assert refusal() == "0/2 nodes are available: 2 node(s) did not have enough free storage."
    assert "node(s) did not have enough free storage" in cluster.run("describe", "pod", "greedy").out
    cluster.write("delete", "pod/greedy")
    cluster.write("delete", "pvc/huge")


def test_a_claim_is_of_the_default_class_grows_and_goes_with_its_data_when_its_pod_has_ended(
    cluster: Cluster,
) -> None:
    cluster.apply(a_claim("data"), a_pod("writer", uses("data")))
    wait_for(lambda: is_ready(cluster, "writer"), "the pod to be Ready")
    claim = claim_of(cluster, "data")
    assert claim["spec"]["storageClassName"] == "local"
    folder = folder_of(cluster, claim["spec"]["volumeName"])
    assert (folder / "written").read_text() == "writer\n"

    cluster.write("patch", "pvc/data", "-p", GROW)
    wait_for(lambda: claim_of(cluster, "data")["status"]["capacity"] == {"storage": "2Mi"}, "it to grow")

    cluster.write("delete", "pvc/data")
    assert "deletionTimestamp" in claim_of(cluster, "data")["metadata"]
    assert is_ready(cluster, "writer") and folder.exists()
    cluster.write("delete", "pod/writer")
    wait_for(lambda: not folder.exists(), "the data to be removed")
    wait_for(lambda: not get(cluster, "persistentvolumes", claim["spec"]["volumeName"]), "the volume to go")


def test_a_class_that_binds_at_once_and_retains(cluster: Cluster) -> None:
    kept = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "kept"},
        "provisioner": "chronoset.dev/local",
        "reclaimPolicy": "Retain",
    }
    waiting = a_claim("eager", storageClassName="kept")
    cluster.apply(waiting)
    wait_for(lambda: "not found" in cluster.run("get", "pvc").out, "the claim to say what it waits for")

    cluster.apply(kept)
    wait_for(lambda: claim_of(cluster, "eager")["status"]["phase"] == "Bound", "the claim to be bound")
    volume = str(claim_of(cluster, "eager")["spec"]["volumeName"])
    assert cluster.run("patch", "pvc/eager", "-p", GROW).code == 3
    cluster.write("delete", "sc/kept")
    cluster.write("delete", "pvc/eager")

    def phase() -> str:
        return str((get(cluster, "persistentvolumes", volume) or {}).get("status", {}).get("phase"))

    wait_for(lambda: phase() == "Released", "the volume to be released")
    cluster.write("delete", f"pv/{volume}")


def test_a_host_path_of_the_wrong_type_is_waited_for(cluster: Cluster) -> None:
    path = cluster.data_dir / "made-later"
    cluster.apply(a_pod("patient", {"hostPath": {"path": str(path), "type": "Directory"}}))
    wait_for(lambda: f"{path} is not a directory" in str(get(cluster, "pods/default", "patient")), "a reason")

    path.mkdir()

    wait_for(lambda: is_ready(cluster, "patient"), "the pod to be Ready")
    assert (path / "written").read_text() == "patient\n"
    cluster.write("delete", "pod/patient")
    wait_for(lambda: not get(cluster, "pods/default", "patient"), "the pod to go")
