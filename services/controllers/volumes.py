"""Volumes and claims after they are made: nothing in use goes, and nothing that went is left on a disk.

The scheduler makes a volume where a claim's first pod goes. From there on (pkg/controller/volume/persistentvolume,
pvcprotection, pvprotection): a claim stays while a bound pod uses it; its volume is Released when it is gone; one of
ours with reclaim policy Delete then waits for its node's agent to remove the directory and take the finalizer
`chronoset.dev/data` away; others are kept. A claim that names its volume is bound to it here.

Keys: `core/persistentvolumes/<name>` for a volume, and `core/persistentvolumeclaims/<namespace>` for all claims of a
namespace, so that the pods which use them are looked through once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from events.state import State
from schemas.changes import Change, Decision, Replace
from schemas.deletion import DATA_FINALIZER
from schemas.kinds import CLAIM, NODE, POD, VOLUME
from schemas.objects import Key, Object, is_terminating, key_of, name_of, namespace_of, uid_of, with_metadata
from schemas.selectors import matches_node
from schemas.times import Milliseconds, rfc3339
from services.controllers.controller import Controller
from services.controllers.finalizers import finalized, has_finalizer, without_finalizer

CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
DATA = DATA_FINALIZER
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER = "chronoset.dev/local"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"

MOST_CHANGES = 500


@dataclass(frozen=True, slots=True)
class ClaimCase:
    """A claim that something may have to be done about. `users` are the names of the bound pods that use it."""

    claim: Object
    volume: Object | None
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimsView:
    """The claims of a namespace that are being deleted, or are not bound as they say."""

    cases: tuple[ClaimCase, ...]


@dataclass(frozen=True, slots=True)
class VolumeView:
    """A volume, and whether the claim it is for (by uid) and a node it can be reached from are there."""

    volume: Object
    has_claim: bool
    has_node: bool


View = ClaimsView | VolumeView


def triggers(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    """Yield the volume, or the namespace of the claim, that the event gives something to do."""
    obj = new or old
    assert obj is not None
    match obj["kind"]:
        case POD.kind if new is None:
            if any(map(is_terminating, _claims_of(state, obj))):
                yield _claims_key(namespace_of(obj))
        case CLAIM.kind if new is None:
            yield from _volume_keys(state, obj["spec"].get("volumeName", ""))
        case CLAIM.kind:
            if _is_unsettled(state, obj):
                yield _claims_key(namespace_of(obj))
        case VOLUME.kind:
            yield from _volume_keys(state, name_of(obj))
            claim = _claim_for(state, obj)
            if claim is not None and _is_unsettled(state, claim):
                yield _claims_key(namespace_of(claim))
        case NODE.kind if new is None:
            for volume in state.list(VOLUME.resource):
                if is_terminating(volume):
                    yield from _volume_keys(state, name_of(volume))


def keys(state: State) -> Iterable[Key]:
    """Return the namespaces and volumes that there is something to do about."""
    found = {
        _claims_key(namespace_of(claim)): None
        for claim in state.list(CLAIM.resource)
        if _is_unsettled(state, claim)
    }
    for volume in state.list(VOLUME.resource):
        found.update((key, None) for key in _volume_keys(state, name_of(volume)))
    return found


def view_of(state: State, key: Key) -> View | None:
    """Return a volume with what it depends on, or the unsettled claims of a namespace; None where there is none."""
    resource, _, rest = key.rpartition("/")
    if resource == VOLUME.resource:
        volume = state.get(key)
        return _volume_view(state, volume) if volume is not None else None
    unsettled = (claim for claim in state.list(CLAIM.resource, rest) if _is_unsettled(state, claim))
    claims = sorted(unsettled, key=name_of)
    if not claims:
        return None
    going = {name_of(claim) for claim in claims if is_terminating(claim)}
    users = _users_of(state, rest, going) if going else {}
    return ClaimsView(
        tuple(
            ClaimCase(each, _volume_of(state, each), tuple(users.get(name_of(each), ()))) for each in claims
        )
    )


def reconcile(view: View, now: Milliseconds) -> Decision:
    """Bind what names one another, let go what nobody uses, and reclaim what was let go."""
    match view:
        case ClaimsView(cases):
            return _settle(cases, now)
        case VolumeView():
            return _reclaim(view, now)


VOLUMES: Controller[View] = Controller("volumes", triggers, keys, view_of, reconcile)


def _settle(cases: tuple[ClaimCase, ...], now: Milliseconds) -> Decision:
    changes: list[Change] = []
    taken: set[str] = set()
    waits = []
    for case in cases:
        if is_terminating(case.claim):
            if case.users:
                waits.append(f"{name_of(case.claim)} is used by {', '.join(case.users[:3])}")
            else:
                changes.append(without_finalizer(case.claim, CLAIM_PROTECTION))
        elif case.volume is None:
            changes.append(
                _with_phase(case.claim, "Lost" if _phase_of(case.claim) in ("Bound", "Lost") else "Pending")
            )
            waits.append(
                f"{name_of(case.claim)} names {case.claim['spec']['volumeName']}, which does not exist"
            )
        elif not _is_for(case.volume, case.claim) or name_of(case.volume) in taken:
            changes.append(_with_phase(case.claim, "Pending"))
            waits.append(f"{name_of(case.claim)} names {name_of(case.volume)}, which is for another claim")
        else:
            taken.add(name_of(case.volume))
            changes += _binding(case.claim, case.volume)
    moved = [change for change in changes if not (isinstance(change, Replace) and change.old == change.new)]
    has_more = len(moved) > MOST_CHANGES
    return Decision(tuple(moved[:MOST_CHANGES]), (), "; ".join(waits[:3]), now if has_more else None)


def _binding(claim: Object, volume: Object) -> Iterator[Change]:
    """Yield the changes that bind a claim to the volume it names; the claim comes last."""
    reference = {
        "apiVersion": CLAIM.api_version,
        "kind": CLAIM.kind,
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": uid_of(claim),
    }
    spec = {**volume["spec"], "claimRef": {**(volume["spec"].get("claimRef") or {}), **reference}}
    yield Replace(volume, {**volume, "spec": spec, "status": {**volume.get("status", {}), "phase": "Bound"}})
    annotations = {**(claim["metadata"].get("annotations") or {}), BIND_COMPLETED: "yes"}
    status = {
        **claim.get("status", {}),
        "phase": "Bound",
        "accessModes": volume["spec"].get("accessModes") or [],
        "capacity": volume["spec"].get("capacity") or {},
    }
    bound = with_metadata(_with_finalizer(claim, CLAIM_PROTECTION), annotations=annotations)
    yield Replace(claim, {**bound, "status": status})


def _reclaim(view: VolumeView, now: Milliseconds) -> Decision:
    """Bring a volume's phase up to date, and end it where its claim is gone and the policy says so."""
    wanted = _wanted(view, now)
    change = finalized(view.volume, wanted)
    is_moved = not isinstance(change, Replace) or wanted != view.volume
    waiting_for = ""
    if is_terminating(wanted) and has_finalizer(wanted, DATA):
        waiting_for = f"the agent of the volume's node to remove {wanted['spec']['local']['path']}"
    elif is_terminating(wanted) and view.has_claim:
        waiting_for = f"claim {wanted['spec']['claimRef']['name']} to be gone"
    return Decision((change,) if is_moved else (), (), waiting_for)


def _wanted(view: VolumeView, now: Milliseconds) -> Object:
    """Return the volume as it should be."""
    volume = view.volume
    policy = volume["spec"].get("persistentVolumeReclaimPolicy", "Retain")
    if view.has_claim:
        return _with_finalizer(volume, VOLUME_PROTECTION)
    if not (volume["spec"].get("claimRef") or {}).get("uid"):
        phase = "Available"
    elif policy == "Delete" and not _is_ours(volume):
        phase = "Failed"
    else:
        phase = "Released"
    wanted = {**volume, "status": {**volume.get("status", {}), "phase": phase}}
    has_data = phase == "Released" and policy == "Delete"
    if has_data and not is_terminating(wanted):
        wanted = with_metadata(wanted, deletionTimestamp=rfc3339(now), deletionGracePeriodSeconds=0)
    if not is_terminating(wanted):
        return _with_finalizer(wanted, VOLUME_PROTECTION)
    kept = [
        each for each in wanted["metadata"].get("finalizers") or () if each not in (VOLUME_PROTECTION, DATA)
    ]
    if has_data and view.has_node and _is_reclaimable(volume):
        kept.append(DATA)
    return with_metadata(wanted, finalizers=kept or None)


def _is_reclaimable(volume: Object) -> bool:
    """True until the agent has taken its finalizer away from a volume that someone else still holds."""
    return (
        not is_terminating(volume) or has_finalizer(volume, VOLUME_PROTECTION) or has_finalizer(volume, DATA)
    )


def _is_ours(volume: Object) -> bool:
    annotations = volume["metadata"].get("annotations") or {}
    return annotations.get(PROVISIONED_BY) == PROVISIONER and bool(volume["spec"].get("local"))


def _is_unsettled(state: State, claim: Object) -> bool:
    """True if a claim is being deleted under protection, or names a volume without being bound to it properly."""
    if is_terminating(claim):
        return has_finalizer(claim, CLAIM_PROTECTION)
    if not claim["spec"].get("volumeName"):
        return False
    return (
        _phase_of(claim) != "Bound"
        or not has_finalizer(claim, CLAIM_PROTECTION)
        or _volume_of(state, claim) is None
    )


def _volume_keys(state: State, name: str) -> Iterator[Key]:
    """Yield the key of a volume if there is something to do about it."""
    key = key_of(VOLUME.resource, "", name)
    volume = state.get(key)
    if volume is not None and _reclaim(_volume_view(state, volume), 0).changes:
        yield key


def _volume_view(state: State, volume: Object) -> VolumeView:
    has_claim = _claim_for(state, volume) is not None
    return VolumeView(volume, has_claim, has_claim or _has_node(state, volume))


def _has_node(state: State, volume: Object) -> bool:
    """True if some node can reach the volume; its host's name is most often its node's name."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    terms = (required or {}).get("nodeSelectorTerms") or ()
    conditions = (
        each
        for term in terms
        for part in ("matchExpressions", "matchFields")
        for each in term.get(part) or ()
    )
    likely = (
        state.get(key_of(NODE.resource, "", name)) for each in conditions for name in each.get("values") or ()
    )
    if any(node is not None and matches_node(required, node) for node in likely):
        return True
    return any(matches_node(required, node) for node in state.list(NODE.resource))


def _claim_for(state: State, volume: Object) -> Object | None:
    """Return the claim that a volume is for, if that very claim is still there."""
    reference = volume["spec"].get("claimRef") or {}
    if not reference.get("name"):
        return None
    claim = state.get(key_of(CLAIM.resource, reference.get("namespace", ""), reference["name"]))
    return claim if claim is not None and uid_of(claim) == reference.get("uid") else None


def _volume_of(state: State, claim: Object) -> Object | None:
    return state.get(key_of(VOLUME.resource, "", claim["spec"].get("volumeName", "")))


def _claims_of(state: State, pod: Object) -> Iterator[Object]:
    for name in _claim_names(pod):
        claim = state.get(key_of(CLAIM.resource, namespace_of(pod), name))
        if claim is not None:
            yield claim


def _users_of(state: State, namespace: str, claims: set[str]) -> dict[str, list[str]]:
    """Return the bound pods that use these claims: a pod without a node cannot start on a claim that goes."""
    users: dict[str, list[str]] = {}
    for pod in state.list(POD.resource, namespace):
        if pod["spec"].get("nodeName") and pod["spec"].get("volumes"):
            for name in claims.intersection(_claim_names(pod)):
                users.setdefault(name, []).append(name_of(pod))
    return users


def _claim_names(pod: Object) -> Iterator[str]:
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"]["claimName"]


def _is_for(volume: Object, claim: Object) -> bool:
    """True if a volume is free, or reserved for this claim."""
    reference = volume["spec"].get("claimRef")
    if is_terminating(volume):
        return False
    return not reference or (
        (reference.get("namespace"), reference.get("name")) == (namespace_of(claim), name_of(claim))
        and reference.get("uid", "") in ("", uid_of(claim))
    )


def _claims_key(namespace: str) -> Key:
    return f"{CLAIM.resource}/{namespace}"


def _phase_of(obj: Object) -> str:
    return str(obj.get("status", {}).get("phase", ""))


def _with_phase(obj: Object, phase: str) -> Replace:
    return Replace(obj, {**obj, "status": {**obj.get("status", {}), "phase": phase}})


def _with_finalizer(obj: Object, finalizer: str) -> Object:
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer in finalizers or is_terminating(obj):
        return obj
    return with_metadata(obj, finalizers=[*finalizers, finalizer])
