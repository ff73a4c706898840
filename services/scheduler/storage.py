"""The claims of a pod that is being placed: where they bind it, and the volumes they get where it goes.

A claim whose class waits for its first consumer is bound in the batch that binds its pod, so a pod is never on a node
where its claim is not: to a volume that somebody has made, if one fits and can be reached from the node, else to a new
one, which takes room on the node's disk (plugins/volumebinding). A bound claim takes the pod to its volume.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from schemas.changes import Change, Create, Replace
from schemas.kinds import VOLUME
from schemas.objects import Key, Object, is_terminating, labels_of, name_of, namespace_of
from schemas.selectors import matches_node
from schemas.storage import (
    HOSTNAME,
    NO_PROVISIONER,
    PROVISIONED_BY,
    PROVISIONER,
    could_hold,
    named_class,
    provisioning_trouble,
    requested,
    waits_for_consumer,
    with_default_class,
)
from services.controllers.bindings import bound_claim, bound_volume, matching_volume, reference_to
from services.controllers.volumes import VOLUME_PROTECTION
from services.scheduler.census import ClusterView, claim_keys_of, volume_name_of
from services.scheduler.filters import NO_STORAGE, NO_VOLUMES, Room

SELECTED_NODE = "volume.kubernetes.io/selected-node"
MOST_CLAIMS = 49
_NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
_UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


@dataclass(frozen=True, slots=True)
class Wish:
    """A claim that is to be bound where its pod goes: as read, with its class, and the made volumes that might do.

    `can_be_made` says whether a new volume can be made for it.
    """

    read: Object
    claim: Object
    storage_class: Object
    made: tuple[Object, ...]
    can_be_made: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """What a pod's claims ask of its node.

    claims       the claims, as read
    unbound      those of them that are bound on the node that is chosen
    affinities   what bound volumes, and claims that this decision has bound already, ask of the node
    problem      why the pod can be placed nowhere for now; empty where it can
    """

    claims: tuple[Object, ...] = ()
    unbound: tuple[Wish, ...] = ()
    affinities: tuple[Object, ...] = ()
    problem: str = ""

    @property
    def is_choosy(self) -> bool:
        """True if nodes differ in more than their room: by volumes that are there already, or by topology."""
        return any(
            wish.made or not wish.can_be_made or wish.storage_class.get("allowedTopologies")
            for wish in self.unbound
        )

    @property
    def amount(self) -> int:
        """The bytes that new volumes for all unbound claims take."""
        return sum(requested(wish.claim) for wish in self.unbound)


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a pod's unbound claims on one node: which get a made volume, and which a new one."""

    found: tuple[tuple[Wish, Object], ...]
    new: tuple[Wish, ...]

    @property
    def amount(self) -> int:
        return sum(requested(wish.claim) for wish in self.new)


def storage_of(pod: Object, view: ClusterView, chosen: Mapping[Key, Room]) -> Storage:
    """Return what the claims of a pod ask; `chosen` says where this decision has bound claims before."""
    claims, unbound, affinities = [], [], []
    for key in dict.fromkeys(claim_keys_of(pod)):
        claim = view.claims.get(key)
        if claim is not None and key in chosen:
            affinities.append(affinity_to(chosen[key].view.node))
            continue
        if problem := _problem_of(key, claim, view):
            return Storage(problem=problem)
        assert claim is not None
        claims.append(claim)
        if not claim["spec"].get("volumeName"):
            wish = _wish_of(claim, view)
            if isinstance(wish, str):
                return Storage(problem=wish)
            unbound.append(wish)
            continue
        affinity = view.volumes[volume_name_of(claim)]["spec"].get("nodeAffinity") or {}
        if affinity.get("required"):
            affinities.append(affinity["required"])
    if len(unbound) > MOST_CLAIMS:
        return Storage(
            problem=f"pod has {len(unbound)} unbound PersistentVolumeClaims, {MOST_CLAIMS} are possible"
        )
    return Storage(tuple(claims), tuple(unbound), tuple(affinities))


def plan_at(storage: Storage, room: Room, taken: Collection[str]) -> Plan | str:
    """Return what becomes of the claims on a node, or why they cannot be had there (volumebinding FindPodVolumes).

    The smallest claims choose first; `taken` are the made volumes that this decision has given away.
    """
    found: list[tuple[Wish, Object]] = []
    new: list[Wish] = []
    gone = set(taken)
    for wish in sorted(storage.unbound, key=lambda each: requested(each.claim)):
        volume = matching_volume(wish.claim, wish.made, gone, room.view.node)
        if volume is not None:
            gone.add(name_of(volume))
            found.append((wish, volume))
        elif wish.can_be_made and is_allowed(wish.storage_class, room.view.node):
            new.append(wish)
        else:
            return NO_VOLUMES
    plan = Plan(tuple(found), tuple(new))
    return plan if room.has_storage(plan.amount) else NO_STORAGE


def changes_of(plan: Plan, node: Object) -> Iterator[Change]:
    """Yield the changes that bind a pod's claims on its node."""
    for wish, volume in plan.found:
        yield bound_volume(volume, wish.claim)
        yield _bound(wish.read, wish.claim, volume, node)
    for wish in plan.new:
        yield from provision(wish.read, wish.claim, wish.storage_class, node)


def is_allowed(storage_class: Object, node: Object) -> bool:
    """True if the class lets volumes be made on the node (allowedTopologies: any term, all of its expressions)."""
    terms = storage_class.get("allowedTopologies") or ()
    labels = labels_of(node)
    return not terms or any(
        all(
            labels.get(each["key"]) in (each.get("values") or ())
            for each in term.get("matchLabelExpressions") or ()
        )
        for term in terms
    )


def rooms_at(affinity: Object, rooms: Mapping[str, Room], by_host: Mapping[str, list[Room]]) -> list[Room]:
    """Return the nodes that a volume's node affinity matches. Looked up where it names nodes or hosts."""
    candidates: dict[str, Room] = {}
    for term in affinity.get("nodeSelectorTerms") or ():
        found = _named_by(term, rooms, by_host)
        candidates.update((room.name, room) for room in (rooms.values() if found is None else found))
    return [room for room in candidates.values() if matches_node(affinity, room.view.node)]


def affinity_to(node: Object) -> Object:
    """Return the node affinity that matches just this node: by its hostname, as local volumes do, or by its name."""
    hostname = labels_of(node).get(HOSTNAME)
    if hostname:
        term = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [hostname]}]}
    else:
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name_of(node)]}]}
    return {"nodeSelectorTerms": [term]}


def provision(read: Object, claim: Object, storage_class: Object, node: Object) -> tuple[Change, Change]:
    """Return the changes that make a volume for a claim on a node and bind the two (sig-storage local volumes).

    `claim` is the claim as `read`, with its class written.
    """
    volume = _volume_for(claim, storage_class, node)
    return Create(volume), _bound(read, claim, volume, node)


def _bound(read: Object, claim: Object, volume: Object, node: Object) -> Change:
    return Replace(read, bound_claim(claim, volume, {SELECTED_NODE: name_of(node)}).new)


def _volume_for(claim: Object, storage_class: Object, node: Object) -> Object:
    """Return a new volume for a claim. Its path is relative: the node's agent resolves it under its own directory."""
    asked = claim["spec"]
    options = storage_class.get("mountOptions")
    return {
        "apiVersion": VOLUME.api_version,
        "kind": VOLUME.kind,
        "metadata": {
            "name": volume_name_of(claim),
            "annotations": {PROVISIONED_BY: PROVISIONER},
            "finalizers": [VOLUME_PROTECTION],
        },
        "spec": {
            "accessModes": asked.get("accessModes") or ["ReadWriteOnce"],
            "capacity": {"storage": asked["resources"]["requests"]["storage"]},
            "claimRef": reference_to(claim),
            "local": {"path": f"volumes/{namespace_of(claim)}-{name_of(claim)}-{claim['metadata']['uid']}"},
            "nodeAffinity": {"required": affinity_to(node)},
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": name_of(storage_class),
            "volumeMode": asked.get("volumeMode", "Filesystem"),
            **({"mountOptions": options} if options else {}),
        },
        "status": {"phase": "Bound"},
    }


def _problem_of(key: Key, claim: Object | None, view: ClusterView) -> str:
    """Return why a claim holds up its pod, in the words of kube-scheduler's volumebinding; empty if it does not."""
    name = key.rpartition("/")[2]
    if claim is None:
        return f'persistentvolumeclaim "{name}" not found'
    if is_terminating(claim):
        return f'persistentvolumeclaim "{name}" is being deleted'
    if claim.get("status", {}).get("phase") == "Lost":
        return (
            f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume_name_of(claim)}"'
        )
    volume = view.volumes.get(volume_name_of(claim))
    if not claim["spec"].get("volumeName"):
        return f'persistentvolume "{name_of(volume)}" already exists' if volume else ""
    if volume is None:
        return _NO_VOLUME
    return _UNBOUND if claim.get("status", {}).get("phase") != "Bound" else ""


def _wish_of(read: Object, view: ClusterView) -> Wish | str:
    """Return an unbound claim that waits for its consumer, or why its pod must wait for it."""
    claim = with_default_class(read, view.classes.values())
    storage_class = view.classes.get(named_class(claim) or "")
    if storage_class is None or not waits_for_consumer(storage_class):
        return _UNBOUND
    made = tuple(volume for volume in view.made if could_hold(volume, claim))
    trouble = provisioning_trouble(claim, storage_class)
    if trouble is None or made or storage_class.get("provisioner") == NO_PROVISIONER:
        return Wish(read, claim, storage_class, made, trouble is None)
    return f'persistentvolumeclaim "{name_of(claim)}": {trouble.message.rstrip(".")}'


def _named_by(
    term: Object, rooms: Mapping[str, Room], by_host: Mapping[str, list[Room]]
) -> list[Room] | None:
    for field in term.get("matchFields") or ():
        if field["operator"] == "In":
            return [rooms[name] for name in field["values"] if name in rooms]
    for expression in term.get("matchExpressions") or ():
        if expression["key"] == HOSTNAME and expression["operator"] == "In":
            return [room for host in expression["values"] for room in by_host.get(host, ())]
    return None


def hosts_of(rooms: Mapping[str, Room]) -> dict[str, list[Room]]:
    """Return the nodes by their hostname label."""
    by_host: dict[str, list[Room]] = {}
    for room in rooms.values():
        if host := labels_of(room.view.node).get(HOSTNAME):
            by_host.setdefault(host, []).append(room)
    return by_host
