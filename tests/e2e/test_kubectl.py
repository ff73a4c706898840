"""Real kubectl, of every version on the machine, against a real cluster: what people have in their fingers works."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml

from services.settings import KUBECONFIG
from tests.e2e.clusters import Cluster, a_set, temporary_cluster, wait_for
from tests.e2e.kubectl.programs import VERSIONS, kubectl_of

pytestmark = [pytest.mark.e2e, pytest.mark.server]

ALWAYS = (VERSIONS[0], VERSIONS[-1])
"""The versions of every run; those between are long."""


@dataclass(frozen=True)
class Kubectl:
    """One kubectl and the cluster it talks to, each version in a namespace of its own."""

    program: str
    cluster: Cluster
    namespace: str
    config: str = KUBECONFIG

    @property
    def environ(self) -> dict[str, str]:
        cache = self.cluster.data_dir / f"cache-{self.namespace}"
        return {
            **os.environ,
            "KUBECONFIG": str(self.cluster.data_dir / self.config),
            "KUBECACHEDIR": str(cache),
            "HOME": str(cache),
        }

    def __call__(self, *arguments: str, text: str | None = None, code: int = 0) -> str:
        """Run it and return what it says. Fails unless it ends with `code`."""
        ran = subprocess.run(
            [self.program, "-n", self.namespace, *arguments],
            input=text,
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=60,
            check=False,
        )
        assert ran.returncode == code, f"{arguments}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout + ran.stderr

    def as_user(self, user: str, *options: str) -> Kubectl:
        """Return the same kubectl with a kubeconfig of a user's own."""
        ran = self.cluster.run("kubeconfig", "--user", user, *options)
        assert ran.code == 0, ran.err
        config = f"{user.replace(':', '-')}-{self.namespace}.kubeconfig"
        (self.cluster.data_dir / config).write_text(ran.out)
        return replace(self, config=config)

    def at(self, moment: str) -> Kubectl:
        """Return the same kubectl with a kubeconfig of a moment of the past."""
        ran = self.cluster.run("kubeconfig", "--at", moment)
        assert ran.code == 0, ran.err
        config = f"at-{moment}-{self.namespace}.kubeconfig"
        (self.cluster.data_dir / config).write_text(ran.out)
        return replace(self, config=config)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with temporary_cluster(1) as cluster:
        wait_for((cluster.data_dir / KUBECONFIG).exists, "the kubeconfig")
        yield cluster


@pytest.fixture(
    scope="module",
    params=[
        version if version in ALWAYS else pytest.param(version, marks=pytest.mark.long)
        for version in VERSIONS
    ],
)
def kubectl(request: pytest.FixtureRequest, cluster: Cluster) -> Kubectl:
    program = kubectl_of(request.param)
    if program is None:
        pytest.skip(f"there is no kubectl {request.param} on this machine, so nothing is known about it")
    namespace = f"k{request.param.replace('.', '-')}"
    found = Kubectl(program, cluster, namespace)
    found(
        "apply",
        "-f",
        "-",
        text=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
    )
    return found


def a_manifest(replicas: int = 2, tag: str = "1") -> str:
    """The StatefulSet `db`, ending quickly."""
    return json.dumps(a_set(replicas, tag))


def test_a_set_is_applied_scaled_patched_rolled_back_and_deleted(kubectl: Kubectl) -> None:
    assert "statefulset.apps/db created" in kubectl("apply", "-f", "-", text=a_manifest())
    kubectl("apply", "-f", "-", text=a_manifest())
    assert kubectl.json("get", "sts", "db")["metadata"]["generation"] == 1
    kubectl("rollout", "status", "sts/db", "--timeout=50s")
    table = kubectl("get", "pods", "-o", "wide")
    assert table.split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert "db-0" in table and "Running" in table

    assert "db scaled" in kubectl("scale", "sts/db", "--replicas=1")
    assert "db patched" in kubectl(
        "patch", "sts", "db", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":2}]'
    )
    kubectl("patch", "sts", "db", "--type=merge", "-p", '{"metadata":{"labels":{"by":"merge"}}}')
    image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "idle:2"}]}}}}
    kubectl("patch", "sts", "db", "-p", json.dumps(image))
    kubectl("rollout", "status", "sts/db", "--timeout=50s")
    found = kubectl.json("get", "sts", "db")
    assert found["spec"]["replicas"] == 2 and found["metadata"]["labels"] == {"by": "merge"}
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["volumeMounts"][0]["name"]) == ("idle:2", "data")

    assert "rolled back" in kubectl("rollout", "undo", "sts/db")
    kubectl("rollout", "status", "sts/db", "--timeout=50s")
    images = kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}")
    assert set(images.split()) == {"idle:1"}

    assert 'statefulset.apps "db" deleted' in kubectl("delete", "sts", "db", "--timeout=50s")
    assert "not found" in kubectl("get", "sts", "db", code=1)
    wait_for(lambda: "No resources" in kubectl("get", "pods"), "the pods to go")


def test_what_is_wrong_is_said_as_on_kubernetes(kubectl: Kubectl) -> None:
    wrong = a_set(-1)
    said = kubectl("apply", "-f", "-", text=json.dumps(wrong), code=1)
    assert 'The StatefulSet "db" is invalid: spec.replicas: Invalid value: -1' in said
    said = kubectl("get", "pod", "nobody", code=1)
    assert 'Error from server (NotFound): pods "nobody" not found' in said
    unknown = a_set(1)
    unknown["spec"]["replcas"] = 1
    said = kubectl("apply", "-f", "-", text=json.dumps(unknown), code=1)
    assert 'strict decoding error: unknown field "spec.replcas"' in said
    deployment = json.dumps({**a_set(1), "kind": "Deployment"})
    said = kubectl("create", "--validate=false", "-f", "-", text=deployment, code=1)
    assert "make it a StatefulSet" in said


def test_a_watch_shows_rows_as_they_change(kubectl: Kubectl) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seen"}, "data": {"a": "1"}}
    with subprocess.Popen(
        [kubectl.program, "-n", kubectl.namespace, "get", "cm", "-w", "-o", "name"],
        stdout=subprocess.PIPE,
        text=True,
        env=kubectl.environ,
    ) as watching:
        try:
            deadline = time.monotonic() + 30
            kubectl("apply", "-f", "-", text=json.dumps(manifest))
            assert watching.stdout is not None
            for line in watching.stdout:
                if line.strip() == "configmap/seen":
                    break
                assert time.monotonic() < deadline
        finally:
            watching.terminate()
    kubectl("delete", "cm", "seen")


def test_the_slices_of_a_service_say_where_its_pods_are(kubectl: Kubectl) -> None:
    spec = {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 80}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"}, "spec": spec}
    kubectl("apply", "-f", "-", text=json.dumps(service))
    kubectl("apply", "-f", "-", text=a_manifest())
    kubectl("rollout", "status", "sts/db", "--timeout=50s")

    def ready() -> list[str]:
        (found,) = kubectl.json("get", "endpointslices", "-l", "kubernetes.io/service-name=db")["items"]
        endpoints = found.get("endpoints", [])
        return [address for each in endpoints if each["conditions"]["ready"] for address in each["addresses"]]

    addresses = kubectl("get", "pods", "-l", "app=db", "-o", "jsonpath={.items[*].status.podIP}").split()
    wait_for(lambda: ready() == addresses, "the slice to say where the pods are")
    kubectl("delete", "sts", "db", "--timeout=50s")
    wait_for(lambda: ready() == [], "the slice to be empty")
    kubectl("delete", "svc", "db")
    wait_for(lambda: "No resources" in kubectl("get", "endpointslices"), "the slice to go with its Service")


def test_objects_are_edited_labelled_and_selected(kubectl: Kubectl) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"a": "1"}}
    kubectl("apply", "-f", "-", text=json.dumps(manifest))
    kubectl("label", "cm", "cm", "tier=one")
    kubectl("annotate", "cm", "cm", "note=two")
    assert kubectl("get", "cm", "-l", "tier=one", "-o", "name").split() == ["configmap/cm"]
    assert kubectl("get", "cm", "-l", "tier=two", "-o", "name").split() == []
    assert kubectl("get", "cm", "--field-selector", "metadata.name=cm", "-o", "name").split() == [
        "configmap/cm"
    ]
    edited = kubectl.json("get", "cm", "cm")
    edited["data"]["a"] = "3"
    assert "configmap/cm replaced" in kubectl("replace", "-f", "-", text=json.dumps(edited))
    assert "Conflict" in kubectl("replace", "-f", "-", text=json.dumps(edited), code=1)
    assert kubectl("get", "cm", "cm", "-o", "jsonpath={.data.a}") == "3"
    assert "deleted" in kubectl("delete", "cm", "--all")


def test_the_kubeconfig_is_for_its_owner_alone_and_chronoset_prints_it(cluster: Cluster) -> None:
    path = cluster.data_dir / KUBECONFIG
    assert path.stat().st_mode & 0o777 == 0o600
    ran = cluster.run("kubeconfig")
    assert (ran.code, ran.out) == (0, path.read_text())


def test_without_the_token_nobody_comes_in(cluster: Cluster) -> None:
    config = yaml.safe_load((cluster.data_dir / KUBECONFIG).read_text())
    context = ssl.create_default_context(cafile=str(cluster.data_dir / "api" / "ca.crt"))
    request = urllib.request.Request(config["clusters"][0]["cluster"]["server"] + "/api/v1/pods")
    request.add_header("Authorization", "Bearer guess")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, context=context)
    assert refused.value.code == 401
    assert json.loads(refused.value.read())["reason"] == "Unauthorized"
    refused.value.close()


def test_a_user_may_what_his_role_says_where_it_is_bound(kubectl: Kubectl) -> None:
    user = f"bob-{kubectl.namespace}"
    bob = kubectl.as_user(user, "--role", "view", "-n", kubectl.namespace, "--duration", "1h")
    assert "kube-root-ca.crt" in bob("get", "cm")
    assert (
        f'Error from server (Forbidden): configmaps "kube-root-ca.crt" is forbidden: User "{user}" cannot delete '
        f'resource "configmaps" in API group "" in the namespace "{kubectl.namespace}"'
    ) in bob("delete", "cm", "kube-root-ca.crt", code=1)
    assert f'pods is forbidden: User "{user}" cannot list resource "pods"' in bob("get", "pods", "-A", code=1)
    assert "configmap/kube-root-ca.crt" in kubectl("get", "cm", "-o", "name", "--as", user)
    assert "nodes is forbidden" in kubectl("get", "nodes", "--as", user, code=1)

    assert kubectl.cluster.run("kubeconfig", "--user", user, "--revoke").code == 0
    wait_for(lambda: _is_refused(bob), "the token to be taken back")


def _is_refused(kubectl: Kubectl) -> bool:
    ran = subprocess.run(
        [kubectl.program, "get", "cm"], capture_output=True, text=True, env=kubectl.environ, check=False
    )
    return "You must be logged in to the server" in ran.stderr


def test_one_learns_who_one_is_and_what_one_may(kubectl: Kubectl) -> None:
    zoe = kubectl.as_user(f"zoe-{kubectl.namespace}", "--role", "edit", "-n", kubectl.namespace)
    assert f"zoe-{kubectl.namespace}" in zoe("auth", "whoami")
    assert zoe("auth", "can-i", "create", "pods").strip() == "yes"
    assert zoe("auth", "can-i", "create", "rolebindings", code=1).strip() == "no"
    assert "statefulsets.apps" in zoe("auth", "can-i", "--list")
    assert kubectl("auth", "can-i", "*", "*").strip() == "yes"


def test_a_node_reaches_its_own_and_nothing_else(kubectl: Kubectl) -> None:
    node = kubectl.as_user("system:node:n1")
    assert "n1" in node("get", "node", "n1")
    assert "can only list/watch pods with spec.nodeName" in node("get", "pods", "-A", code=1)
    node("get", "pods", "-A", "--field-selector", "spec.nodeName=n1")
    assert "No Object name found" in node("get", "secrets", "-n", "kube-system", code=1)
    assert 'node "n1" is not allowed to modify taints' in node(
        "taint", "node", "n1", "a=b:NoSchedule", code=1
    )
    node("label", "node", "n1", f"site/{kubectl.namespace}=x")
    assert "is not allowed to modify labels" in node(
        "label", "node", "n1", "node-role.kubernetes.io/x=", code=1
    )


def test_every_namespace_has_an_account_and_what_to_trust(kubectl: Kubectl) -> None:
    wait_for(lambda: "default" in kubectl("get", "sa", "-o", "name"), "the service account")
    wait_for(lambda: "kube-root-ca.crt" in kubectl("get", "cm", "-o", "name"), "the root certificate")
    before = kubectl.json("get", "cm", "kube-root-ca.crt")
    authority = (kubectl.cluster.data_dir / "api" / "ca.crt").read_text()
    assert before["data"]["ca.crt"] == authority
    kubectl("delete", "cm", "kube-root-ca.crt")
    wait_for(lambda: "kube-root-ca.crt" in kubectl("get", "cm", "-o", "name"), "the root certificate again")
    assert kubectl.json("get", "cm", "kube-root-ca.crt")["metadata"]["uid"] != before["metadata"]["uid"]
    assert "may not be deleted" in kubectl("delete", "ns", "kube-system", code=1)


def test_a_pod_is_completed_as_on_kubernetes(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=a_manifest(replicas=1))
    wait_for(lambda: "db-0" in kubectl("get", "pods", "-o", "name"), "the pod")
    spec = kubectl.json("get", "pod", "db-0")["spec"]
    assert (spec["serviceAccountName"], spec["priority"]) == ("default", 0)
    assert [each["tolerationSeconds"] for each in spec["tolerations"]] == [300, 300]
    kubectl("delete", "sts", "db", "--timeout=50s")


def test_a_server_of_another_authority_is_not_believed(kubectl: Kubectl) -> None:
    from services.api.identity.authorities import authority_in

    other = authority_in(kubectl.cluster.data_dir / "other", time.time_ns() // 1_000_000)
    config = yaml.safe_load((kubectl.cluster.data_dir / KUBECONFIG).read_text())
    encoded = base64.b64encode(other.pem).decode()
    config["clusters"][0]["cluster"]["certificate-authority-data"] = encoded
    (kubectl.cluster.data_dir / "wrong.kubeconfig").write_text(yaml.safe_dump(config))
    said = replace(kubectl, config="wrong.kubeconfig")("get", "pods", code=1)
    assert "certificate signed by unknown authority" in said


def test_the_past_is_browsed_as_the_present_and_tells_what_happened(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=json.dumps(a_set(1)))
    kubectl("rollout", "status", "sts/db", "--timeout=50s")
    before = kubectl.json("get", "pod", "db-0")["metadata"]["resourceVersion"]
    image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "idle:2"}]}}}}
    kubectl("patch", "sts", "db", "-p", json.dumps(image))
    kubectl("rollout", "status", "sts/db", "--timeout=50s")

    described = kubectl("describe", "sts", "db")
    assert "create Pod db-0 in StatefulSet db successful" in described
    assert "delete Pod db-0 in StatefulSet db successful" in described
    assert "Pod template changed by user:" in described and "Rolling update to db-" in described
    described = kubectl("describe", "pod", "db-0")
    assert f"Successfully assigned {kubectl.namespace}/db-0 to n1" in described
    assert 'Container image "idle:2" already present on machine' in described
    assert "RegisteredNode" in kubectl("describe", "node", "n1")
    events = kubectl("get", "events", "--field-selector", "involvedObject.name=db-0,reason=Killing")
    assert "Stopping container main" in events

    past = kubectl.at(before)
    assert past("get", "sts", "db", "-o", "jsonpath={..image}") == "idle:1"
    assert past("get", "pods", "-o", "wide").split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert len(past("get", "controllerrevisions", "-l", "app=db", "-o", "name").split()) == 1
    assert past("rollout", "history", "sts/db").split()[-2:] == ["1", "<none>"]
    described = past("describe", "pod", "db-0")
    assert "idle:1" in described and "Scheduled" in described and "Killing" not in described
    assert "the past cannot be changed" in past("delete", "sts", "db", code=1)
    assert "the past cannot be changed" in past("scale", "sts/db", "--replicas=9", code=1)
    server = yaml.safe_load((kubectl.cluster.data_dir / KUBECONFIG).read_text())["clusters"][0]["cluster"][
        "server"
    ]
    later = kubectl("--server", f"{server}/at/2999-01-01T00:00:00Z", "get", "pods", code=1)
    assert "this is in the future" in later
    kubectl("delete", "sts", "db", "--timeout=50s")
    assert past("get", "pods", "-o", "name") == "pod/db-0\n"


def test_a_command_runs_over_a_websocket_and_older_versions_are_told(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=json.dumps(a_set(1)))
    kubectl("rollout", "status", "sts/db", "--timeout=50s")
    is_old = "1." in kubectl.program and int(kubectl.program.rpartition(".")[2]) < 30
    words = ("exec", "-i", "db-0", "--", "sh", "-c", "cat; exit 7")
    said = kubectl(*words, text="through\n", code=1 if is_old else 7)
    assert ("use kubectl 1.30" if is_old else "through") in said
    assert "port-forward is not served here" in kubectl("port-forward", "db-0", "18080:80", code=1)
    assert "container x is not valid for pod db-0" in kubectl("exec", "db-0", "-c", "x", "--", "ls", code=1)
    kubectl("delete", "sts", "db", "--timeout=50s")
