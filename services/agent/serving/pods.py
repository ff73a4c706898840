"""A pod as the node's server sees it, and which run of a container a log is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import BadRequest, NotFound
from schemas.objects import Object, name_of
from services.agent.lifecycle import Container, Phase
from services.agent.runtimes.port import Runtime

_WAITING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod at one moment: its object, its containers by name, and the runtime that runs them."""

    pod: Object
    containers: Mapping[str, Container]
    runtime: Runtime


def container_in(view: PodView, name: str) -> Container:
    """Return a container of a pod. Raises NotFound as the kubelet does."""
    found = view.containers.get(name)
    if found is None:
        raise NotFound(f'container "{name}" not found in pod "{name_of(view.pod)}"')
    return found


def run_of_log(pod: str, container: Container, previous: bool) -> int:
    """Return the number of the run whose log is meant. Raises BadRequest with the kubelet's sentences.

    Follows pkg/kubelet/kubelet_pods.go: validateContainerLogStatus. Between two runs the last one's log is both the
    present and the previous one.
    """
    title = f'container "{container.name}" in pod "{pod}"'
    is_between = container.phase is Phase.WAITING or (
        container.phase is Phase.STARTING and not container.shows_exit
    )
    if previous:
        if (container.exit if is_between else container.last) is None:
            raise BadRequest(f'previous terminated container "{container.name}" in pod "{pod}" not found')
        return container.attempt if is_between else container.attempt - 1
    if container.attempt >= 0:
        return container.attempt
    reason = container.reason
    raise BadRequest(f"{title} is waiting to start: {_WAITING.get(reason, reason)}")
