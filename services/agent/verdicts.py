"""Why a node ends a pod that nobody has deleted: its time is up, or it has filled more of the disk than it may.

Such a pod is Failed for good, whatever its restartPolicy; its object stays until somebody deletes it. The rules and
sentences are the kubelet's (active_deadline.go; eviction/eviction_manager.go, localStorageEviction). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from schemas.objects import Object
from schemas.quantities import Quantity, parse_quantity
from schemas.times import Milliseconds
from services.agent.statuses import EVICTED, Verdict

OVERDUE = Verdict("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
EVICTION_GRACE: Milliseconds = 1_000
"""What an evicted pod has to end by itself (kubelet: immediateEvictionGracePeriodSeconds)."""
_STORAGE = "ephemeral-storage"


def overdue_at(pod: Object, started_at: Milliseconds) -> Milliseconds | None:
    """Return when a pod that the node took at `started_at` has been active too long; None: never."""
    seconds = pod["spec"].get("activeDeadlineSeconds")
    return None if seconds is None else started_at + 1000 * int(seconds)


def has_disk_limits(pod: Object) -> bool:
    """Return whether anything limits what the pod may take of the disk."""
    return any(_volume_limits(pod)) or any(_container_limits(pod))


def overuse_of(pod: Object, volumes: Mapping[str, int], containers: Mapping[str, int]) -> Verdict | None:
    """Return the verdict on a pod whose emptyDir volumes and containers take so many bytes, by name."""
    for name, limit in _volume_limits(pod):
        if volumes.get(name, 0) > _bytes(limit):
            return Verdict(EVICTED, f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". ')
    limits = dict(_container_limits(pod))
    allowed = _total(limits.values())
    total = sum(containers.values()) + sum(volumes.get(name, 0) for name in _volumes_on_disk(pod))
    if limits and total > allowed.rounded_up():
        message = f"Pod ephemeral local storage usage exceeds the total limit of containers {allowed}. "
        return Verdict(EVICTED, message)
    for name, limit in limits.items():
        if containers.get(name, 0) > _bytes(limit):
            return Verdict(
                EVICTED, f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
            )
    return None


def _volume_limits(pod: Object) -> Iterator[tuple[str, str]]:
    for volume in pod["spec"].get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit is not None and _bytes(limit) > 0:
            yield volume["name"], limit


def _container_limits(pod: Object) -> Iterator[tuple[str, str]]:
    for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
        limit = ((container.get("resources") or {}).get("limits") or {}).get(_STORAGE)
        if limit is not None:
            yield container["name"], limit


def _volumes_on_disk(pod: Object) -> Iterator[str]:
    for volume in pod["spec"].get("volumes") or ():
        if "emptyDir" in volume and (volume["emptyDir"] or {}).get("medium") != "Memory":
            yield volume["name"]


def _bytes(quantity: str) -> int:
    return parse_quantity(quantity).rounded_up()


def _total(limits: Iterable[str]) -> Quantity:
    """Return the sum, written as the first of them is."""
    parts = [parse_quantity(limit) for limit in limits]
    return Quantity(sum(part.nanos for part in parts), parts[0].format if parts else "DecimalSI")
