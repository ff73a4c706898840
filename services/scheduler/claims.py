"""Claims that get room without a pod: those of a class that binds at once, and those that have grown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from schemas.changes import Change, Replace
from schemas.objects import Object, name_of, namespace_of
from schemas.quantities import Quantity
from schemas.storage import (
    Trouble,
    capacity_of,
    host_of,
    is_ours,
    named_class,
    provisioning_trouble,
    requested,
    with_default_class,
)
from schemas.times import Milliseconds
from services.controllers.bindings import (
    BOUND,
    matching_volume,
    with_condition,
    with_trouble,
    without_condition,
)
from services.scheduler.census import ClusterView, volume_name_of
from services.scheduler.filters import (
    NO_STORAGE,
    NO_VOLUMES,
    Room,
    lasting_refusal,
    reasons_in,
    sentence_of,
)
from services.scheduler.requirements import requirements_of
from services.scheduler.storage import is_allowed, provision

RESIZE_ERROR = "ControllerResizeError"
_ANY = requirements_of({"spec": {}})
"""What a claim asks of its node besides room."""


def place_claim(
    claim: Object, view: ClusterView, rooms: Mapping[str, Room], now: Milliseconds
) -> tuple[Room | None, tuple[Change, ...], str]:
    """Return the node that a claim without a pod gets its volume on, the changes, and what it waits for.

    The node with the most room among those that take new pods, by name among equals. A claim that a made volume
    fits is bound to that by the controller of volumes, which also says what else is wrong with a claim.
    """
    wanted = with_default_class(claim, view.classes.values())
    storage_class = view.classes[named_class(wanted) or ""]
    if provisioning_trouble(wanted, storage_class) or matching_volume(wanted, view.made):
        return None, (), ""
    if volume_name_of(claim) in view.volumes:
        return None, (), f'persistentvolume "{volume_name_of(claim)}" already exists'
    refused: Counter[str] = Counter()
    open_rooms = []
    for room in rooms.values():
        refusal = lasting_refusal(_ANY, room.view) or _storage_refusal(wanted, storage_class, room)
        refused[refusal] += 1
        if not refusal:
            open_rooms.append(room)
    if open_rooms:
        best = min(open_rooms, key=Room.by_storage)
        best.take_storage(requested(wanted))
        return best, provision(claim, wanted, storage_class, best.view.node), ""
    sentence = sentence_of(refused, len(rooms))
    waits = f"room for claim {namespace_of(claim)}/{name_of(claim)}: {sentence}"
    if _is_said(claim, BOUND, sentence):
        return None, (), waits
    trouble = Trouble("ProvisioningFailed", sentence)
    return None, (Replace(claim, with_trouble(wanted, "Pending", trouble, now)),), waits


def grow_claim(
    claim: Object,
    volume: Object | None,
    classes: Mapping[str, Object],
    hosts: Mapping[str, list[Room]],
    now: Milliseconds,
) -> tuple[tuple[Change, ...], str]:
    """Return what gives a bound claim the room that it asks for by now, and what it waits for.

    A directory has no size of its own: what grows is what its node's other volumes may not have
    (pkg/controller/volume/expand).
    """
    if volume is None:
        return (), ""
    storage_class = classes.get(named_class(claim) or "")
    rooms = hosts.get(host_of(volume), ())
    more = requested(claim) - capacity_of(volume)
    if more <= 0:
        return (_grown(claim, volume["spec"]["capacity"]),), ""
    if not is_ours(volume):
        problem = "waiting for an external controller to expand this PVC"
    elif storage_class is None or not storage_class.get("allowVolumeExpansion"):
        problem = "the storageclass that provisions the pvc does not support resize"
    elif not rooms:
        problem = f"node {host_of(volume)} is not there"
    elif not rooms[0].has_storage(more):
        free = Quantity(max(0, rooms[0].storage >> 20 << 20) * 10**9, "BinarySI")
        problem = f"{NO_STORAGE}: {Quantity(more * 10**9, 'BinarySI')} more are asked for, {free} are free"
    else:
        rooms[0].take_storage(more)
        capacity = {
            **volume["spec"]["capacity"],
            "storage": claim["spec"]["resources"]["requests"]["storage"],
        }
        larger = {**volume, "spec": {**volume["spec"], "capacity": capacity}}
        return (Replace(volume, larger), _grown(claim, capacity)), ""
    waits = f"claim {namespace_of(claim)}/{name_of(claim)} to grow: {problem}"
    if _is_said(claim, RESIZE_ERROR, problem):
        return (), waits
    trouble = Trouble("VolumeResizeFailed", problem)
    status = with_condition(claim.get("status", {}), RESIZE_ERROR, trouble, now)
    return (Replace(claim, {**claim, "status": status}),), waits


def _grown(claim: Object, capacity: Object) -> Change:
    status = without_condition(claim.get("status", {}), RESIZE_ERROR)
    return Replace(claim, {**claim, "status": {**status, "capacity": capacity}})


def _storage_refusal(claim: Object, storage_class: Object, room: Room) -> str:
    if not is_allowed(storage_class, room.view.node):
        return NO_VOLUMES
    return "" if room.has_storage(requested(claim)) else NO_STORAGE


def _is_said(claim: Object, kind: str, message: str) -> bool:
    return any(
        each["type"] == kind and reasons_in(each.get("message", "")) == reasons_in(message)
        for each in claim.get("status", {}).get("conditions") or ()
    )
