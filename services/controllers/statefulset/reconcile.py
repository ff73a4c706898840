"""One pass over a StatefulSet: adopt, derive, decide, describe.

The result is whole: applying its changes and reconciling again at the same moment changes nothing more, or
goes on with the next step. Nothing here reads a clock or writes anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from schemas.changes import Change, Create, Decision, Delete, Replace
from schemas.deletion import deletion_of
from schemas.objects import Object, name_of, with_fields
from schemas.revisions import Derivation, derive, go_json, history_to_truncate, template_of
from schemas.selectors import selector_of
from schemas.storage import with_default_class
from schemas.times import Milliseconds
from services.controllers.pods import is_pending
from services.controllers.references import released
from services.controllers.statefulset.claims import missing_claims, present_claims
from services.controllers.statefulset.decide import Plan, decide, earliest
from services.controllers.statefulset.identity import (
    adopted,
    new_pod,
    ordinal_of,
    prototype_of,
    with_identity,
)
from services.controllers.statefulset.retention import with_retention
from services.controllers.statefulset.situation import Situation
from services.controllers.statefulset.status import status_of
from services.controllers.statefulset.view import View

MOST_PODS = 400
"""How many pods one batch creates or deletes at most; the rest follows when it has been appended."""
MOST_MENDED = 90
"""How many objects of each sort one batch mends at most, and revisions it deletes: 1,000 events are the limit."""
MOST_BYTES = 2 << 20
"""How much of pods one batch creates at most, of the 4 MiB that a batch may have."""


def reconcile(view: View, now: Milliseconds) -> Decision:
    """Return what to change for a set at `now`, and what it waits for then."""
    owner = view.owner
    if changes := tuple(islice(_ownership(view), MOST_PODS)):
        return Decision(changes, rests_on=(owner.raw,), waiting_for="pods are adopted or released")
    derivation = derive(owner.raw, view.revisions)
    update = derivation.update_revision_name
    known = {name_of(revision) for revision in derivation.revisions} | {update}
    current = owner.status.get("currentRevision", "")
    situation = Situation(view, current if current in known else update, update)
    plan = _limited(situation, decide(situation, now))
    return Decision(
        changes=_changes(situation, plan, derivation, now),
        rests_on=(owner.raw, *_relied_upon(situation, plan, now)),
        waiting_for=plan.waiting_for,
        requeue_at=earliest(plan.requeue_at, *_future_availability(situation, now)),
    )


def _ownership(view: View) -> Iterator[Change]:
    """Adopt orphans that are the set's by selector and name, release pods that no longer are (ClaimPods)."""
    owner = view.owner
    if owner.is_terminating:
        return
    selector = selector_of(owner.selector)
    for pod in view.orphans:
        ordinal = ordinal_of(owner.name, pod.name)
        if ordinal is not None and not pod.is_terminating and selector.matches(pod.labels):
            yield Replace(pod.raw, adopted(owner, pod, ordinal))
    yield from (Replace(pod.raw, released(pod.raw, owner.raw)) for pod in view.released)


def _limited(situation: Situation, plan: Plan) -> Plan:
    """Return the plan cut to what fits one atomic batch; its own events bring the set back for the rest.

    Invariant: a condemned pod goes only when all claims of the condemned follow the policy, or do so in this batch.
    """
    per_pod = 1 + len(situation.owner.claim_templates)
    most = MOST_PODS // per_pod
    if len(plan.create) > 1:
        most = min(most, MOST_BYTES // (len(go_json(situation.owner.raw["spec"])) + 1))
    delete = plan.delete
    if plan.condemned and len(list(islice(_retained(situation, plan), MOST_MENDED + 1))) > MOST_MENDED:
        beyond = {member.ordinal for member in plan.condemned}
        delete = tuple(member for member in delete if member.ordinal not in beyond)
    return replace(plan, create=plan.create[: max(most, 1)], delete=delete[:MOST_PODS])


def _changes(
    situation: Situation, plan: Plan, derivation: Derivation, now: Milliseconds
) -> tuple[Change, ...]:
    deletions = [deletion_of(member.pod.raw, now) for member in plan.delete]
    removed = frozenset(name_of(each.old) for each in deletions if isinstance(each, Delete))
    count = derivation.workload.get("status", {}).get("collisionCount", 0)
    status = status_of(situation, plan, removed, count, now)
    changes: list[Change] = [*islice(_retained(situation, plan), MOST_MENDED), *deletions]
    if not situation.owner.is_terminating:
        changes += islice(_mended(situation, plan), MOST_MENDED)
        changes += _pods(situation, plan, derivation)
        changes += derivation.changes or _truncation(situation, derivation, status)
    if status != situation.owner.status:
        changes.append(Replace(situation.owner.raw, with_fields(situation.owner.raw, status=status)))
    return tuple(changes)


def _pods(situation: Situation, plan: Plan, derivation: Derivation) -> Iterator[Change]:
    """Create the pods of the plan, each after the claims that it lacks."""
    owner = situation.owner
    known = {name_of(revision): revision for revision in derivation.revisions}
    prototypes: dict[str, Object] = {}
    for index in plan.create:
        ordinal, revision = owner.start + index, situation.revision_of_new(index)
        if revision not in prototypes:
            template = owner.template if revision == situation.update else template_of(known[revision])
            prototypes[revision] = prototype_of(template)
        pod = new_pod(owner, ordinal, revision, prototypes[revision])
        yield from map(Create, _missing_claims(situation, ordinal))
        yield from _claims_retained(situation, ordinal, pod, is_condemned=False)
        yield Create(pod)


def _missing_claims(situation: Situation, ordinal: int) -> Iterator[Object]:
    """Yield the claims that an ordinal lacks, of the default class where their template names none."""
    for claim in missing_claims(situation.owner, ordinal, situation.view.claims):
        yield with_default_class(claim, situation.view.classes)


def _mended(situation: Situation, plan: Plan) -> Iterator[Change]:
    """Give back what staying pods have lost: the labels of identity, and while Pending, claims.

    The claims of a terminating pod are its own until it is gone, but a Parallel set wants them back (processReplica).
    """
    owner, claims = situation.owner, situation.view.claims
    leaving = {member.ordinal for member in plan.delete}
    for _, member in situation.unsettled:
        if member is None or member.ordinal in leaving:
            continue
        if claims and (owner.is_parallel or not member.is_terminating):
            yield from _claims_retained(situation, member.ordinal, member.pod.raw, is_condemned=False)
        if member.is_terminating:
            continue
        mended = with_identity(member.pod, member.ordinal)
        if mended is not member.pod.raw:
            yield Replace(member.pod.raw, mended)
        if owner.claim_templates and is_pending(member.pod):
            yield from map(Create, _missing_claims(situation, member.ordinal))


def _retained(situation: Situation, plan: Plan) -> Iterator[Change]:
    """The claims of condemned pods, owned as the retention policy says."""
    if situation.owner.claim_templates:
        for member in plan.condemned:
            yield from _claims_retained(situation, member.ordinal, member.pod.raw, is_condemned=True)


def _claims_retained(
    situation: Situation, ordinal: int, pod: Object, is_condemned: bool
) -> Iterator[Replace]:
    owner = situation.owner
    for claim in present_claims(owner, ordinal, situation.view.claims):
        retained = with_retention(owner, claim, pod, is_condemned)
        if retained is not claim:
            yield Replace(claim, retained)


def _truncation(situation: Situation, derivation: Derivation, status: Object) -> tuple[Change, ...]:
    live = {status["currentRevision"], status["updateRevision"]}
    live |= {standing.revision for standing in situation.view.standings}
    beyond = history_to_truncate(situation.owner.raw, derivation.revisions, live)
    return tuple(Delete(revision) for revision in beyond[:MOST_MENDED])


def _relied_upon(situation: Situation, plan: Plan, now: Milliseconds) -> Iterator[Object]:
    """The pods counted as available, where the plan takes a Ready one away."""
    if any(member.is_ready for member in plan.delete):
        yield from (
            member.pod.raw for member in situation.replicas if member is not None and member.is_healthy(now)
        )


def _future_availability(situation: Situation, now: Milliseconds) -> Iterator[Milliseconds]:
    """The moments at which Ready pods will have been so for minReadySeconds."""
    for member in situation.unsettled_members:
        if member.available_at is not None and member.available_at > now:
            yield member.available_at
