"""Volumes and claims after they are made: nothing in use goes, and nothing that went is left on a disk.

The scheduler makes volumes, since it alone knows the room on every node. All else is here
(pkg/controller/volume/persistentvolume, pvcprotection, pvprotection): a claim that waits for no pod is bound to a
volume that fits, or is told why it is not; a claim stays while a bound pod uses it; its volume is Released when it is
gone; one of ours with reclaim policy Delete then waits for its node's agent to remove the directory and take the
finalizer `chronoset.dev/data` away; others are kept.

Keys: `core/persistentvolumes/<name>` for a volume, and `core/persistentvolumeclaims/<namespace>` for all claims of a
namespace, so that the pods which use them are looked through once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from events.state import State
from schemas.changes import Change, Decision, Replace
from schemas.deletion import DATA_FINALIZER
from schemas.kinds import CLAIM, NODE, POD, STORAGE_CLASS, VOLUME
from schemas.objects import (
    Key,
    Object,
    is_terminating,
    key_of,
    name_of,
    namespace_of,
    uid_of,
    with_metadata,
)
from schemas.selectors import matches_node
from schemas.storage import (
    NO_PROVISIONER,
    OPEN_CLAIMS,
    UNCLAIMED_VOLUMES,
    Trouble,
    is_claimed_by,
    is_ours,
    mismatch,
    named_class,
    no_class,
    provisioning_trouble,
    waits_for_consumer,
    with_default_class,
)
from schemas.times import Milliseconds, rfc3339
from services.controllers.bindings import (
    CLAIM_PROTECTION,
    affinity_of,
    bound_claim,
    bound_volume,
    matching_volume,
    with_finalizer,
    with_trouble,
)
from services.controllers.controller import Controller
from services.controllers.finalizers import finalized, has_finalizer, without_finalizer

VOLUME_PROTECTION = "kubernetes.io/pv-protection"
DATA = DATA_FINALIZER

MOST_CHANGES = 500
_FAILURE = ("reason", "message")


@dataclass(frozen=True, slots=True)
class ClaimCase:
    """A claim that something may have to be done about. `users` are the names of the bound pods that use it."""

    claim: Object
    volume: Object | None
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimsView:
    """The claims of a namespace that something may have to be done about.

    classes   all storage classes, by name
    free      the volumes that no claim has yet
    """

    cases: tuple[ClaimCase, ...]
    classes: Mapping[str, Object] = field(default_factory=dict)
    free: tuple[Object, ...] = ()


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
            yield from _claims_keys(state, _claims_of_volume(state, old, new))
        case STORAGE_CLASS.kind:
            yield from _claims_keys(state, state.marked(OPEN_CLAIMS))
        case NODE.kind if new is None:
            for volume in state.list(VOLUME.resource):
                if is_terminating(volume):
                    yield from _volume_keys(state, name_of(volume))


def keys(state: State) -> Iterable[Key]:
    """Return the namespaces and volumes that there is something to do about."""
    found = dict.fromkeys(_claims_keys(state, state.list(CLAIM.resource)))
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
    cases = (ClaimCase(each, _volume_of(state, each), tuple(users.get(name_of(each), ()))) for each in claims)
    return ClaimsView(tuple(cases), classes_of(state), tuple(state.marked(UNCLAIMED_VOLUMES)))


def reconcile(view: View, now: Milliseconds) -> Decision:
    """Bind what names one another, let go what nobody uses, and reclaim what was let go."""
    match view:
        case ClaimsView():
            return _settle(view, now)
        case VolumeView():
            return _reclaim(view, now)


VOLUMES: Controller[View] = Controller("volumes", triggers, keys, view_of, reconcile)


def classes_of(state: State) -> dict[str, Object]:
    """Return the storage classes by name."""
    return {name_of(each): each for each in state.list(STORAGE_CLASS.resource)}


def _settle(view: ClaimsView, now: Milliseconds) -> Decision:
    changes: list[Change] = []
    taken: set[str] = set()
    waits = []
    for case in view.cases:
        if is_terminating(case.claim):
            if case.users:
                waits.append(f"{name_of(case.claim)} is used by {', '.join(case.users[:3])}")
            else:
                changes.append(without_finalizer(case.claim, CLAIM_PROTECTION))
            continue
        settled, wait = _settled(case, view, taken, now)
        changes += settled
        if wait:
            waits.append(wait)
    moved = [change for change in changes if not (isinstance(change, Replace) and change.old == change.new)]
    has_more = len(moved) > MOST_CHANGES
    return Decision(tuple(moved[:MOST_CHANGES]), (), "; ".join(waits[:3]), now if has_more else None)


def _settled(
    case: ClaimCase, view: ClaimsView, taken: set[str], now: Milliseconds
) -> tuple[list[Change], str]:
    """Return what brings a claim further, and what it waits for (syncUnboundClaim, syncBoundClaim)."""
    claim, name = case.claim, name_of(case.claim)
    if not claim["spec"].get("volumeName"):
        return _matched(claim, view, taken, now)
    volume_name, was_bound = claim["spec"]["volumeName"], _phase_of(claim) in ("Bound", "Lost")
    if case.volume is None:
        if was_bound:
            lost = Trouble(
                "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            )
            waits = f"{name} names {volume_name}, which does not exist"
            return [Replace(claim, with_trouble(claim, "Lost", lost, now))], waits
        missing = Trouble("FailedBinding", f'volume "{volume_name}" does not exist')
        waits = f"{name} names {volume_name}, which does not exist"
        return [Replace(claim, with_trouble(claim, "Pending", missing, now))], waits
    if not _is_for(case.volume, claim) or volume_name in taken:
        waits = f"{name} names {volume_name}, which is for another claim"
        if was_bound and not is_terminating(case.volume):
            stolen = Trouble(
                "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"
            )
            return [Replace(claim, with_trouble(claim, "Lost", stolen, now))], waits
        other = Trouble("FailedBinding", f'volume "{volume_name}" already bound to a different claim.')
        return [Replace(claim, with_trouble(claim, "Pending", other, now))], waits
    problem = mismatch(case.volume, claim, named_class(claim) or "") if not was_bound else ""
    if problem and not is_claimed_by(case.volume, claim):
        said = f'Cannot bind to requested volume "{volume_name}": {problem}'
        trouble = Trouble("VolumeMismatch", said)
        return [Replace(claim, with_trouble(claim, "Pending", trouble, now))], f"{name}: {said}"
    taken.add(volume_name)
    return [bound_volume(case.volume, claim), bound_claim(claim, case.volume)], ""


def _matched(claim: Object, view: ClaimsView, taken: set[str], now: Milliseconds) -> tuple[list[Change], str]:
    """Return the same for a claim that names no volume: the one that fits, or why there is none."""
    wanted = with_default_class(claim, view.classes.values())
    class_name = named_class(wanted) or ""
    found = view.classes.get(class_name)
    volume = matching_volume(wanted, view.free, taken, delays=waits_for_consumer(found))
    if volume is not None:
        taken.add(name_of(volume))
        return [bound_volume(volume, wanted), Replace(claim, bound_claim(wanted, volume).new)], ""
    trouble = trouble_of(wanted, view.classes)
    if trouble is None and found is not None and not waits_for_consumer(found):
        return [Replace(claim, {**wanted, "status": {**claim.get("status", {}), "phase": "Pending"}})], ""
    waits = f"{name_of(claim)}: {trouble.message}" if trouble else ""
    return [Replace(claim, with_trouble(wanted, "Pending", trouble, now))], waits


def trouble_of(claim: Object, classes: Mapping[str, Object]) -> Trouble | None:
    """Return why no volume will be made for a claim that fits none; None where the scheduler makes one."""
    class_name = named_class(claim) or ""
    if not class_name:
        return Trouble(
            "FailedBinding", "no persistent volumes available for this claim and no storage class is set"
        )
    found = classes.get(class_name)
    if found is None:
        return no_class(class_name)
    trouble = provisioning_trouble(claim, found)
    if trouble is not None and found.get("provisioner") == NO_PROVISIONER and waits_for_consumer(found):
        return None
    return trouble


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
        return with_finalizer(volume, VOLUME_PROTECTION)
    if not (volume["spec"].get("claimRef") or {}).get("uid"):
        phase = "Available"
    elif policy in ("Delete", "Recycle") and not (policy == "Delete" and is_ours(volume)):
        phase = "Failed"
    else:
        phase = "Released"
    status = {name: value for name, value in volume.get("status", {}).items() if name not in _FAILURE}
    failure = (
        {
            "reason": "VolumeFailedDelete" if policy == "Delete" else "VolumeFailedRecycle",
            "message": f'error getting deleter volume plugin for volume "{name_of(volume)}": no volume plugin matched',
        }
        if phase == "Failed"
        else {}
    )
    wanted = {**volume, "status": {**status, **failure, "phase": phase}}
    has_data = phase == "Released" and policy == "Delete"
    if has_data and not is_terminating(wanted):
        wanted = with_metadata(wanted, deletionTimestamp=rfc3339(now), deletionGracePeriodSeconds=0)
    if not is_terminating(wanted):
        return with_finalizer(wanted, VOLUME_PROTECTION)
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


def _is_unsettled(state: State, claim: Object) -> bool:
    """True if a claim is being deleted under protection, is not bound as it says, or is not for the scheduler alone."""
    if is_terminating(claim):
        return has_finalizer(claim, CLAIM_PROTECTION)
    if not claim["spec"].get("volumeName"):
        return _is_to_be_matched(state, claim)
    if _phase_of(claim) != "Bound" or not has_finalizer(claim, CLAIM_PROTECTION):
        return True
    volume = _volume_of(state, claim)
    return volume is None or (volume["spec"].get("claimRef") or {}).get("uid") != uid_of(claim)


def _is_to_be_matched(state: State, claim: Object) -> bool:
    """True if there is more to say of an unbound claim than that its pod will be given a volume."""
    class_name = named_class(claim)
    found = state.get(key_of(STORAGE_CLASS.resource, "", class_name)) if class_name else None
    if found is None or _phase_of(claim) != "Pending":
        return True
    if claim["status"].get("conditions") or provisioning_trouble(claim, found):
        return True
    free = state.marked(UNCLAIMED_VOLUMES)
    return bool(free) and matching_volume(claim, free, delays=waits_for_consumer(found)) is not None


def _claims_of_volume(state: State, old: Object | None, new: Object | None) -> Iterable[Object]:
    """Return the claims that a volume's change may concern: the ones it is and was for, all others if it is free."""
    concerned = [claim for each in (old, new) if each and (claim := _claim_named_by(state, each))]
    if new is not None and not (new["spec"].get("claimRef") or {}).get("uid"):
        concerned += state.marked(OPEN_CLAIMS)
    return concerned


def _claims_keys(state: State, claims: Iterable[Object]) -> Iterator[Key]:
    """Yield the keys of the namespaces in which one of the claims is unsettled."""
    found: set[str] = set()
    for claim in claims:
        if namespace_of(claim) not in found and _is_unsettled(state, claim):
            found.add(namespace_of(claim))
            yield _claims_key(namespace_of(claim))


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
    required = affinity_of(volume)
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
    claim = _claim_named_by(state, volume)
    reference = volume["spec"].get("claimRef") or {}
    return claim if claim is not None and uid_of(claim) == reference.get("uid") else None


def _claim_named_by(state: State, volume: Object) -> Object | None:
    reference = volume["spec"].get("claimRef") or {}
    if not reference.get("name"):
        return None
    return state.get(key_of(CLAIM.resource, reference.get("namespace", ""), reference["name"]))


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
    if is_terminating(volume) and (volume["spec"].get("claimRef") or {}).get("uid") != uid_of(claim):
        return False
    return not volume["spec"].get("claimRef") or is_claimed_by(volume, claim)


def _claims_key(namespace: str) -> Key:
    return f"{CLAIM.resource}/{namespace}"


def _phase_of(obj: Object) -> str:
    return str(obj.get("status", {}).get("phase", ""))
