"""As whom a container's program runs: runAsUser, runAsGroup, runAsNonRoot, supplementalGroups, fsGroup.

A container's securityContext goes before its pod's (pkg/securitycontext; kuberuntime verifyRunAsNonRoot).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.objects import Object
from services.agent.sources import BadConfiguration


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids to take on before the program is executed."""

    user: int
    group: int
    groups: tuple[int, ...] = ()


def identity_of(pod: Object, container: Object, own: Identity) -> Identity | None:
    """Return whom the program must become; None where it runs as the agent does, whose ids are `own`.

    Raises BadConfiguration where the agent may not become that, or the program would be root and must not.
    """
    context = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
    user = _id_of(context, "runAsUser", own.user)
    group = _id_of(context, "runAsGroup", 0 if "runAsUser" in context else own.group)
    if own.user != 0 and "runAsGroup" not in context:
        group = own.group
    if context.get("runAsNonRoot") and user == 0:
        which = f'(pod: "{_title_of(pod)}", container: {container["name"]})'
        if context.get("runAsUser") == 0:
            raise BadConfiguration(f"container's runAsUser breaks non-root policy {which}")
        raise BadConfiguration(f"container has runAsNonRoot and image will run as root {which}")
    groups = tuple(context.get("supplementalGroups") or ())
    if own.user == 0 and context.get("fsGroup") is not None:
        groups = (*groups, int(context["fsGroup"]))
    wanted = Identity(user, group, groups)
    if (wanted.user, wanted.group, wanted.groups) == (own.user, own.group, ()):
        return None
    if own.user != 0:
        raise BadConfiguration(
            f"the agent runs as user {own.user}, group {own.group}, and cannot run container {container['name']} as "
            f"user {user}, group {group}: only an agent that runs as root can"
        )
    return wanted


def _title_of(pod: Object) -> str:
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"


def _id_of(context: dict[str, Any], field: str, default: int) -> int:
    found = context.get(field)
    return default if found is None else int(found)
