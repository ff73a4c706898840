"""A claim and its volume: which one fits, and what binding the two changes.

Shared by the controller of volumes, which binds at once, and the scheduler, which binds where a pod goes
(component-helpers/storage/volume/pv_helpers.go FindMatchingVolume; pv_controller.go bind).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from schemas.changes import Replace
from schemas.kinds import CLAIM
from schemas.objects import Object, is_terminating, labels_of, name_of, namespace_of, uid_of, with_metadata
from schemas.selectors import matches_node, selector_of
from schemas.storage import Trouble, capacity_of, could_hold, is_claimed_by
from schemas.times import Milliseconds, rfc3339

_STATUS = {"Bound": "False"}

CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
BOUND = "Bound"
"""The phase, and the condition of ours that says why a claim is not bound; Kubernetes says it in Events."""


def matching_volume(
    claim: Object,
    volumes: Iterable[Object],
    taken: Collection[str] = (),
    node: Object | None = None,
    delays: bool = False,
) -> Object | None:
    """Return the volume that is reserved for a claim, or else the smallest that fits; by name among equals.

    `taken` are names of volumes that are none any more; `node` is where it must be reachable from; where binding is
    `delays`, only a reserved volume is found, since the scheduler binds the others.
    """
    asked = claim["spec"].get("selector")
    selector = selector_of(asked) if asked else None
    found: list[Object] = []
    for volume in volumes:
        if name_of(volume) in taken or not could_hold(volume, claim):
            continue
        is_near = node is None or matches_node(affinity_of(volume), node)
        if is_claimed_by(volume, claim):
            return volume if is_near else None
        if is_near and not delays and (selector is None or selector.matches(labels_of(volume))):
            found.append(volume)
    return min(found, key=lambda each: (capacity_of(each), name_of(each)), default=None)


def affinity_of(volume: Object) -> Object | None:
    """Return what a node must match to reach the volume; None: every node does."""
    required: Object | None = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return required


def reference_to(claim: Object) -> Object:
    """Return the claimRef of a claim's volume."""
    return {
        "apiVersion": CLAIM.api_version,
        "kind": CLAIM.kind,
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": uid_of(claim),
    }


def bound_volume(volume: Object, claim: Object) -> Replace:
    """Return the change that makes a volume the claim's."""
    spec = {**volume["spec"], "claimRef": {**(volume["spec"].get("claimRef") or {}), **reference_to(claim)}}
    status = {**_without(volume.get("status", {}), "message", "reason"), "phase": "Bound"}
    return Replace(volume, {**volume, "spec": spec, "status": status})


def bound_claim(claim: Object, volume: Object, annotations: dict[str, str] | None = None) -> Replace:
    """Return the change that binds a claim to a volume; a claim that named none is marked as bound by us."""
    noted = {**(claim["metadata"].get("annotations") or {}), BIND_COMPLETED: "yes", **(annotations or {})}
    if not claim["spec"].get("volumeName"):
        noted[BOUND_BY_CONTROLLER] = "yes"
    status = {
        **without_condition(claim.get("status", {}), BOUND),
        "phase": "Bound",
        "accessModes": volume["spec"].get("accessModes") or [],
        "capacity": volume["spec"].get("capacity") or {},
    }
    marked = with_metadata(with_finalizer(claim, CLAIM_PROTECTION), annotations=noted)
    spec = {**claim["spec"], "volumeName": name_of(volume)}
    return Replace(claim, {**marked, "spec": spec, "status": status})


def with_trouble(claim: Object, phase: str, trouble: Trouble | None, now: Milliseconds) -> Object:
    """Return a claim with its phase, and the condition that says why it is not bound; None: no such condition."""
    status = without_condition(claim.get("status", {}), BOUND)
    if trouble is not None:
        status = with_condition(claim.get("status", {}), BOUND, trouble, now)
    return {**claim, "status": {**status, "phase": phase}}


def with_condition(status: Object, kind: str, trouble: Trouble, now: Milliseconds) -> Object:
    """Return a claim's status with a condition, as it is where it says the same already."""
    said = {"type": kind, "status": _STATUS.get(kind, "True"), "reason": trouble.reason}
    for each in status.get("conditions") or ():
        if each["type"] == kind and (each.get("reason"), each.get("message")) == trouble:
            return status
    conditions = without_condition(status, kind).get("conditions") or []
    said |= {"message": trouble.message, "lastTransitionTime": rfc3339(now)}
    return {**status, "conditions": [*conditions, said]}


def without_condition(status: Object, *kinds: str) -> Object:
    """Return a status without conditions of these types."""
    if not status.get("conditions"):
        return status
    kept = [each for each in status["conditions"] if each["type"] not in kinds]
    return {**status, "conditions": kept} if kept else _without(status, "conditions")


def with_finalizer(obj: Object, finalizer: str) -> Object:
    """Return the object with a finalizer; one that is being deleted gets none."""
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer in finalizers or is_terminating(obj):
        return obj
    return with_metadata(obj, finalizers=[*finalizers, finalizer])


def _without(part: Object, *names: str) -> Object:
    return {name: value for name, value in part.items() if name not in names}
