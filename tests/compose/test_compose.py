"""compose.yaml and the Dockerfile as their users have them: on a Docker daemon, with every container killed once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose.clusters import SERVICE, Composed, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.compose]
WORKERS = 4
SERVICES = [
    *("agent-1", "agent-2", "agent-3", "api", "dispatcher", "historian", "log", "projector", "queue"),
    *["worker"] * WORKERS,
]
SETS = "/apis/apps/v1/namespaces/default/statefulsets"
PODS = "/api/v1/namespaces/default/pods"
GREETER = Path(__file__).parents[2] / "examples" / "greeter.yaml"


@pytest.fixture(scope="module")
def cluster(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    composed = Composed(tmp_path_factory.mktemp("clone"), docker_host)
    try:
        composed.build()
        composed("up", "-d", "--no-build", "--scale", f"worker={WORKERS}")
        yield composed
    finally:
        composed.down()


@pytest.fixture(scope="module")
def api(cluster: Composed) -> Iterator[httpx.Client]:
    wait_for("the API has written its kubeconfig", lambda: _has_kubeconfig(cluster))
    with cluster.api() as client:
        yield client


def _has_kubeconfig(cluster: Composed) -> bool:
    try:
        return bool(cluster.chronoset("kubeconfig"))
    except AssertionError:
        return False


def ready_nodes(api: httpx.Client) -> list[str]:
    nodes = api.get("/api/v1/nodes").json()["items"]
    ready = {"type": "Ready", "status": "True"}
    return [
        node["metadata"]["name"]
        for node in nodes
        if any(ready.items() <= each.items() for each in node["status"]["conditions"])
    ]


def versions(api: httpx.Client) -> dict[str, str]:
    """Return the version that each Ready pod of the set has."""
    pods = api.get(PODS, params={"labelSelector": "app=greeter"}).json()["items"]
    return {
        pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"].partition(":")[2]
        for pod in pods
        if any(
            each["type"] == "Ready" and each["status"] == "True"
            for each in pod["status"].get("conditions", ())
        )
    }


def is_rolled_out(api: httpx.Client, version: str) -> bool:
    found = api.get(f"{SETS}/greeter").json()
    status = found["status"]
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("updatedReplicas") == status.get("readyReplicas") == found["spec"]["replicas"]
        and set(versions(api).values()) == {version}
    )


def roll_out(api: httpx.Client, version: str) -> bool:
    """Ask for a version, until the API has answered; harmless where it was asked for already."""
    container = {"name": "greeter", "image": f"greeter:{version}"}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    answer = api.patch(
        f"{SETS}/greeter", json=patch, headers={"Content-Type": "application/strategic-merge-patch+json"}
    )
    return answer.status_code == 200


def test_every_container_is_healthy_without_root_and_on_a_disk_that_is_read_only(
    cluster: Composed, api: httpx.Client
) -> None:
    assert wait_for("all nodes are Ready", lambda: sorted(ready_nodes(api)) == ["n1", "n2", "n3"])

    def healthy() -> bool:
        return all(each["State"]["Health"]["Status"] == "healthy" for each in cluster.containers())

    wait_for("every container is healthy", healthy)
    containers = cluster.containers()
    assert [each["Config"]["Labels"][SERVICE] for each in containers] == SERVICES
    assert all(each["HostConfig"]["ReadonlyRootfs"] for each in containers)
    assert cluster("exec", "-T", "worker", "id", "-u").strip() == "10001"
    assert cluster("exec", "-T", "log", "id", "-u").strip() == "999"


def test_a_stateful_set_is_applied_and_runs(cluster: Composed, api: httpx.Client) -> None:
    cluster.chronoset("apply", "-f", "-", stdin=GREETER.read_text())
    wait_for("the set runs", lambda: is_rolled_out(api, "1.0"))
    assert versions(api) == {f"greeter-{number}": "1.0" for number in range(3)}


def test_logs_and_commands_reach_the_pods_of_every_node(cluster: Composed, api: httpx.Client) -> None:
    """Asked of the API, as kubectl asks, and by the command line in its container."""
    for number in range(3):
        assert "GET /" in api.get(f"{PODS}/greeter-{number}/log", params={"tailLines": 3}).text
    assert cluster.chronoset("exec", "greeter-0", "--", "id", "-u").strip() == "10001"


def test_rollouts_are_finished_though_each_container_is_killed_in_the_middle_of_one(
    cluster: Composed, api: httpx.Client
) -> None:
    version = "1.0"
    for container in cluster.containers():
        if is_rolled_out_now(api, version):
            version = "1.1" if version == "1.0" else "1.0"
            wait_for("the API takes a rollout", partial(roll_out, api, version))
        cluster.kill(container)
    wait_for("the last rollout is complete", lambda: is_rolled_out(api, version))
    assert versions(api) == {f"greeter-{number}": version for number in range(3)}
    assert all(each["RestartCount"] >= 1 for each in cluster.containers())


def is_rolled_out_now(api: httpx.Client, version: str) -> bool:
    """Say whether there is no rollout in which anything could be killed."""
    return bool(wait_for("the API tells of the set", lambda: [is_rolled_out(api, version)])[0])


def test_what_is_shown_is_what_a_replay_of_the_log_gives(cluster: Composed) -> None:
    script = "chronoset {} sts,pods,pvc,nodes,controllerrevisions -A -o json"
    replayed = script.format("replay --at '0 seconds ago'")

    def shown_and_replayed() -> list[Any]:
        calls = f"{script.format('get')} && echo && echo === && {replayed}"
        both = cluster("exec", "-T", "api", "sh", "-c", calls).split("===")
        found: list[Any] = [json.loads(each) for each in both]
        return found if found[0] == found[1] else []

    shown, _ = wait_for("the projections are what a replay gives", shown_and_replayed)
    assert len(shown["items"]) >= 3 + 3 + 3 + 1


def test_no_password_is_in_a_log_or_in_a_command_line_or_known_to_a_node(cluster: Composed) -> None:
    logs = cluster("logs", "--no-color")
    started = json.dumps([[each["Path"], *each["Args"]] for each in cluster.containers()])
    nodes = [each for each in cluster.containers() if each["Config"]["Labels"][SERVICE].startswith("agent")]
    known = json.dumps([each["Config"]["Env"] for each in nodes])
    running = "".join(str(cluster.client.top(each["Id"])["Processes"]) for each in cluster.containers())
    assert "CHRONOSET_API_URL" in known and "program started" in logs and "redis-server" in running
    assert not [
        each for each in cluster.passwords for text in (logs, started, running, known) if each in text
    ]


def test_down_leaves_nothing_and_a_second_init_changes_nothing(cluster: Composed) -> None:
    before = cluster("run", "--rm", "init")
    assert before == cluster("run", "--rm", "init")
    cluster.down()
    label = {"label": f"com.docker.compose.project={cluster.name}"}
    assert cluster.client.containers(all=True, filters=label) == []
    assert cluster.client.volumes(filters=label)["Volumes"] in ([], None)
