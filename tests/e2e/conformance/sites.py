"""Where a test works: a namespace of its own in a live cluster, and what the suites' helpers do there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config, stream, watch

from schemas.objects import Object
from services.settings import KUBECONFIG
from tests.e2e.clusters import Cluster, wait_for

LABELS = {"baz": "blah", "foo": "bar"}
SELECTOR = "baz=blah,foo=bar"
TAGS = ("1", "2", "3")
COMMAND = """touch "$HOME/ready"
trap 'exit 0' TERM
sleep 1000000 &
wait"""
"""The suites' web server: Ready while the file `ready` is there, as theirs is while index.html is."""
PROBE = {
    "exec": {"command": ["sh", "-c", 'test -e "$HOME/ready"']},
    "periodSeconds": 1,
    "failureThreshold": 1,
}
PAUSED = {**PROBE, "exec": {"command": ["sh", "-c", 'test -e "$HOME/released"']}}
"""A pod that is Ready once the test has released it (sst.PauseNewPods)."""
SECONDS = 40.0


@dataclass(frozen=True)
class Site:
    """A namespace of a cluster.

    `config` is the kubeconfig, since exec wants a client of its own; `broken` an image that cannot be had there.
    """

    api: client.ApiClient
    space: str
    config: str
    broken: str
    volume: str = "$VOLUME_DATADIR"
    """Where a program finds the volume that is mounted at /data."""

    @property
    def apps(self) -> client.AppsV1Api:
        return client.AppsV1Api(self.api)

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    # --- what there is

    def set(self, name: str = "ss") -> Any:
        return self.apps.read_namespaced_stateful_set(name, self.space)

    def daemon(self, name: str = "ds") -> Any:
        return self.apps.read_namespaced_daemon_set(name, self.space)

    def nodes_of_pods(self) -> list[str]:
        """Return the nodes of the pods that are not being deleted, sorted."""
        pods = self.pods().values()
        return sorted(pod.spec.node_name for pod in pods if pod.metadata.deletion_timestamp is None)

    def all_nodes(self) -> list[str]:
        return [node.metadata.name for node in self.core.list_node().items]

    def pods(self, selector: str = SELECTOR) -> dict[str, Any]:
        found = self.core.list_namespaced_pod(self.space, label_selector=selector)
        return {each.metadata.name: each for each in found.items}

    def claims(self) -> dict[str, Any]:
        found = self.core.list_namespaced_persistent_volume_claim(self.space)
        return {each.metadata.name: each for each in found.items}

    def images(self) -> dict[str, str]:
        return {name: pod.spec.containers[0].image for name, pod in self.pods().items()}

    def revisions(self) -> dict[str, str]:
        return {name: revision_of(pod) for name, pod in self.pods().items()}

    # --- what is done

    def create(self, body: Object) -> Any:
        return self.apps.create_namespaced_stateful_set(self.space, body)

    def create_daemon(self, body: Object) -> Any:
        return self.apps.create_namespaced_daemon_set(self.space, body)

    def patch(self, patch: Object, name: str = "ss") -> Any:
        return self.apps.patch_namespaced_stateful_set(name, self.space, patch)

    def patch_spec(self, name: str = "ss", **fields: Any) -> Any:
        return self.patch({"spec": fields}, name)

    def set_image(self, tag: str, **fields: Any) -> Any:
        """Change the template's image, and other fields of the spec with it."""
        container = {"name": "webserver", "image": f"web:{tag}"}
        return self.patch_spec(template={"spec": {"containers": [container]}}, **fields)

    def run_in(self, pod: str, command: str) -> str:
        """Run a command in a pod's container, over a WebSocket."""
        with config.new_client_from_config(self.config) as own:
            said: str = stream.stream(
                client.CoreV1Api(own).connect_get_namespaced_pod_exec,
                pod,
                self.space,
                command=["sh", "-c", command],
                stdout=True,
                stderr=True,
            )
        return said

    def breaks(self, *pods: str) -> None:
        """Make the probes of pods fail, and wait until it is seen (e2estatefulset.BreakHTTPProbe)."""
        for pod in pods:
            self.run_in(pod, 'rm "$HOME/ready"')
        self.wait(lambda: not any(is_ready(self.pods()[pod]) for pod in pods), f"{pods} not to be Ready")

    def mends(self, *pods: str) -> None:
        for pod in pods:
            self.run_in(pod, 'touch "$HOME/ready"')
        self.wait(lambda: all(is_ready(self.pods()[pod]) for pod in pods), f"{pods} to be Ready")

    def releases(self, pod: str) -> None:
        """Let a paused pod become Ready (sst.ResumeNextPod)."""
        self.wait(lambda: is_running(self.pods().get(pod)), f"{pod} to run")
        self.run_in(pod, 'touch "$HOME/released"')
        self.wait(lambda: is_ready(self.pods()[pod]), f"{pod} to be Ready")

    # --- what is waited for

    def wait(self, look: Callable[[], Any], what: str) -> Any:
        return wait_for(look, what, SECONDS)

    def wait_ready(self, replicas: int, name: str = "ss") -> Any:
        """Wait until exactly that many pods run and are Ready, and the status says so; return the set."""

        def seen() -> Any:
            found, pods = self.set(name), self.pods().values()
            status = found.status
            said = (status.observed_generation, status.replicas, status.ready_replicas or 0)
            whole = len(pods) == replicas and all(is_ready(pod) for pod in pods)
            return found if whole and said == (found.metadata.generation, replicas, replicas) else None

        return self.wait(seen, f"{replicas} Ready pods of {name}")

    def wait_updated(self, name: str = "ss") -> Any:
        """Wait until a rollout is complete: every pod is at the update revision, which is the current one too."""

        def seen() -> Any:
            found = self.set(name)
            status, replicas = found.status, found.spec.replicas
            counts = (status.replicas, status.ready_replicas, status.updated_replicas)
            done = status.current_revision == status.update_revision and counts == (replicas,) * 3
            return found if done and status.observed_generation == found.metadata.generation else None

        return self.wait(seen, f"the rollout of {name}")

    def wait_daemons(self, number: int | None = None, name: str = "ds") -> Any:
        """Wait until every node that should, or so many, has a pod that is available and at the present template."""

        def seen() -> Any:
            found = self.daemon(name)
            status = found.status
            wanted = len(self.all_nodes()) if number is None else number
            counts = (
                status.desired_number_scheduled,
                status.current_number_scheduled,
                status.updated_number_scheduled or 0,
                status.number_available or 0,
            )
            whole = counts == (wanted,) * 4 and len(self.pods()) == wanted
            return found if whole and status.observed_generation == found.metadata.generation else None

        return self.wait(seen, f"the pods of {name}")

    def follow(self, since: str, until: Callable[[list[tuple[str, Any]]], bool]) -> list[tuple[str, Any]]:
        """Return what a watch of the pods tells from a resourceVersion on, until it is enough."""
        seen: list[tuple[str, Any]] = []
        follower = watch.Watch()
        for event in follower.stream(
            self.core.list_namespaced_pod,
            self.space,
            label_selector=SELECTOR,
            resource_version=since,
            timeout_seconds=int(SECONDS),
        ):
            seen.append((event["type"], event["object"]))
            if until(seen):
                follower.stop()
                return seen
        raise AssertionError(f"the watch ended with {[(kind, each.metadata.name) for kind, each in seen]}")

    def version(self) -> str:
        """Return the resourceVersion of now."""
        listed: str = self.core.list_namespaced_pod(self.space).metadata.resource_version
        return listed


def prepare_images(cluster: Cluster) -> None:
    """Make the images `web` of processes: they are told by their tag alone."""
    for tag in TAGS:
        tree = Path(cluster.data_dir) / "images" / "web" / tag
        tree.mkdir(parents=True, exist_ok=True)
        (tree / "tag").write_text(tag)


def config_of(cluster: Cluster) -> str:
    return str(cluster.data_dir / KUBECONFIG)


def a_container(**fields: Any) -> Object:
    return {"name": "webserver", "image": "web:1", "command": ["sh", "-c", COMMAND], **fields}


def a_template(probe: Mapping[str, Any] = PROBE, **spec: Any) -> Object:
    return {
        "metadata": {"labels": LABELS},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [a_container(readinessProbe=probe)],
            **spec,
        },
    }


def a_stateful_set(replicas: int = 3, name: str = "ss", **fields: Any) -> Object:
    """Return e2estatefulset.NewStatefulSet: its selector, its service, without volumes."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            "serviceName": "test",
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": a_template(),
            **fields,
        },
    }


def a_daemon_set(name: str = "ds", **fields: Any) -> Object:
    """Return the suites' newDaemonSet."""
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {"selector": {"matchLabels": LABELS}, "template": a_template(), **fields},
    }


def a_claim_template(name: str = "datadir") -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}
    return {"metadata": {"name": name}, "spec": spec}


def partition(number: int) -> Object:
    return {"type": "RollingUpdate", "rollingUpdate": {"partition": number}}


def revision_of(pod: Any) -> str:
    found: str = pod.metadata.labels["controller-revision-hash"]
    return found


def is_ready(pod: Any) -> bool:
    conditions = pod.status.conditions or ()
    return pod.metadata.deletion_timestamp is None and any(
        each.type == "Ready" and each.status == "True" for each in conditions
    )


def is_running(pod: Any) -> bool:
    return pod is not None and pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None


def names(replicas: int, start: int = 0) -> list[str]:
    return [f"ss-{ordinal}" for ordinal in range(start, start + replicas)]
