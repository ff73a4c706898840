"""One pass over a DaemonSet: adopt, derive, decide, describe.

The result is whole: applying its changes and reconciling again at the same moment changes nothing more, or goes on
with the next step. Nothing here reads a clock or writes anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from schemas.changes import Change, Create, Decision, Delete, Replace
from schemas.deletion import deletion_of
from schemas.kinds import POD
from schemas.objects import Object, labels_of, name_of, version_of, with_fields
from schemas.positions import time_of
from schemas.revisions import REVISION_LABEL, Derivation, derive, go_json, history_to_truncate
from schemas.selectors import selector_of
from schemas.times import Milliseconds
from services.controllers.daemonset.decide import Plan, Situation, decide
from services.controllers.daemonset.identity import adopted, free_name, new_pod, prototype_of
from services.controllers.daemonset.sentences import BEING_DELETED, waiting_for
from services.controllers.daemonset.status import status_of
from services.controllers.daemonset.view import View
from services.controllers.references import released

MOST_PODS = 400
"""How many pods one batch creates or deletes at most; the rest follows when it has been appended."""
MOST_MENDED = 90
"""How many revisions one batch deletes at most: 1,000 events are the limit."""
MOST_BYTES = 2 << 20
"""How much of pods one batch creates at most, of the 4 MiB that a batch may have."""


def reconcile(view: View, now: Milliseconds) -> Decision:
    """Return what to change for a set at `now`, and what it waits for then."""
    owner = view.owner
    if owner.is_terminating:
        return Decision(waiting_for=BEING_DELETED)
    if changes := tuple(islice(_ownership(view), MOST_PODS)):
        return Decision(changes, rests_on=(owner.raw,), waiting_for="pods are adopted or released")
    derivation = derive(owner.raw, view.revisions, view.pods)
    if relabelled := [each for each in derivation.changes if _is_of_pod(each)][:MOST_PODS]:
        return Decision(tuple(relabelled), rests_on=(owner.raw,), waiting_for="equal revisions are merged")
    situation = _situation(view, derivation, now)
    plan = _limited(situation, decide(situation, now))
    return Decision(
        changes=_changes(situation, plan, derivation, now),
        rests_on=(owner.raw, *_relied_upon(plan)),
        waiting_for=waiting_for(situation, plan, now),
        requeue_at=min(_moments(situation, plan, now), default=None),
    )


def _ownership(view: View) -> Iterator[Change]:
    """Adopt orphans that match the selector, release pods that no longer do (ClaimPods)."""
    if view.orphans:
        selector = selector_of(view.owner.selector)
        for pod in view.orphans:
            if not pod.is_terminating and selector.matches(pod.labels):
                yield Replace(pod.raw, adopted(view.owner, pod))
    yield from (Replace(pod.raw, released(pod.raw, view.owner.raw)) for pod in view.strangers)


def _is_of_pod(change: Change) -> bool:
    return isinstance(change, Replace) and bool(change.old["kind"] == POD.kind)


def _situation(view: View, derivation: Derivation, now: Milliseconds) -> Situation:
    """Take the hash from the update revision, which may still be one that the set's last incarnation has left."""
    name = derivation.update_revision_name
    known = {name_of(each): each for each in (*view.revisions, *derivation.revisions)}
    update = known[name]
    return Situation(
        view,
        update=labels_of(update).get(REVISION_LABEL, name),
        began=time_of(version_of(update)) if version_of(update) else now,
        desired=sum(count for standing, count in view.standings.items() if standing.runs),
    )


def _limited(situation: Situation, plan: Plan) -> Plan:
    """Return the plan cut to what fits one atomic batch; its own events bring the set back for the rest."""
    most = MOST_PODS
    if len(plan.create) > 1:
        most = min(most, MOST_BYTES // (len(go_json(situation.owner.raw["spec"])) + 1))
    return replace(plan, create=plan.create[: max(most, 1)], delete=plan.delete[:MOST_PODS])


def _changes(
    situation: Situation, plan: Plan, derivation: Derivation, now: Milliseconds
) -> tuple[Change, ...]:
    owner = situation.owner
    deletions = [deletion_of(each.pod.raw, now) for each in plan.delete]
    removed = {name_of(each.old) for each in deletions if isinstance(each, Delete)}
    status = status_of(situation, plan, removed, derivation.workload.get("status", {}), now)
    changes: list[Change] = [*deletions, *_pods(situation, plan)]
    changes += derivation.changes or _truncation(situation, derivation)
    if status != owner.status:
        changes.append(Replace(owner.raw, with_fields(owner.raw, status=status)))
    return tuple(changes)


def _pods(situation: Situation, plan: Plan) -> Iterator[Change]:
    """Create the pods of the plan. Their names are not those of pods that are there, its own or orphans."""
    if not plan.create:
        return
    view, owner = situation.view, situation.owner
    prototype = prototype_of(owner, situation.update)
    taken = {pod["metadata"]["name"] for pod in view.pods} | {pod.name for pod in view.orphans}
    for place in plan.create:
        failure = view.failures.get(place.name)
        name = free_name(owner, place.name, situation.update, failure.count if failure else 0, taken)
        taken.add(name)
        yield Create(new_pod(prototype, name, place.name))


def _truncation(situation: Situation, derivation: Derivation) -> list[Change]:
    if len(derivation.revisions) - 1 <= situation.owner.history_limit:
        return []
    live = {
        derivation.update_revision_name,
        *(labels_of(pod).get(REVISION_LABEL, "") for pod in situation.view.pods),
    }
    beyond = history_to_truncate(situation.owner.raw, derivation.revisions, live)
    return [Delete(revision) for revision in beyond[:MOST_MENDED]]


def _relied_upon(plan: Plan) -> Iterator[Object]:
    """The nodes that get a pod, and what makes it right to delete one; no object twice, none that is deleted."""
    leaving = {each.pod.uid for each in plan.delete}
    yield from (place.node for place in plan.create if place.node is not None)
    yield from (obj for obj in plan.relies_on if obj["metadata"]["uid"] not in leaving)


def _moments(situation: Situation, plan: Plan, now: Milliseconds) -> Iterator[Milliseconds]:
    """The moments at which time alone changes the conclusion: a back-off is over, a Ready pod becomes available."""
    yield from (held.until for held in plan.held)
    if situation.owner.min_ready_seconds:
        for place in situation.view.unsettled:
            yield from (at for each in place.daemons if (at := each.available_at) is not None and at > now)
