"""What reconciling a StatefulSet needs to know, read from the state in one pass; and which events concern
which set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from events.state import Failure, State
from schemas.kinds import CLAIM, CONTROLLER_REVISION, POD, STATEFUL_SET
from schemas.objects import (
    Key,
    Object,
    controller_of,
    key_of,
    key_of_object,
    name_of,
    namespace_of,
)
from schemas.views import ClaimView, PodView, StatefulSetView
from services.controllers.pods import is_pending
from services.controllers.statefulset.claims import claim_names, sets_of_claim
from services.controllers.statefulset.identity import ordinal_of, pod_name, set_name_of


@dataclass(frozen=True, slots=True)
class View:
    """A StatefulSet and all that it is decided upon.

    owned        pods whose controller is the set
    orphans      pods of its namespace without a controller that are named like its own
    strangers    names of its missing pods that pods of others hold
    claims       name -> claim, of the ordinals that have no pod yet or a Pending one
    revisions    ControllerRevisions that it owns or may adopt, and where a name may be taken, all others
    ever_ready   uids of those owned pods that were Ready at least once
    failures     pod name -> how often it failed since it was last Ready
    """

    owner: StatefulSetView
    owned: tuple[PodView, ...]
    orphans: tuple[PodView, ...]
    strangers: frozenset[str]
    claims: Mapping[str, ClaimView]
    revisions: tuple[Object, ...]
    ever_ready: frozenset[str]
    failures: Mapping[str, Failure]


def view_of(state: State, key: Key) -> View | None:
    """Return the view of a set, or None where there is none. Cost: its own pods, claims and revisions."""
    raw = state.get(key)
    if raw is None:
        return None
    owner = StatefulSetView(raw)
    owned: list[PodView] = []
    revisions = state.orphans(CONTROLLER_REVISION.resource, owner.namespace)
    for obj in state.owned_by(owner.uid):
        reference = controller_of(obj)
        if obj["kind"] == CONTROLLER_REVISION.kind:
            revisions.append(obj)
        elif obj["kind"] == POD.kind and reference is not None and reference["uid"] == owner.uid:
            owned.append(PodView(obj))
    orphans = tuple(
        PodView(obj)
        for obj in state.orphans(POD.resource, owner.namespace)
        if ordinal_of(owner.name, name_of(obj)) is not None
    )
    return View(
        owner=owner,
        owned=tuple(owned),
        orphans=orphans,
        strangers=_strangers(state, owner, owned),
        claims=_claims(state, owner, owned),
        revisions=tuple(_with_namesakes(state, owner, revisions)),
        ever_ready=frozenset(pod.uid for pod in owned if pod.uid in state.ever_ready),
        failures={
            pod.name: state.failures[owner.uid, pod.name]
            for pod in owned
            if (owner.uid, pod.name) in state.failures
        },
    )


def _with_namesakes(state: State, owner: StatefulSetView, own: list[Object]) -> list[Object]:
    """Return all revisions of the namespace where a name may be taken by one of another owner.

    That can only be while the update revision is not the set's own: it is new, it was deleted, or the last
    incarnation of the set left one of that name behind.
    """
    if owner.status.get("updateRevision") in {name_of(revision) for revision in own}:
        return own
    return state.list(CONTROLLER_REVISION.resource, owner.namespace)


def _strangers(state: State, owner: StatefulSetView, owned: list[PodView]) -> frozenset[str]:
    present = {pod.name for pod in owned}
    names = (pod_name(owner.name, owner.start + index) for index in range(owner.replicas))
    missing = (name for name in names if name not in present)
    return frozenset(
        name for name in missing if state.get(key_of(POD.resource, owner.namespace, name)) is not None
    )


def _claims(state: State, owner: StatefulSetView, owned: list[PodView]) -> dict[str, ClaimView]:
    if not owner.claim_templates:
        return {}
    settled = {pod.name for pod in owned if not is_pending(pod)}
    found = {}
    for ordinal in range(owner.start, owner.start + owner.replicas):
        if pod_name(owner.name, ordinal) in settled:
            continue
        for name in claim_names(owner, ordinal):
            claim = state.get(key_of(CLAIM.resource, owner.namespace, name))
            if claim is not None:
                found[name] = ClaimView(claim)
    return found


def keys(state: State) -> Iterator[Key]:
    """Yield the key of every StatefulSet."""
    return map(key_of_object, state.list(STATEFUL_SET.resource))


def triggers(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    """Yield the keys of the sets that an event may concern; a key may come twice.

    A set itself; a pod's controller, before and after, or the set that may adopt it; the owner of a revision
    that was changed or deleted (a created one triggers nothing); the set that waits for a claim to go.
    """
    for obj in (old, new):
        if obj is None:
            continue
        match obj["kind"]:
            case STATEFUL_SET.kind:
                yield key_of_object(obj)
            case POD.kind:
                yield from _sets_of(state, obj)
            case CONTROLLER_REVISION.kind if old is not None:
                yield from _sets_of(state, obj)
            case CLAIM.kind:
                yield from _sets_that_claim(state, obj)


def _sets_of(state: State, obj: Object) -> Iterator[Key]:
    """The set that controls an object, and where nobody does the one that it is named after."""
    reference = controller_of(obj)
    if reference is None:
        name = set_name_of(name_of(obj))
    elif reference["kind"] == STATEFUL_SET.kind:
        name = reference["name"]
    else:
        return
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
