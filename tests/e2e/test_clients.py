"""Kubernetes' Python clients against a real cluster: the official one, kr8s and kopf, each as its users use it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kopf
import kr8s
import pytest
import yaml
from kr8s.objects import ConfigMap, StatefulSet
from kubernetes import client, config, dynamic, watch
from kubernetes.client import ApiException
from kubernetes.client.exceptions import ConflictException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from schemas.kinds import EVENT, KINDS, Kind
from schemas.objects import split_key
from services.command_protocol import PLACE
from services.settings import API_FOLDER, KUBECONFIG
from tests.e2e.api_clients import api_client
from tests.e2e.clusters import PATIENCE, Cluster, a_set, temporary_cluster, wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Kubernetes version"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""What these libraries leave open or call by old names is not ours to mend."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with temporary_cluster(1) as cluster:
        wait_for((cluster.data_dir / KUBECONFIG).exists, "the kubeconfig")
        yield cluster


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    with api_client(str(cluster.data_dir / KUBECONFIG)) as found:
        yield found


@pytest.fixture
def space(request: pytest.FixtureRequest, api: client.ApiClient) -> str:
    """A namespace of the test's own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    client.CoreV1Api(api).create_namespace({"metadata": {"name": name}})
    return name


def scaled(apps: client.AppsV1Api, space: str, replicas: int) -> bool:
    """Scale the set as it is read; False where it has changed in between, as the client's users must expect."""
    scale = apps.read_namespaced_stateful_set_scale("db", space)
    scale.spec.replicas = replicas
    try:
        apps.replace_namespaced_stateful_set_scale("db", space, scale)
    except ConflictException:
        return False
    return True


def test_the_official_client_creates_watches_patches_and_deletes(api: client.ApiClient, space: str) -> None:
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    apps.create_namespaced_stateful_set(space, a_set(1))
    seen = []
    for event in watch.Watch().stream(apps.list_namespaced_stateful_set, space, timeout_seconds=40):
        seen.append(event["type"])
        if event["object"].status.ready_replicas == 1:
            break
    assert seen[0] == "ADDED" and "MODIFIED" in seen
    patched = apps.patch_namespaced_stateful_set("db", space, {"spec": {"replicas": 2}})
    assert patched.spec.replicas == 2 and patched.metadata.generation == 2
    wait_for(lambda: scaled(apps, space, 0), "a scale that no change of the status came between")
    assert apps.read_namespaced_stateful_set("db", space).spec.replicas == 0
    wait_for(lambda: not core.list_namespaced_pod(space).items, "the pods to go")
    apps.delete_namespaced_stateful_set("db", space, propagation_policy="Foreground")
    wait_for(lambda: not apps.list_namespaced_stateful_set(space).items, "the set to go")
    with pytest.raises(ApiException) as missing:
        apps.read_namespaced_stateful_set("db", space)
    assert missing.value.status == 404


def test_a_page_follows_a_page_until_there_is_none(api: client.ApiClient, space: str) -> None:
    core = client.CoreV1Api(api)
    for number in range(5):
        core.create_namespaced_config_map(space, {"metadata": {"name": f"m-{number}"}})
    names, token = [], None
    while token != "":
        page = core.list_namespaced_config_map(space, limit=2, _continue=token)
        names += [each.metadata.name for each in page.items]
        token = page.metadata._continue or ""
    assert names == ["kube-root-ca.crt", *(f"m-{number}" for number in range(5))]


def test_of_two_candidates_one_leads_and_the_other_follows_when_it_ends(
    cluster: Cluster, api: client.ApiClient, space: str
) -> None:
    config.load_kube_config(str(cluster.data_dir / KUBECONFIG))
    leases = client.CoordinationV1Api(api)
    ends = {name: threading.Event() for name in ("first", "second")}
    threads = {name: threading.Thread(target=_lead, args=(space, name, ends[name])) for name in ends}

    def leads(name: str) -> bool:
        found = leases.list_namespaced_lease(space).items
        return bool(found) and found[0].spec.holder_identity == name

    threads["first"].start()
    wait_for(lambda: leads("first"), "the first to lead")
    threads["second"].start()
    ends["first"].set()
    wait_for(lambda: leads("second"), "the second to lead")
    ends["second"].set()
    for thread in threads.values():
        thread.join(PATIENCE)
        assert not thread.is_alive()


def _lead(space: str, name: str, end: threading.Event) -> None:
    """Stand for election until the term is ended from outside."""

    def leading() -> None:
        end.wait()
        raise InterruptedError("this term is over")

    term = electionconfig.Config(
        LeaseLock("leader", space, name),
        lease_duration=3,
        renew_deadline=2,
        retry_period=1,
        onstarted_leading=leading,
        onstopped_leading=lambda: None,
    )
    leaderelection.LeaderElection(term).run()


def _snake(word: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word).lower()


def _api_of(kind: Kind, api: client.ApiClient) -> Any:
    """Return the typed API of a kind: AppsV1Api, RbacAuthorizationV1Api, CoreV1Api."""
    group = kind.group.removesuffix(".k8s.io") or "core"
    words = "".join(part.capitalize() for part in group.split("."))
    return getattr(client, f"{words}{kind.version.capitalize()}Api")(api)


def _objects_of(kind: Kind, api: client.ApiClient) -> list[Any]:
    everywhere = "_for_all_namespaces" if kind.namespaced else ""
    found: list[Any] = getattr(_api_of(kind, api), f"list_{_snake(kind.kind)}{everywhere}")().items
    return found


def _put(kind: Kind, api: client.ApiClient, obj: Any) -> Any:
    name, namespace = obj.metadata.name, obj.metadata.namespace
    if kind.namespaced:
        return getattr(_api_of(kind, api), f"replace_namespaced_{_snake(kind.kind)}")(name, namespace, obj)
    return getattr(_api_of(kind, api), f"replace_{_snake(kind.kind)}")(name, obj)


def _one_of_each(space: str) -> list[dict[str, Any]]:
    """One object of each kind that a new cluster has none of, with the fields in which clients differ."""
    seen = "2026-11-23T02:17:59.123456Z"
    subject = {"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    selector = {"matchLabels": {"app": "ds"}}
    pod = {
        "metadata": {"labels": {"app": "ds"}},
        "spec": {"containers": [{"name": "main", "image": "idle:1"}]},
    }
    return [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"selector": selector, "template": pod}},
        {"apiVersion": "v1", "kind": "Secret", "data": {"a": "AAE="}},
        {"apiVersion": "v1", "kind": "ConfigMap", "binaryData": {"a": "AAE="}, "data": {"b": ""}},
        {
            "apiVersion": "v1",
            "kind": "Event",
            "involvedObject": {"kind": "Pod", "name": "db-0", "namespace": space},
            "firstTimestamp": "2026-11-23T02:17:59Z",
            "eventTime": seen,
            "reason": "Seen",
            "action": "Looked",
            "reportingComponent": "test.dev/t",
            "reportingInstance": "t",
            "type": "Normal",
        },
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "spec": {"holderIdentity": "me", "renewTime": seen},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}],
            "ports": [{"port": 80}],
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "spec": {"minAvailable": "50%", "selector": selector},
        },
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "roleRef": role,
            "subjects": [subject],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "roleRef": {**role, "kind": "ClusterRole"},
            "subjects": [subject],
        },
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": rules},
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 0},
    ]


def test_what_was_read_can_be_written_back_and_nothing_changes(api: client.ApiClient, space: str) -> None:
    client.AppsV1Api(api).create_namespaced_stateful_set(space, a_set(1))
    client.AppsV1Api(api).create_namespaced_stateful_set(space, {**a_set(0), "metadata": {"name": "none"}})
    anything = dynamic.DynamicClient(api)
    for obj in _one_of_each(space):
        resource = anything.resources.get(api_version=obj["apiVersion"], kind=obj["kind"])
        resource.create(
            {**obj, "metadata": {"name": "one"}}, namespace=space if resource.namespaced else None
        )
    wait_for(
        lambda: client.AppsV1Api(api).read_namespaced_stateful_set("db", space).status.ready_replicas,
        "the set to be ready",
    )
    changed, tried = [], set()
    for kind in KINDS:
        for obj in _objects_of(kind, api):
            if kind is EVENT and obj.metadata.name != "one":
                continue  # derived from the log: to write it is to create it
            tried.add(kind.kind)
            written = _put_unmoved(kind, api, obj)
            if written is not None and written.metadata.resource_version != obj.metadata.resource_version:
                changed.append((kind.kind, _differences(obj.to_dict(), written.to_dict())))
    assert not changed, "\n".join(map(str, changed))
    assert {kind.kind for kind in KINDS} - tried == set()


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Return the paths at which two objects differ, with what is there."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [f"{where}: {old} -> {new}"] if old != new and where != ".metadata.resource_version" else []
    return [
        each
        for name in old.keys() | new.keys()
        for each in _differences(old.get(name), new.get(name), f"{where}.{name}")
    ]


def _put_unmoved(kind: Kind, api: client.ApiClient, obj: Any) -> Any:
    """Write an object back. None where somebody else has changed it since it was read."""
    try:
        return _put(kind, api, obj)
    except ApiException as refused:
        if refused.status != 409:
            raise AssertionError(f"{kind.kind} {obj.metadata.name}: {refused.body}") from refused
        return None


def _refreshed(obj: Any) -> Any:
    obj.refresh()
    return obj


def test_kr8s_creates_scales_watches_and_deletes(cluster: Cluster, space: str) -> None:
    api = kr8s.api(kubeconfig=str(cluster.data_dir / KUBECONFIG))
    found = StatefulSet({**a_set(1), "metadata": {"name": "db", "namespace": space}}, api=api)
    found.create()
    wait_for(lambda: _refreshed(found).status.get("readyReplicas") == 1, "the set to be ready")
    found.scale(2)
    found.patch({"metadata": {"labels": {"by": "kr8s"}}})
    assert [
        each.name for each in api.get("statefulsets", namespace=space, label_selector={"by": "kr8s"})
    ] == ["db"]
    settings = ConfigMap({"metadata": {"name": "cm", "namespace": space}, "data": {"a": "1"}}, api=api)
    settings.create()
    for event, obj in api.watch("configmaps", namespace=space):
        if obj.name == "cm":
            assert event == "ADDED"
            break
    settings.delete()
    found.delete()
    wait_for(lambda: not found.exists(), "the set to go")


@contextmanager
def _running(registry: kopf.OperatorRegistry, cluster: Cluster, space: str) -> Iterator[None]:
    """Run an operator in a thread, for one namespace."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    stop = threading.Event()

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> Any:
        return _credentials(cluster)

    operator = kopf.operator(
        registry=registry, settings=settings, namespaces=[space], standalone=True, stop_flag=stop
    )
    thread = threading.Thread(target=lambda: asyncio.run(operator), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def _credentials(cluster: Cluster) -> kopf.ConnectionInfo:
    found = yaml.safe_load((cluster.data_dir / KUBECONFIG).read_text())
    server, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
    return kopf.ConnectionInfo(
        server=server["server"],
        ca_data=server["certificate-authority-data"],
        token=user.get("token"),
        certificate_data=user.get("client-certificate-data"),
        private_key_data=user.get("client-key-data"),
    )


def test_a_kopf_operator_reacts_to_a_set(cluster: Cluster, api: client.ApiClient, space: str) -> None:
    registry, told = kopf.OperatorRegistry(), []

    @kopf.on.create("apps", "v1", "statefulsets", registry=registry)
    def created(name: str, patch: kopf.Patch, **_: Any) -> None:
        told.append(("create", name))
        patch.metadata.labels["seen"] = "yes"

    @kopf.on.update("apps", "v1", "statefulsets", field="spec.replicas", registry=registry)
    def scaled(name: str, old: int, new: int, **_: Any) -> None:
        told.append(("scale", name, old, new))

    @kopf.on.delete("apps", "v1", "statefulsets", registry=registry)
    def deleted(name: str, **_: Any) -> None:
        told.append(("delete", name))

    apps = client.AppsV1Api(api)
    with _running(registry, cluster, space):
        apps.create_namespaced_stateful_set(space, a_set(0))
        labels = lambda: apps.read_namespaced_stateful_set("db", space).metadata.labels  # noqa: E731
        wait_for(lambda: (labels() or {}).get("seen") == "yes", "the operator's label")
        apps.patch_namespaced_stateful_set("db", space, {"spec": {"replicas": 1}})
        wait_for(lambda: ("scale", "db", 0, 1) in told, "the scaling to be told")
        apps.delete_namespaced_stateful_set("db", space)
        wait_for(lambda: ("delete", "db") in told, "the deletion to be told")
        wait_for(lambda: not apps.list_namespaced_stateful_set(space).items, "the finalizer to go")
    assert told == [("create", "db"), ("scale", "db", 0, 1), ("delete", "db")]


def test_the_command_line_writes_over_the_api_as_whom_the_api_knows(cluster: Cluster, space: str) -> None:
    made = a_set(0)
    made["metadata"]["namespace"] = space
    applied = cluster.run("apply", "-f", "-", "--actor", "alice", text=json.dumps(made))
    assert "user:alice (user:admin)" in applied.out and applied.err == "", applied.err
    scale = ("scale", "sts/db", "--replicas", "1", "-n", space)
    done = cluster.run(*scale, "--actor", "alice", "--command-id", "scale-1", "-o", "json")
    told = cluster.run("replay", "log", "--actor", "alice", "--namespace", space, "-o", "json")
    lines = map(json.loads, told.out.splitlines())
    (event,) = [each for each in lines if each["command"] == "scale-1"]
    assert (event["actor"], event["authenticated"], event["claim"]) == ("user:admin", "cert", "user:alice")
    assert (event["address"], event["groups"][0]) == ("127.0.0.1", "system:masters")
    assert event["agent"].startswith("chronoset/1 (")
    again = cluster.run("--direct", *scale, "--command-id", "scale-1", "-o", "json")
    assert (json.loads(again.out)["position"], json.loads(again.out)["repeated"]) == (
        json.loads(done.out)["position"],
        True,
    )


def test_whom_a_kubeconfig_names_may_what_his_role_says_and_nothing_by_the_log(
    cluster: Cluster, space: str, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(cluster.run("kubeconfig", "--user", "vera", "--role", "view").out)
    space_patch = ("patch", "ns", space, "-p", '{"metadata":{"labels":{"by":"vera"}}}')
    before = cluster.log.last()
    refused = cluster.run(*space_patch, CHRONOSET_KUBECONFIG=str(kubeconfig))
    assert refused.code == 3
    assert refused.err == (
        f'error: namespaces "{space}" is forbidden: User "vera" cannot patch resource "namespaces" in API group "" '
        f'in the namespace "{space}"\n'
    )
    assert space not in {split_key(each.key)[2] for each in cluster.log.read(before, 100)}
    cluster.run("kubeconfig", "--user", "vera", "--revoke")
    stranger = cluster.run(*space_patch, CHRONOSET_KUBECONFIG=str(kubeconfig))
    assert (stranger.code, stranger.err) == (3, "error: Unauthorized\n")


def test_while_the_api_is_away_the_log_is_written_and_what_was_carried_out_is_known(
    cluster: Cluster, space: str
) -> None:
    assert cluster.up is not None
    supervisor, api = cluster.up.pid, cluster.pid_of("api")
    scale = (
        "patch",
        "ns",
        space,
        "-p",
        '{"metadata":{"labels":{"by":"alice"}}}',
        "--command-id",
        f"{space}-1",
    )
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(api, signal.SIGKILL)
        directly = cluster.run(*scale, "-o", "json")
    finally:
        os.kill(supervisor, signal.SIGCONT)
    assert "does not answer" in directly.err and directly.err.endswith("the log was written directly\n")
    first = json.loads(directly.out)
    assert first["events"][0]["actor"].startswith("socket:")
    wait_for((cluster.data_dir / API_FOLDER / PLACE).exists, "the place of the API")
    again = cluster.run(*scale, "-o", "json")
    assert (json.loads(again.out)["position"], json.loads(again.out)["repeated"]) == (first["position"], True)
