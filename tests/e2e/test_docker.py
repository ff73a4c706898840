"""`chronoset up --runtime docker`: a StatefulSet of containers, from its first rollout to the end of its cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas.objects import Object
from services.agent.runtimes.docker.engines import DIRECTORY, connect_engine
from services.agent.runtimes.docker.labels import CONTAINER, NODE, PAUSE
from tests.dockerd import import_busybox
from tests.e2e.clusters import PATIENCE, Cluster, running_cluster, wait_for
from tests.e2e.test_terminals import Terminal

pytestmark = [pytest.mark.e2e, pytest.mark.server]

SERVE = """trap 'exit 0' TERM
echo $POD_NAME started >>/data/journal
httpd -p 8080 -h /data
while :; do sleep 0.1; done"""
MISSING = "127.0.0.1:1/busybox:none"
"""An image whose registry refuses connections."""


def a_web(replicas: int = 3) -> list[Object]:
    """A headless service `web` and its set, each pod with a volume that it serves by HTTP."""
    container = {
        "name": "web",
        "image": "busybox:1",
        "command": ["sh", "-c", SERVE],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/journal", "port": "http"}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    service = {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 8080}]}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service},
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "web"},
            "spec": {
                "serviceName": "web",
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
                },
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
            },
        },
    ]


@pytest.fixture
def client(docker_host: str) -> Iterator[Any]:
    client = connect_engine(docker_host)
    import_busybox(client, "busybox:1", "busybox:2")
    yield client
    client.close()


@pytest.fixture
def cluster(tmp_path: Path, client: Any, docker_host: str) -> Iterator[Cluster]:
    place = tmp_path / "data"
    with running_cluster(place, 2, "--runtime", "docker", DOCKER_HOST=docker_host) as cluster:
        yield cluster
    assert containers_of(client, place) == []
    assert client.networks(filters={"label": f"{DIRECTORY}={place}"}) == []


def containers_of(client: Any, place: Path) -> list[Any]:
    found = client.containers(all=True, filters={"label": NODE})
    return [each for each in found if each["Labels"][NODE].startswith(f"{place}/")]


def running_ids(client: Any, place: Path) -> set[str]:
    return {each["Id"] for each in containers_of(client, place) if each["State"] == "running"}


def set_image(cluster: Cluster, image: str, *arguments: str) -> None:
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]
    cluster.write("patch", "sts", "web", "--type", "json", "-p", json.dumps(patch), *arguments)


def container(cluster: Cluster, pod: str) -> Object:
    statuses = cluster.pods().get(pod, {}).get("status", {}).get("containerStatuses") or [{}]
    return dict(statuses[0])


def is_rolled_out(cluster: Cluster, image: str) -> bool:
    found = [container(cluster, f"web-{number}") for number in range(3)]
    return all(each.get("ready") and each.get("image") == image for each in found)


def in_pod(cluster: Cluster, pod: str, *words: str) -> str:
    ran = cluster.run("exec", pod, "--", *words)
    assert ran.code == 0, ran.err
    return ran.out


def test_containers_are_rolled_out_and_heal_from_an_image_that_is_not_there(
    cluster: Cluster, client: Any
) -> None:
    cluster.apply(*a_web())
    wait_for(lambda: is_rolled_out(cluster, "busybox:1"), "three containers to be ready")
    assert container(cluster, "web-0")["imageID"] == client.inspect_image("busybox:1")["Id"]
    set_image(cluster, "busybox:2")
    wait_for(lambda: is_rolled_out(cluster, "busybox:2"), "the second image to be rolled out")
    assert in_pod(cluster, "web-0", "cat", "/data/journal") == "web-0 started\n" * 2, "the volume is kept"
    kept = {name: container(cluster, name)["containerID"] for name in ("web-0", "web-1")}

    set_image(cluster, MISSING)
    reasons: set[str] = set()

    def has_seen_both() -> bool:
        state = container(cluster, "web-2").get("state") or {}
        reasons.add(state.get("waiting", {}).get("reason", ""))
        return {"ErrImagePull", "ImagePullBackOff"} <= reasons

    wait_for(has_seen_both, "ErrImagePull, then ImagePullBackOff")
    assert {name: container(cluster, name)["containerID"] for name in kept} == kept

    set_image(cluster, "busybox:2")
    wait_for(lambda: is_rolled_out(cluster, "busybox:2"), "the set to heal")
    assert {name: container(cluster, name)["containerID"] for name in kept} == kept


def test_pods_reach_one_another_by_name_and_people_reach_a_shell(cluster: Cluster) -> None:
    cluster.apply(*a_web(2))
    wait_for(lambda: container(cluster, "web-1").get("ready"), "two containers to be ready")
    address = cluster.pods()["web-1"]["status"]["podIP"]
    name = "web-1.web.default.svc.cluster.local"

    def is_known() -> bool:
        return address in cluster.run("exec", "web-0", "--", "nslookup", name).out

    wait_for(is_known, "the name server to know the pod")
    assert in_pod(cluster, "web-0", "wget", "-qO-", "http://web-1.web:8080/journal") == "web-1 started\n"
    assert cluster.run("exec", "web-0", "--", "nslookup", f"nosuch.{name}").code != 0
    terminal = Terminal(columns=91, lines=23)
    shell = terminal.run("exec", "-it", "web-0", "--", "sh", environ=cluster.environ)
    wait_for(lambda: terminal.shows("/ # "), "a shell")
    terminal.type("stty size; hostname; exit 3\n")
    wait_for(lambda: terminal.shows("23 91\r\nweb-0\r\n"), "the shell to answer")
    assert shell.wait(PATIENCE) == 3
    terminal.close()


def test_containers_outlive_their_agent_but_not_their_cluster_and_go_on_with_it(
    cluster: Cluster, client: Any
) -> None:
    cluster.apply(*a_web())
    wait_for(lambda: is_rolled_out(cluster, "busybox:1"), "three containers to be ready")
    before = running_ids(client, cluster.data_dir)
    os.kill(cluster.pid_of("agents"), signal.SIGKILL)
    wait_for(cluster.is_up, "the agents to be back")
    agents = (cluster.data_dir / "logs" / "agents.log").read_text
    wait_for(lambda: agents().count("adopted a pod") == 3, "the pods to be adopted")
    assert running_ids(client, cluster.data_dir) == before and len(before) == 6

    cluster.stop()
    assert running_ids(client, cluster.data_dir) == set()
    assert PAUSE not in {each["Labels"][CONTAINER] for each in containers_of(client, cluster.data_dir)}
    cluster.start_and_wait()
    wait_for(lambda: container(cluster, "web-2").get("restartCount") == 1, "the pods to go on as containers")
    wait_for(lambda: is_rolled_out(cluster, "busybox:1"), "three containers to be ready")
    assert cluster.run("logs", "web-0", "--previous").code == 0
    assert in_pod(cluster, "web-0", "cat", "/data/journal") == "web-0 started\n" * 2


def test_a_port_of_the_machine_is_refused_to_a_second_pod(cluster: Cluster) -> None:
    pods = a_web(1)
    pods[1]["spec"]["template"]["spec"]["containers"][0]["ports"][0]["hostPort"] = 18_080
    taken: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "second"},
        "spec": {"containers": pods[1]["spec"]["template"]["spec"]["containers"], "nodeName": "n2"},
    }
    taken["spec"]["containers"][0] = {**taken["spec"]["containers"][0], "volumeMounts": []}
    pods[1]["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "n1"}
    cluster.apply({**taken, "metadata": {"name": "first"}, "spec": {**taken["spec"], "nodeName": "n1"}})
    wait_for(lambda: container(cluster, "first").get("started"), "the first pod to have the port")
    cluster.apply(taken)
    wait_for(
        lambda: cluster.pods()["second"]["status"].get("reason") == "NodePorts", "the second to be refused"
    )
    assert cluster.pods()["second"]["status"]["phase"] == "Failed"


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "said"),
    [
        (["--runtime", "podman"], {}, 2, "--runtime: 'podman' is not known: write process or docker"),
        ([], {"CHRONOSET_RUNTIME": "vm"}, 2, "CHRONOSET_RUNTIME: 'vm' is not known"),
        (
            ["--runtime", "docker"],
            {"DOCKER_HOST": "unix:///nosuch/docker.sock"},
            4,
            "no Docker daemon answers at unix:///nosuch/docker.sock",
        ),
    ],
)
def test_a_runtime_that_cannot_be_had_is_refused_before_anything_starts(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], code: int, said: str
) -> None:
    cluster = Cluster(tmp_path / "data")
    ran = cluster.run("up", *arguments, **environ)
    assert said in ran.err and len(ran.err.strip().splitlines()) == 1
    assert ran.code == code and not (tmp_path / "data").exists()


@pytest.mark.long
def test_a_machine_that_has_joined_runs_containers_at_its_own_address(
    tmp_path: Path, client: Any, docker_host: str
) -> None:
    """Over the API only: names, logs and commands; the agent is killed and adopts; at its end nothing is left."""
    address = client.inspect_network("bridge")["IPAM"]["Config"][0]["Gateway"]
    plane, joined = tmp_path / "plane", tmp_path / "joined"
    with running_cluster(plane, 0, CHRONOSET_API_ADDRESS=address) as cluster:
        command = cluster.run("agent", "token", "create").out.split()[1:]
        options = ["--node-name", "d1", "--runtime", "docker", "--data-dir", str(joined)]
        environ = {**cluster.environ, "DOCKER_HOST": docker_host}
        with running_agent([*command, *options], environ, joined) as agent:
            cluster.apply(*a_web(2))
            wait_for(lambda: container(cluster, "web-0").get("ready"), "the first container to be ready")
            assert cluster.pods()["web-0"]["status"]["podIP"] == address
            wait_for(lambda: "free ports" in waits_for(cluster, "web-1"), "the second to wait for the port")
            where = "http://web-0.web.default.svc.cluster.local:8080/journal"
            assert in_pod(cluster, "web-0", "wget", "-qO-", where) == "web-0 started\n"
            before = running_ids(client, joined)
            agent.kill()
            agent.wait(PATIENCE)
        with running_agent(["agent", "join", *options], environ, joined):
            wait_for(lambda: "adopted a pod" in (joined / "log").read_text(), "the pod to be adopted")
            assert running_ids(client, joined) == before and len(before) == 2
            assert in_pod(cluster, "web-0", "hostname") == "web-0\n"
        assert running_ids(client, joined) == set()


def waits_for(cluster: Cluster, pod: str) -> str:
    conditions = cluster.pods().get(pod, {}).get("status", {}).get("conditions") or [{}]
    return next((each["message"] for each in conditions if each.get("reason") == "Unschedulable"), "")


@contextmanager
def running_agent(
    command: list[str], environ: Mapping[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent that joins; when the block ends, tell it to end, with its pods."""
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("ab") as log:
        agent = subprocess.Popen([sys.executable, "-m", "services.cli", *command], env=environ, stdout=log)
    try:
        yield agent
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(PATIENCE)
