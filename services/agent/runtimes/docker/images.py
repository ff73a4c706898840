"""Images of containers: what is on the machine, and what is pulled (pkg/kubelet/images/image_manager.go)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from docker.errors import APIError, DockerException, ImageNotFound

from schemas.objects import Object
from services.agent.images import parse_reference
from services.agent.runtimes.port import Refused


@dataclass(frozen=True, slots=True)
class Image:
    """An image on this machine: `sha256:...`, the user that it names ("" for root), the signal that ends it."""

    id: str
    user: str = ""
    stop_signal: str = ""


def policy_of(container: Object) -> str:
    """Return Always, IfNotPresent or Never: by default Always for the tag `latest`, else IfNotPresent."""
    if policy := container.get("imagePullPolicy"):
        return str(policy)
    reference = parse_reference(container.get("image", ""))
    return "Always" if reference.tag == "latest" and not reference.digest else "IfNotPresent"


def ensure_image(client: Any, container: Object) -> Image:
    """Return the image of a container, pulled where its policy says so. May take long.

    Raises Refused: InvalidImageName, ErrImageNeverPull, ErrImagePull.
    """
    name, policy = container.get("image", ""), policy_of(container)
    reference = parse_reference(name)
    found = None if policy == "Always" else find_image(client, name)
    if found is not None:
        return found
    if policy == "Never":
        raise Refused(
            "ErrImageNeverPull", f'Container image "{name}" is not present with pull policy of Never'
        )
    tag = reference.digest or reference.tag
    try:
        client.pull(reference.name, tag)
    except APIError as error:
        raise Refused("ErrImagePull", f'Failed to pull image "{name}": {error.explanation}') from None
    except (DockerException, OSError) as error:
        raise Refused("ErrImagePull", f'Failed to pull image "{name}": {error}') from None
    found = find_image(client, name)
    if found is None:
        raise Refused("ErrImagePull", f'Failed to pull image "{name}": the registry has sent none')
    return found


def find_image(client: Any, name: str) -> Image | None:
    """Return an image of this machine, or None."""
    try:
        found = client.inspect_image(name)
    except ImageNotFound:
        return None
    config = found.get("Config") or {}
    return Image(found["Id"], config.get("User") or "", config.get("StopSignal") or "")
