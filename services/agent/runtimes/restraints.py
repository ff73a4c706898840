"""What a process runtime does to hold a container to its specification, and what it remarks where it cannot.

Kubernetes would refuse such a node, or not say; here a pod's condition tells, and only a pod that asks is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from schemas.objects import Object
from schemas.quantities import parse_quantity
from services.agent.runtimes.cgroups import CPU, MEMORY, PIDS, Hierarchy, Limits
from services.agent.runtimes.volumes import Mount
from services.agent.statuses import LIMITS_ENFORCED, SECURITY_ENFORCED, VOLUMES_AT_MOUNT_PATH, Remark

RW, RO = "rw", "ro"
_LIMITED = {MEMORY: "limits.memory", CPU: "limits.cpu", PIDS: "the node's limit of processes of a pod"}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the machine allows this agent: which namespaces (root, user, none), mounts that are read-only, groups."""

    mode: str
    can_protect: bool
    hierarchy: Hierarchy
    is_root: bool
    most_processes: int | None = None
    """How many a pod may have, whatever it asks for (kubelet: podPidsLimit)."""


def limits_of(container: Object, abilities: Abilities) -> Limits:
    """Return what a container may use. A limit of 0 is none, as in Kubernetes."""
    limits = (container.get("resources") or {}).get("limits") or {}
    memory, cpu = (parse_quantity(limits.get(name, "0")) for name in ("memory", "cpu"))
    thousandths = -(-cpu.nanos // 1_000_000)
    return Limits(memory.rounded_up() or None, thousandths or None, abilities.most_processes)


def has_read_only_root(container: Object) -> bool:
    """Return whether a container's own files are read-only."""
    return bool((container.get("securityContext") or {}).get("readOnlyRootFilesystem"))


def takes_no_privileges(container: Object) -> bool:
    """Return whether a container's processes may not gain privileges by set-user-id programs."""
    return (container.get("securityContext") or {}).get("allowPrivilegeEscalation") is False


def ways_of(pod: Object, container: Object, mounts: list[Mount], abilities: Abilities) -> list[list[str]]:
    """Return the mounts of a container as [source, target, "rw" or "ro"].

    Where anything is read-only, volumes are mounted over their own folders too: those are known by $VOLUME_<NAME> and
    by links, and must be no way around. A hostPath is not, since what lies there is the container's own system.
    """
    if not abilities.can_protect:
        return [[mount.source, mount.target, RW] for mount in mounts]
    ways = [[mount.source, mount.target, RO if mount.read_only else RW] for mount in mounts]
    if not has_read_only_root(container) and not any(mount.read_only for mount in mounts):
        return ways
    paths = {volume["name"] for volume in pod["spec"].get("volumes") or () if "hostPath" in volume}
    sources: dict[str, str] = {}
    for mount, (source, _, way) in zip(mounts, ways, strict=True):
        if mount.volume not in paths:
            sources[source] = RW if RW in (way, sources.get(source)) else RO
    targets = {target for _, target, _ in ways}
    return ways + [[source, source, way] for source, way in sources.items() if source not in targets]


def remarks_on(pod: Object, abilities: Abilities) -> Iterator[Remark]:
    """Yield what the machine does not allow of what `pod` asks for."""
    containers = (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"])
    if abilities.mode == "none" and any(container.get("volumeMounts") for container in containers):
        yield _NO_NAMESPACES
    wanted = {each for container in containers for each in limits_of(container, abilities).wanted}
    refused = [each for each in (MEMORY, CPU, PIDS) if each in wanted - set(abilities.hierarchy.bases)]
    if refused:
        why = "; ".join(f"{_LIMITED[each]}: {abilities.hierarchy.refusals.get(each, '')}" for each in refused)
        yield Remark(LIMITS_ENFORCED, "False", "NoControlGroups", f"nothing enforces {why}")
    if fields := list(_unenforced(pod, containers, abilities)):
        message = f"nothing enforces {', '.join(fields)}: this machine does not allow it to the agent"
        yield Remark(SECURITY_ENFORCED, "False", "NotAllowed", message)


def _unenforced(pod: Object, containers: tuple[Object, ...], abilities: Abilities) -> Iterator[str]:
    if not abilities.can_protect:
        if any(has_read_only_root(container) for container in containers):
            yield "securityContext.readOnlyRootFilesystem"
        mounts: list[Any] = [mount for each in containers for mount in each.get("volumeMounts") or ()]
        if any(mount.get("readOnly") for mount in mounts):
            yield "volumeMounts.readOnly"
    if not abilities.is_root and (pod["spec"].get("securityContext") or {}).get("fsGroup") is not None:
        yield "securityContext.fsGroup"


_NO_NAMESPACES = Remark(
    VOLUMES_AT_MOUNT_PATH,
    "False",
    "NoMountNamespaces",
    "this machine allows no mount namespaces: volumes are folders of the working directory, named by $VOLUME_<NAME>, "
    "and the names of peers are in $CHRONOSET_HOSTS",
)
