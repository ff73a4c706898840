"""What a StatefulSet is decided upon; and which events concern which set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from events.state import Failure, State
from schemas.kinds import CLAIM, CONTROLLER_REVISION, POD, STATEFUL_SET
from schemas.objects import Key, Object, controller_of, key_of, key_of_object, name_of, namespace_of
from schemas.views import ClaimView, PodView, StatefulSetView
from services.controllers.statefulset.claims import sets_of_claim
from services.controllers.statefulset.identity import set_name_of
from services.controllers.statefulset.members import Member, Standing


@dataclass(frozen=True, slots=True)
class View:
    """A StatefulSet and all that it is decided upon.

    replicas     by index (ordinal - start): the member, or None where the pod is missing
    condemned    members beyond the range (below its start too), highest ordinal first
    unsettled    indexes, ascending, of all replicas but those that are available at all times, and whose labels and
                 claims are as they should be
    by_revision  revision -> indexes of the replicas that have it
    standings    standing -> how many members have it, replicas and condemned
    released     pods whose controller is the set, and which are not its own by selector or name
    orphans      pods of its namespace without a controller that are named like its own
    strangers    names of its missing pods that pods of others hold
    claims       name -> claim, of the ordinals that have no pod or a Pending one, of its pods beyond the range, and
                 all others whose owners may not be what the retention policy says
    revisions    ControllerRevisions that it owns or may adopt, and where a name may be taken, all others
    ever_ready   uids of those members that were Ready at least once, the settled ones left out
    failures     pod name -> how often it failed since it was last Ready, the settled ones left out
    classes      the storage classes, for new claims that name none
    """

    owner: StatefulSetView
    replicas: tuple[Member | None, ...]
    condemned: tuple[Member, ...]
    unsettled: tuple[int, ...]
    by_revision: Mapping[str, frozenset[int]]
    standings: Mapping[Standing, int]
    released: tuple[PodView, ...]
    orphans: tuple[PodView, ...]
    strangers: frozenset[str]
    claims: Mapping[str, ClaimView]
    revisions: tuple[Object, ...]
    ever_ready: Set[str]
    failures: Mapping[str, Failure]
    classes: tuple[Object, ...] = ()


def keys(state: State) -> Iterator[Key]:
    """Yield the key of every StatefulSet."""
    return map(key_of_object, state.list(STATEFUL_SET.resource))


def triggers(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    """Yield the keys of the sets that an event may concern; a key may come twice.

    A set itself; a pod's controller, before and after, or the set that may adopt it; the owner of a revision
    that was changed or deleted (a created one triggers nothing); the set that waits for a claim to go. What the
    controller itself brings about, and what it does not look at, is no news: an ordered rollout would spend
    most of its time on looks that find nothing.
    """
    if not _is_news(state, old, new):
        return
    for obj in (old, new):
        if obj is None:
            continue
        match obj["kind"]:
            case STATEFUL_SET.kind:
                yield key_of_object(obj)
            case POD.kind | CONTROLLER_REVISION.kind:
                yield from _sets_of(state, obj, is_gone=new is None)
            case CLAIM.kind:
                yield from _sets_that_claim(state, obj)


def _is_news(state: State, old: Object | None, new: Object | None) -> bool:
    if old is None:
        assert new is not None
        match new["kind"]:
            case STATEFUL_SET.kind:
                return True
            case POD.kind:
                return not _is_awaited(state, new)
        return False
    if new is None:
        return True
    match new["kind"]:
        case STATEFUL_SET.kind:
            return old["spec"] != new["spec"] or _bonds(old) != _bonds(new)
        case POD.kind:
            return _bonds(old) != _bonds(new) or _outlook(old) != _outlook(new)
        case CLAIM.kind:
            return _bonds(old) != _bonds(new)
    return True


def _is_awaited(state: State, pod: Object) -> bool:
    """True for a new pod of an ordered set, which makes one at a time and then waits for it to change."""
    reference = controller_of(pod)
    if reference is None or reference["kind"] != STATEFUL_SET.kind:
        return False
    found = state.get(key_of(STATEFUL_SET.resource, namespace_of(pod), reference["name"]))
    return found is not None and not StatefulSetView(found).is_parallel


def _bonds(obj: Object) -> tuple[object, ...]:
    """What ties an object to others and to life."""
    metadata = obj["metadata"]
    return (
        metadata.get("labels"),
        metadata.get("annotations"),
        metadata.get("ownerReferences"),
        metadata.get("finalizers"),
        metadata.get("deletionTimestamp"),
    )


def _outlook(pod: Object) -> tuple[object, ...]:
    """What decisions and sentences about a pod go by; that it was bound to a node is not among it."""
    status = pod.get("status") or {}
    conditions = [
        condition
        for condition in status.get("conditions", ())
        if condition["type"] == "Ready"
        or (condition["type"] == "PodScheduled" and condition["status"] != "True")
    ]
    return (
        status.get("phase", "Pending"),
        conditions,
        status.get("containerStatuses"),
        status.get("initContainerStatuses"),
    )


def _sets_of(state: State, obj: Object, is_gone: bool) -> Iterator[Key]:
    """The set that controls an object; the one that it is named after, where nobody does or its name is free now."""
    reference = controller_of(obj)
    names = []
    if reference is not None and reference["kind"] == STATEFUL_SET.kind:
        names.append(reference["name"])
    if reference is None or is_gone:
        names.append(set_name_of(name_of(obj)))
    for name in names:
        key = key_of(STATEFUL_SET.resource, namespace_of(obj), name)
        if state.get(key) is not None:
            yield key


def _sets_that_claim(state: State, claim: Object) -> Iterator[Key]:
    for template_name, set_name in sets_of_claim(name_of(claim)):
        found = state.get(key_of(STATEFUL_SET.resource, namespace_of(claim), set_name))
        if found is not None and any(
            template["metadata"]["name"] == template_name
            for template in StatefulSetView(found).claim_templates
        ):
            yield key_of_object(found)
