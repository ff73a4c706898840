"""The claims of a pod that is being placed: where they bind it, and the volumes they get where it goes.

All claims wait for their first consumer. A claim that has no volume yet gets one on the pod's node in the batch that
binds the pod, so a pod is never bound to a node where its claim is not. A bound claim takes the pod to its volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.changes import Change, Create, Replace
from schemas.kinds import CLAIM, VOLUME
from schemas.objects import Key, Object, is_terminating, labels_of, name_of, namespace_of, with_metadata
from schemas.selectors import matches_node
from services.controllers.volumes import (
    BIND_COMPLETED,
    CLAIM_PROTECTION,
    PROVISIONED_BY,
    PROVISIONER,
    VOLUME_PROTECTION,
)
from services.scheduler.census import ClusterView, claim_keys_of, volume_name_of
from services.scheduler.filters import Room

HOSTNAME = "kubernetes.io/hostname"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
MOST_CLAIMS = 49
_NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"


@dataclass(frozen=True, slots=True)
class Storage:
    """What a pod's claims ask of its node.

    claims       the claims, as read
    unbound      those of them that get a volume on the node that is chosen
    affinities   what bound volumes, and claims that this decision has bound already, ask of the node
    problem      why the pod can be placed nowhere for now; empty where it can
    """

    claims: tuple[Object, ...] = ()
    unbound: tuple[Object, ...] = ()
    affinities: tuple[Object, ...] = ()
    problem: str = ""


def storage_of(pod: Object, view: ClusterView, chosen: Mapping[Key, Room]) -> Storage:
    """Return what the claims of a pod ask; `chosen` says where this decision has bound claims before."""
    claims, unbound, affinities = [], [], []
    for key in dict.fromkeys(claim_keys_of(pod)):
        claim = view.claims.get(key)
        if problem := _problem_of(key, claim, view):
            return Storage(problem=problem)
        assert claim is not None
        if key in chosen:
            affinities.append(affinity_to(chosen[key].view.node))
            continue
        claims.append(claim)
        if not claim["spec"].get("volumeName"):
            unbound.append(claim)
            continue
        affinity = view.volumes[volume_name_of(claim)]["spec"].get("nodeAffinity") or {}
        if affinity.get("required"):
            affinities.append(affinity["required"])
    if len(unbound) > MOST_CLAIMS:
        return Storage(
            problem=f"pod has {len(unbound)} unbound PersistentVolumeClaims, {MOST_CLAIMS} are possible"
        )
    return Storage(tuple(claims), tuple(unbound), tuple(affinities))


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


def provision(claim: Object, node: Object) -> tuple[Change, Change]:
    """Return the changes that make a volume for a claim on a node and bind the two (sig-storage local volumes)."""
    volume = _volume_for(claim, node)
    annotations = {
        **(claim["metadata"].get("annotations") or {}),
        BIND_COMPLETED: "yes",
        SELECTED_NODE: name_of(node),
    }
    finalizers = claim["metadata"].get("finalizers") or []
    if CLAIM_PROTECTION not in finalizers:
        finalizers = [*finalizers, CLAIM_PROTECTION]
    status = {
        **claim.get("status", {}),
        "phase": "Bound",
        "accessModes": volume["spec"]["accessModes"],
        "capacity": volume["spec"]["capacity"],
    }
    bound = {
        **with_metadata(claim, annotations=annotations, finalizers=finalizers),
        "spec": {**claim["spec"], "volumeName": name_of(volume)},
        "status": status,
    }
    return Create(volume), Replace(claim, bound)


def _volume_for(claim: Object, node: Object) -> Object:
    """Return a new volume for a claim. Its path is relative: the node's agent resolves it under its own directory."""
    namespace, name, uid = namespace_of(claim), name_of(claim), claim["metadata"]["uid"]
    asked = claim["spec"]
    storage_class = asked.get("storageClassName")
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
            "capacity": {"storage": (asked.get("resources") or {}).get("requests", {}).get("storage", "0")},
            "claimRef": {
                "apiVersion": CLAIM.api_version,
                "kind": CLAIM.kind,
                "namespace": namespace,
                "name": name,
                "uid": uid,
            },
            "local": {"path": f"volumes/{namespace}-{name}-{uid}"},
            "nodeAffinity": {"required": affinity_to(node)},
            "persistentVolumeReclaimPolicy": "Delete",
            "volumeMode": asked.get("volumeMode", "Filesystem"),
            **({"storageClassName": storage_class} if storage_class else {}),
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
    volume = view.volumes.get(volume_name_of(claim))
    if not claim["spec"].get("volumeName"):
        return f'persistentvolume "{name_of(volume)}" already exists' if volume else ""
    if volume is None:
        return _NO_VOLUME
    if claim.get("status", {}).get("phase") != "Bound":
        return "pod has unbound immediate PersistentVolumeClaims"
    return ""


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
