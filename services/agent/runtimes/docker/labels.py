"""How containers of ours are known: by labels, of which those that Kubernetes had with docker are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.objects import Object, name_of, namespace_of, uid_of

NODE = "chronoset.dev/node-directory"
"""The label whose value is the absolute directory of the node that a container belongs to."""
UID, CONTAINER = "io.kubernetes.pod.uid", "io.kubernetes.container.name"
ATTEMPT = "annotation.io.kubernetes.container.restartCount"
PAUSE = "POD"
"""The name of the container that holds a pod's network: none that a pod's spec can name."""


def labels_of(pod: Object, container: str, attempt: int, node_directory: str) -> dict[str, str]:
    """Return the labels of a container."""
    return {
        NODE: node_directory,
        UID: uid_of(pod),
        CONTAINER: container,
        ATTEMPT: str(attempt),
        "io.kubernetes.pod.name": name_of(pod),
        "io.kubernetes.pod.namespace": namespace_of(pod),
    }


def title_of(pod: Object, container: str, attempt: int) -> str:
    """Return the name under which `docker ps` shows a container: there is never a second one of it."""
    return f"chronoset_{container}_{name_of(pod)}_{namespace_of(pod)}_{uid_of(pod)}_{attempt}"


def attempt_of(labels: Mapping[str, str]) -> int:
    """Return which run of its container it is."""
    return int(labels[ATTEMPT])


def is_pause(found: Any) -> bool:
    """True for a listed container that holds a pod's network."""
    return bool(found["Labels"][CONTAINER] == PAUSE)


def ours(client: Any, node_directory: str, **labels: str) -> list[Any]:
    """Return the containers of a node, running or not, that carry `labels` too (uid, container), oldest run first.

    Those that hold a pod's network come last: podman removes none that another container refers to.
    """
    names = {"uid": UID, "container": CONTAINER}
    wanted = [f"{NODE}={node_directory}", *(f"{names[name]}={value}" for name, value in labels.items())]
    found = client.containers(all=True, filters={"label": wanted})
    return sorted(found, key=lambda each: (is_pause(each), attempt_of(each["Labels"])))
