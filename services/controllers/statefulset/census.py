"""Makes views of StatefulSets at the cost of what has changed.

Looking at 1,000 pods takes longer than deciding about the one that changed, so a `Census` remembers what it found of
each for as long as they are the very same objects (an object is never edited in place), and looks only at those anew
that differ. What is at rest, whatever time it is, is only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from events.state import Failure, State
from schemas.kinds import CLAIM, CONTROLLER_REVISION, POD, STORAGE_CLASS
from schemas.objects import Key, Object, controller_of, key_of, name_of
from schemas.selectors import Selector, selector_of
from schemas.views import ClaimView, PodView, StatefulSetView
from services.controllers.pods import is_pending
from services.controllers.statefulset.claims import claim_stems
from services.controllers.statefulset.identity import ordinal_of, pod_name, with_identity
from services.controllers.statefulset.members import Member, Standing, member_of
from services.controllers.statefulset.retention import is_kept_as_it_should
from services.controllers.statefulset.view import View


@dataclass(slots=True)
class _Memory:
    """What was found for one set while what it asks was `asks`. Objects are known by their id, and so kept alive.

    owned        what has an owner reference to the set
    members      its pods among them; `released` are pods that it controls and that are not its by selector or name
    revisions    the ControllerRevisions among them
    condemned    members beyond the range, by ordinal
    unsettled    indexes of the replicas that are missing or not at rest
    by_revision  revision -> indexes of the replicas that have it
    claim_keys   of the replicas' claims, as many for each index as the set has claim templates
    claims       what was found there
    astray       indexes with a claim whose owners are not what the retention policy says
    """

    spec: Object
    asks: tuple[object, ...]
    selector: Selector
    replicas: list[Member | None]
    unsettled: set[int]
    claim_keys: tuple[Key, ...]
    claims: list[Object | None]
    owned: dict[int, Object] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)
    released: dict[int, PodView] = field(default_factory=dict)
    revisions: dict[int, Object] = field(default_factory=dict)
    condemned: dict[int, Member] = field(default_factory=dict)
    by_revision: dict[str, set[int]] = field(default_factory=dict)
    standings: Counter[Standing] = field(default_factory=Counter)
    astray: set[int] = field(default_factory=set)


class Census:
    """Makes views of states, and remembers what it found. It holds nothing that a state does not say."""

    def __init__(self) -> None:
        self._memories: dict[Key, _Memory] = {}

    def view_of(self, state: State, key: Key) -> View | None:
        """Return the view of a set, or None where there is none."""
        raw = state.get(key)
        if raw is None:
            self._memories.pop(key, None)
            return None
        owner = StatefulSetView(raw)
        memory = _memory_for(owner, self._memories.pop(key, None))
        _count_owned(memory, state, owner)
        _check_claims(memory, state, owner)
        self._memories[key] = memory
        unsettled = tuple(sorted(memory.unsettled | memory.astray))
        condemned = tuple(memory.condemned[ordinal] for ordinal in sorted(memory.condemned, reverse=True))
        doubtful = [*filter(None, (memory.replicas[index] for index in unsettled)), *condemned]
        return View(
            owner=owner,
            replicas=tuple(memory.replicas),
            condemned=condemned,
            unsettled=unsettled,
            by_revision={revision: frozenset(indexes) for revision, indexes in memory.by_revision.items()},
            standings=dict(memory.standings),
            released=tuple(sorted(memory.released.values(), key=lambda pod: pod.name)),
            orphans=tuple(
                PodView(obj)
                for obj in state.orphans(POD.resource, owner.namespace)
                if ordinal_of(owner.name, name_of(obj)) is not None
            ),
            strangers=frozenset(_strangers(memory, state, owner, unsettled)),
            claims=_claims(state, owner, doubtful, unsettled),
            revisions=tuple(_revisions(state, owner, memory)),
            ever_ready=frozenset(each.pod.uid for each in doubtful if each.pod.uid in state.ever_ready),
            failures=_failures(state, owner, doubtful),
            classes=tuple(state.list(STORAGE_CLASS.resource)) if owner.claim_templates else (),
        )


def _memory_for(owner: StatefulSetView, known: _Memory | None) -> _Memory:
    """Return what was found before, or nothing where the set asks something else of its pods and claims than then."""
    spec = owner.raw["spec"]
    if known is not None and known.spec is spec:
        return known
    stems = claim_stems(owner)
    asks = (
        owner.uid,
        owner.selector,
        owner.start,
        owner.replicas,
        owner.min_ready_seconds,
        owner.deletes_claims_when_deleted,
        stems,
    )
    if known is not None and known.asks == asks:
        known.spec = spec
        return known
    ordinals = range(owner.start, owner.start + owner.replicas)
    keys = tuple(
        key_of(CLAIM.resource, owner.namespace, f"{stem}{ordinal}") for ordinal in ordinals for stem in stems
    )
    return _Memory(
        spec=spec,
        asks=asks,
        selector=selector_of(owner.selector),
        replicas=[None] * owner.replicas,
        unsettled=set(range(owner.replicas)),
        claim_keys=keys,
        claims=[None] * len(keys),
    )


def _count_owned(memory: _Memory, state: State, owner: StatefulSetView) -> None:
    """Bring the set's pods and revisions up to date."""
    present = {id(obj): obj for obj in state.owned_by(owner.uid)}
    for identity in memory.owned.keys() - present.keys():
        memory.released.pop(identity, None)
        memory.revisions.pop(identity, None)
        member = memory.members.pop(identity, None)
        if member is not None:
            _leave(memory, owner, member)
    for identity in present.keys() - memory.owned.keys():
        obj = present[identity]
        if obj["kind"] == CONTROLLER_REVISION.kind:
            memory.revisions[identity] = obj
        elif obj["kind"] == POD.kind and (controller_of(obj) or {}).get("uid") == owner.uid:
            pod = PodView(obj)
            ordinal = ordinal_of(owner.name, pod.name)
            if ordinal is None or not memory.selector.matches(pod.labels):
                memory.released[identity] = pod
            else:
                member = memory.members[identity] = member_of(pod, ordinal, owner.min_ready_seconds)
                _join(memory, owner, member)
    memory.owned = present


def _leave(memory: _Memory, owner: StatefulSetView, member: Member) -> None:
    memory.standings[member.standing] -= 1
    if not memory.standings[member.standing]:
        del memory.standings[member.standing]
    index = member.ordinal - owner.start
    if not 0 <= index < owner.replicas:
        del memory.condemned[member.ordinal]
        return
    memory.replicas[index] = None
    memory.unsettled.add(index)
    indexes = memory.by_revision[member.revision]
    indexes.remove(index)
    if not indexes:
        del memory.by_revision[member.revision]


def _join(memory: _Memory, owner: StatefulSetView, member: Member) -> None:
    memory.standings[member.standing] += 1
    index = member.ordinal - owner.start
    if not 0 <= index < owner.replicas:
        memory.condemned[member.ordinal] = member
        return
    memory.replicas[index] = member
    memory.by_revision.setdefault(member.revision, set()).add(index)
    if _is_settled(member):
        memory.unsettled.discard(index)


def _is_settled(member: Member) -> bool:
    """True where there is nothing to do for the pod itself or to wait for, whatever time it is."""
    return member.is_healthy(0) and with_identity(member.pod, member.ordinal) is member.pod.raw


def _check_claims(memory: _Memory, state: State, owner: StatefulSetView) -> None:
    """Look at those claims of the replicas anew that came, changed or went."""
    if not memory.claim_keys:
        return
    found = [*map(state.objects.get, memory.claim_keys)]
    each = len(owner.claim_templates)
    changed = {
        position // each
        for position, (old, new) in enumerate(zip(memory.claims, found, strict=True))
        if old is not new
    }
    memory.claims = found
    for index in changed:
        claims = found[index * each : (index + 1) * each]
        if all(claim is None or is_kept_as_it_should(owner, claim) for claim in claims):
            memory.astray.discard(index)
        else:
            memory.astray.add(index)


def _strangers(
    memory: _Memory, state: State, owner: StatefulSetView, unsettled: tuple[int, ...]
) -> Iterator[str]:
    """Yield the names of missing replicas that pods of others have."""
    ours = {pod.name for pod in memory.released.values()}
    for index in unsettled:
        if memory.replicas[index] is None:
            name = pod_name(owner.name, owner.start + index)
            if name not in ours and state.get(key_of(POD.resource, owner.namespace, name)) is not None:
                yield name


def _claims(
    state: State, owner: StatefulSetView, doubtful: list[Member], unsettled: tuple[int, ...]
) -> dict[str, ClaimView]:
    """Return the claims of the ordinals that `View.claims` tells of, by name."""
    stems = claim_stems(owner)
    if not stems:
        return {}
    pods = {member.ordinal: member.pod for member in doubtful}
    wanted = range(owner.start, owner.start + owner.replicas)
    found = {}
    for ordinal in (*(owner.start + index for index in unsettled), *(pods.keys() - set(wanted))):
        has_begun = ordinal in wanted and ordinal in pods and not is_pending(pods[ordinal])
        for stem in stems:
            name = f"{stem}{ordinal}"
            claim = state.get(key_of(CLAIM.resource, owner.namespace, name))
            if claim is not None and not (has_begun and is_kept_as_it_should(owner, claim)):
                found[name] = ClaimView(claim)
    return found


def _revisions(state: State, owner: StatefulSetView, memory: _Memory) -> list[Object]:
    """Return the set's revisions and those of nobody; all of the namespace where a name may be another owner's.

    That can only be while the update revision is not the set's own: it is new, it was deleted, or the last
    incarnation of the set left one of that name behind.
    """
    own = [*state.orphans(CONTROLLER_REVISION.resource, owner.namespace)]
    own += sorted(memory.revisions.values(), key=name_of)
    if owner.status.get("updateRevision") in {name_of(revision) for revision in own}:
        return own
    return state.list(CONTROLLER_REVISION.resource, owner.namespace)


def _failures(state: State, owner: StatefulSetView, doubtful: list[Member]) -> dict[str, Failure]:
    if not state.failures:
        return {}
    names = (member.pod.name for member in doubtful)
    return {name: state.failures[owner.uid, name] for name in names if (owner.uid, name) in state.failures}
