"""One decision: every pod that waits for a node gets one, and every claim that waits for room, or is told why not.

All pods of a view are placed in one batch, bounded in size; what does not fit into it comes in the next, at once.
One guard serialises the decisions, and each rests on the nodes and claims it bound to, so no two of them can take
the same room. That is why claims that wait for no pod, and claims that have grown, get their room here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

from schemas.changes import Change, Decision, Replace
from schemas.objects import Key, Object, key_of_object, name_of, namespace_of
from schemas.times import Milliseconds, rfc3339
from services.scheduler.census import ClusterView, controller_uid_of, volume_name_of
from services.scheduler.claims import grow_claim, place_claim
from services.scheduler.filters import NO_NODES, NOT_AT_VOLUME, NOT_NAMED, Room, reasons_in
from services.scheduler.placement import Placement, Spread
from services.scheduler.requirements import Requirements, requirements_of, with_storage
from services.scheduler.storage import (
    Plan,
    Storage,
    changes_of,
    hosts_of,
    plan_at,
    rooms_at,
    storage_of,
)

MOST_PODS = 300
MOST_CHANGES = 900
MOST_CLAIM_CHANGES = 300
"""Claims that need no pod leave room in a batch for those that do."""


@dataclass(slots=True)
class Batch:
    """What a decision has gathered so far."""

    placement: Placement
    spread: dict[str, Spread]
    chosen: dict[Key, Room] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    rests_on: dict[Key, Object] = field(default_factory=dict)
    bound: int = 0
    misfits: list[tuple[Object, Requirements]] = field(default_factory=list)
    hosts: dict[str, list[Room]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)


def schedule(view: ClusterView, now: Milliseconds) -> Decision:
    """Bind the pods of a view to nodes, and say of those that fit nowhere why (pkg/scheduler/schedule_one.go).

    At most `MOST_PODS` pods are bound and about `MOST_CHANGES` objects changed; asks for the next decision at once
    where pods are left over.
    """
    placement = Placement(view)
    spread = {uid: dict(counts) for uid, counts in view.spread.items()}
    batch = Batch(placement, spread)
    left_over, waits = _provide(view, batch, now)
    for pod in view.pending:
        if batch.bound >= MOST_PODS or len(batch.changes) >= MOST_CHANGES:
            left_over = True
            break
        _place(pod, view, batch, now)
    explained = _explained(view, batch)
    unsaid = [(pod, said) for pod, said in explained if not _is_said(pod, said)]
    space = max(0, MOST_CHANGES - len(batch.changes))
    batch.changes += [Replace(pod, with_scheduled(pod, "False", said, now)) for pod, said in unsaid[:space]]
    left_over = left_over or len(unsaid) > space
    return Decision(
        changes=tuple(batch.changes),
        rests_on=tuple(batch.rests_on.values()),
        waiting_for="; ".join(filter(None, (_waiting_for(explained), *waits[:3]))),
        requeue_at=now if left_over else None,
    )


def _provide(view: ClusterView, batch: Batch, now: Milliseconds) -> tuple[bool, list[str]]:
    """Give room to the claims that wait for no pod; return whether some are left over, and what the others wait for."""
    rooms = batch.placement.rooms
    waits: list[str] = []
    for claim in (*view.growing, *view.eager):
        if len(batch.changes) >= MOST_CLAIM_CHANGES:
            return True, waits
        volume = view.volumes.get(volume_name_of(claim))
        if claim["spec"].get("volumeName"):
            batch.hosts = batch.hosts or hosts_of(rooms)
            changes, wait = grow_claim(claim, volume, view.classes, batch.hosts, now)
        else:
            room, changes, wait = place_claim(claim, view, rooms, now)
            if room is not None:
                batch.chosen[key_of_object(claim)] = room
                batch.rests_on[room.name] = room.view.node
        batch.changes += changes
        if wait:
            waits.append(wait)
    return False, waits


def _place(pod: Object, view: ClusterView, batch: Batch, now: Milliseconds) -> None:
    wanted = requirements_of(pod)
    storage = storage_of(pod, view, batch.chosen)
    room, plan = None, Plan((), storage.unbound)
    if not storage.problem:
        spread = batch.spread.get(controller_uid_of(pod), {})
        rooms, _ = _candidates(wanted, storage, batch)
        if storage.is_choosy:
            room, plan = _place_choosy(wanted, spread, storage, rooms, batch)
        else:
            wanted = with_storage(wanted, storage.amount)
            if rooms is None:
                room = batch.placement.place(wanted, spread)
            else:
                room = batch.placement.place_among(wanted, spread, rooms)
    if room is None:
        batch.misfits.append((pod, wanted))
    else:
        _bind(pod, room, storage, plan, batch, now)


def _place_choosy(
    wanted: Requirements,
    spread: Spread,
    storage: Storage,
    rooms: tuple[Room, ...] | None,
    batch: Batch,
) -> tuple[Room | None, Plan]:
    """Place a pod whose claims cannot be had on every node; every node in question is looked at."""
    among = batch.placement.rooms.values() if rooms is None else rooms
    plans = {
        room.name: (room, plan)
        for room in among
        if isinstance(plan := plan_at(storage, room, batch.taken), Plan)
    }
    room = batch.placement.place_among(wanted, spread, [room for room, _ in plans.values()])
    if room is None:
        return None, Plan((), ())
    plan = plans[room.name][1]
    room.take_storage(plan.amount)
    return room, plan


def _candidates(
    wanted: Requirements, storage: Storage, batch: Batch
) -> tuple[tuple[Room, ...] | None, Counter[str]]:
    """Return the nodes that affinity names and volumes are on (None: all come into question); count the others."""
    all_rooms = batch.placement.rooms
    refused: Counter[str] = Counter()
    named: dict[str, Room] | None = None
    if wanted.names is not None:
        named = {name: all_rooms[name] for name in sorted(wanted.names) if name in all_rooms}
        refused[NOT_NAMED] = len(all_rooms) - len(named)
    if storage.affinities and not batch.hosts:
        batch.hosts = hosts_of(all_rooms)
    for affinity in storage.affinities:
        there = {room.name: room for room in rooms_at(affinity, all_rooms, batch.hosts)}
        before = all_rooms if named is None else named
        named = {name: room for name, room in before.items() if name in there} if named else there
        refused[NOT_AT_VOLUME] += len(before) - len(named)
    return (None if named is None else tuple(named.values())), refused


def _bind(pod: Object, room: Room, storage: Storage, plan: Plan, batch: Batch, now: Milliseconds) -> None:
    node = room.view.node
    batch.changes.extend(changes_of(plan, node))
    batch.taken.update(name_of(volume) for _, volume in plan.found)
    bound_here = {key_of_object(wish.read) for wish in storage.unbound}
    batch.chosen.update((key, room) for key in bound_here)
    for claim in storage.claims:
        if key_of_object(claim) not in bound_here:
            batch.rests_on[key_of_object(claim)] = claim
    batch.rests_on[room.name] = node
    bound = {**pod, "spec": {**pod["spec"], "nodeName": room.name}}
    batch.changes.append(Replace(pod, with_scheduled(bound, "True", "", now)))
    batch.bound += 1


def _explained(view: ClusterView, batch: Batch) -> list[tuple[Object, str]]:
    """Return the pods that fit nowhere and why, by what is free and where claims are after the last bind.

    So a second look at the result finds the same reasons, and pods that ask the same share an answer.
    """
    shared: dict[tuple[str, str], str] = {}
    nodes = len(view.nodes)
    explained = []
    for pod, wanted in batch.misfits:
        storage = storage_of(pod, view, batch.chosen)
        rooms, refused = _candidates(wanted, storage, batch)
        asked = (wanted.place, wanted.room)
        if storage.problem:
            sentence = f"0/{nodes} nodes are available: {storage.problem}." if nodes else NO_NODES
        elif storage.is_choosy:
            among = batch.placement.rooms.values() if rooms is None else rooms
            sentence = batch.placement.why_not_among(
                wanted, among, refused, partial(_storage_refusal, storage, batch.taken)
            )
        elif rooms is not None:
            sentence = batch.placement.why_not_among(wanted, rooms, refused)
        else:
            sentence = shared.get(asked) or shared.setdefault(asked, batch.placement.why_not(wanted))
        explained.append((pod, sentence))
    return explained


def _storage_refusal(storage: Storage, taken: Collection[str], room: Room) -> str:
    plan = plan_at(storage, room, taken)
    return plan if isinstance(plan, str) else ""


def with_scheduled(pod: Object, status: str, message: str, now: Milliseconds) -> Object:
    """Return the pod with its condition PodScheduled set; the time of transition moves only with the status."""
    conditions = pod.get("status", {}).get("conditions") or []
    condition = {"type": "PodScheduled", "status": status, "lastTransitionTime": rfc3339(now)}
    if message:
        condition |= {"reason": "Unschedulable", "message": message}
    others = []
    for other in conditions:
        if other["type"] != "PodScheduled":
            others.append(other)
        elif other["status"] == status and "lastTransitionTime" in other:
            condition["lastTransitionTime"] = other["lastTransitionTime"]
    return {**pod, "status": {**pod.get("status", {}), "conditions": [*others, condition]}}


def _is_said(pod: Object, sentence: str) -> bool:
    """True if the pod's condition gives these reasons, in whatever numbers.

    In a full cluster the numbers change with every pod that ends: an event for each pod that waits, each time.
    """
    return any(
        condition["type"] == "PodScheduled"
        and condition["status"] == "False"
        and reasons_in(condition.get("message", "")) == reasons_in(sentence)
        for condition in pod.get("status", {}).get("conditions") or ()
    )


def _waiting_for(explained: list[tuple[Object, str]]) -> str:
    if not explained:
        return ""
    pod, sentence = explained[0]
    others = f" (and {len(explained) - 1} more pods that fit no node)" if len(explained) > 1 else ""
    return f"room for {namespace_of(pod)}/{name_of(pod)}: {sentence}{others}"
