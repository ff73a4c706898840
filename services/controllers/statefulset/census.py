"""Makes views of StatefulSets at the cost of what has changed.

A `Census` remembers what it found and looks only at those pods anew that have changed since (Holdings). What is at
rest, whatever time it is, is only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import is_

from events.state import Failure, State
from schemas.kinds import CLAIM, POD, STORAGE_CLASS
from schemas.objects import Key, Object, key_of, name_of
from schemas.selectors import Selector, selector_of
from schemas.views import ClaimView, PodView, StatefulSetView
from services.controllers.holdings import Holdings, Pods
from services.controllers.pods import is_pending
from services.controllers.statefulset.claims import claim_stems
from services.controllers.statefulset.identity import ordinal_of, pod_name, with_identity
from services.controllers.statefulset.members import Member, Standing, member_of
from services.controllers.statefulset.retention import is_kept_as_it_should
from services.controllers.statefulset.view import View


@dataclass(slots=True)
class _Memory:
    """What was found for one set.

    members      its pods; `released` are pods that it controls and that are not its by selector or name
    condemned    members beyond the range, by ordinal
    unsettled    indexes of the replicas that are missing or not at rest
    by_revision  revision -> indexes of the replicas that have it; `told` are those of them that views know already
    claim_keys   of the replicas' claims, as many for each index as the set has claim templates
    claims       what was found there
    astray       indexes with a claim whose owners are not what the retention policy says
    """

    selector: Selector
    replicas: list[Member | None]
    unsettled: set[int]
    claim_keys: tuple[Key, ...]
    claims: list[Object | None]
    members: dict[Key, Member] = field(default_factory=dict)
    released: dict[Key, PodView] = field(default_factory=dict)
    condemned: dict[int, Member] = field(default_factory=dict)
    by_revision: dict[str, set[int]] = field(default_factory=dict)
    told: dict[str, frozenset[int]] = field(default_factory=dict)
    standings: Counter[Standing] = field(default_factory=Counter)
    astray: set[int] = field(default_factory=set)


class Census:
    """Makes views of states, and remembers what it found. It holds nothing that a state does not say."""

    def __init__(self) -> None:
        self._holdings = Holdings(_asks, _nothing_known, _update)

    def view_of(self, state: State, key: Key) -> View | None:
        """Return the view of a set, or None where there is none."""
        raw = state.get(key)
        if raw is None:
            self._holdings.forget(key)
            return None
        owner = StatefulSetView(raw)
        memory, revisions = self._holdings.of(state, key, owner)
        unsettled = tuple(sorted(memory.unsettled | memory.astray))
        condemned = tuple(memory.condemned[ordinal] for ordinal in sorted(memory.condemned, reverse=True))
        doubtful = [*filter(None, (memory.replicas[index] for index in unsettled)), *condemned]
        return View(
            owner=owner,
            replicas=tuple(memory.replicas),
            condemned=condemned,
            unsettled=unsettled,
            by_revision=_told(memory),
            standings=dict(memory.standings),
            released=tuple(sorted(memory.released.values(), key=lambda pod: pod.name)),
            orphans=tuple(
                PodView(obj)
                for obj in state.orphans(POD.resource, owner.namespace)
                if ordinal_of(owner.name, name_of(obj)) is not None
            ),
            strangers=frozenset(_strangers(memory, state, owner, unsettled)),
            claims=_claims(state, owner, doubtful, unsettled),
            revisions=tuple(revisions),
            ever_ready=frozenset(each.pod.uid for each in doubtful if each.pod.uid in state.ever_ready),
            failures=_failures(state, owner, doubtful),
            classes=tuple(state.list(STORAGE_CLASS.resource)) if owner.claim_templates else (),
        )


def _asks(owner: StatefulSetView) -> tuple[object, ...]:
    return (
        owner.uid,
        owner.selector,
        owner.start,
        owner.replicas,
        owner.min_ready_seconds,
        owner.deletes_claims_when_deleted,
        claim_stems(owner),
    )


def _nothing_known(owner: StatefulSetView) -> _Memory:
    ordinals, stems = range(owner.start, owner.start + owner.replicas), claim_stems(owner)
    keys = tuple(
        key_of(CLAIM.resource, owner.namespace, f"{stem}{ordinal}") for ordinal in ordinals for stem in stems
    )
    return _Memory(
        selector=selector_of(owner.selector),
        replicas=[None] * owner.replicas,
        unsettled=set(range(owner.replicas)),
        claim_keys=keys,
        claims=[None] * len(keys),
    )


def _update(memory: _Memory, state: State, owner: StatefulSetView, pods: Pods) -> None:
    """Put the pods where they belong, and look at the claims that have changed."""
    for key, raw in pods:
        memory.released.pop(key, None)
        old, new = memory.members.pop(key, None), None
        if raw is not None:
            pod = PodView(raw)
            ordinal = ordinal_of(owner.name, pod.name)
            if ordinal is None or not memory.selector.matches(pod.labels):
                memory.released[key] = pod
            else:
                new = memory.members[key] = member_of(pod, ordinal, owner.min_ready_seconds)
        _replace(memory, owner, old, new)
    _check_claims(memory, owner, state)


def _replace(memory: _Memory, owner: StatefulSetView, old: Member | None, new: Member | None) -> None:
    """Put a member in the place of another, which has the same name where there are both."""
    _count(memory.standings, old, new)
    present = new or old
    if present is None:
        return
    index = present.ordinal - owner.start
    if not 0 <= index < owner.replicas:
        memory.condemned.pop(present.ordinal, None)
        if new is not None:
            memory.condemned[present.ordinal] = new
        return
    memory.replicas[index] = new
    if new is not None and _is_settled(new):
        memory.unsettled.discard(index)
    else:
        memory.unsettled.add(index)
    was, now = old.revision if old else None, new.revision if new else None
    if was != now:
        if was is not None:
            memory.told.pop(was, None)
            memory.by_revision[was].remove(index)
            if not memory.by_revision[was]:
                del memory.by_revision[was]
        if now is not None:
            memory.told.pop(now, None)
            memory.by_revision.setdefault(now, set()).add(index)


def _told(memory: _Memory) -> dict[str, frozenset[int]]:
    for revision, indexes in memory.by_revision.items():
        if revision not in memory.told:
            memory.told[revision] = frozenset(indexes)
    return dict(memory.told)


def _count(standings: Counter[Standing], old: Member | None, new: Member | None) -> None:
    if old is not None:
        standings[old.standing] -= 1
        if not standings[old.standing]:
            del standings[old.standing]
    if new is not None:
        standings[new.standing] += 1


def _is_settled(member: Member) -> bool:
    """True where there is nothing to do for the pod itself or to wait for, whatever time it is."""
    return member.is_healthy(0) and with_identity(member.pod, member.ordinal) is member.pod.raw


def _check_claims(memory: _Memory, owner: StatefulSetView, state: State) -> None:
    """Look at those claims of the replicas anew that came, changed or went."""
    if not memory.claim_keys:
        return
    found = [*map(state.objects.get, memory.claim_keys)]
    if all(map(is_, found, memory.claims)):
        return
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
    first, place = owner.start, key_of(POD.resource, owner.namespace, "")
    missing = (pod_name(owner.name, first + index) for index in unsettled if memory.replicas[index] is None)
    return (name for name in missing if f"{place}{name}" in state.objects and name not in ours)


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


def _failures(state: State, owner: StatefulSetView, doubtful: list[Member]) -> dict[str, Failure]:
    if not state.failures:
        return {}
    names = (member.pod.name for member in doubtful)
    return {name: state.failures[owner.uid, name] for name in names if (owner.uid, name) in state.failures}
