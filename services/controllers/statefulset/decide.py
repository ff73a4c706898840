"""What to do next for a set whose pods are classified: which to create, which to delete, and what it waits
for.

Each phase looks at the situation and returns a plan. With OrderedReady a phase that has acted, or that must
wait, ends the pass; with Parallel all phases are walked (updateStatefulSet, stateful_set_control.go).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from schemas.counts import counted
from schemas.node_reasons import NODE_LOST
from schemas.times import Milliseconds
from services.controllers.backoff import delay_after
from services.controllers.pods import is_failing, is_pending, why_not_ready
from services.controllers.statefulset.claims import blocking_claim
from services.controllers.statefulset.members import Member
from services.controllers.statefulset.retention import stale_claim
from services.controllers.statefulset.situation import Situation

STUCK_AFTER = 60
STUCK_AFTER_ANNOTATION = "chronoset.dev/stuck-after-seconds"
"""On a StatefulSet: after how many seconds a pod that was never Ready counts as stuck (60)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a phase concludes.

    create        indexes of the replicas to create
    delete        members to delete
    condemned     members beyond the range whose claims now follow the retention policy, deleted already or not
    waiting_for   one sentence, empty where nothing is awaited
    requeue_at    when time alone changes the conclusion
    ends          True where an ordered set must not go on to the next phase
    """

    create: tuple[int, ...] = ()
    delete: tuple[Member, ...] = ()
    condemned: tuple[Member, ...] = ()
    waiting_for: str = ""
    requeue_at: Milliseconds | None = None
    ends: bool = False

    def then(self, later: Plan) -> Plan:
        """Return both plans as one: see `joined`."""
        return joined((self, later))


def joined(plans: Sequence[Plan]) -> Plan:
    """Return several plans as one: no pod is deleted twice, and the first thing awaited is the one told."""
    delete = {member.ordinal: member for plan in plans for member in plan.delete}
    return Plan(
        create=tuple(index for plan in plans for index in plan.create),
        delete=tuple(delete.values()),
        condemned=tuple(member for plan in plans for member in plan.condemned),
        waiting_for=next((plan.waiting_for for plan in plans if plan.waiting_for), ""),
        requeue_at=earliest(*(plan.requeue_at for plan in plans)),
        ends=any(plan.ends for plan in plans),
    )


Phase = Callable[[Situation, Milliseconds], Plan]


def decide(situation: Situation, now: Milliseconds) -> Plan:
    """Conclude what to do at `now`. A set being deleted does nothing but tell its status."""
    if situation.owner.is_terminating:
        return Plan(waiting_for="the set is being deleted")
    parallel = situation.owner.is_parallel
    plan = Plan()
    for phase in PARALLEL if parallel else ORDERED:
        plan = plan.then(phase(situation, now))
        if plan.ends and not parallel:
            break
    return plan


def heal(situation: Situation, now: Milliseconds) -> Plan:
    """Delete the highest stuck pod, one at a time, and none while a pod of the set terminates (ours).

    Kubernetes waits for ever here: its documentation calls the way out "forced rollback", by hand. Of a
    Parallel set only the pods below the partition are healed here; those above are replaced by the update
    itself.
    """
    deadlines = _stuck_since(situation)
    stuck = [member for member, deadline in deadlines if is_failing(member.pod) or now >= deadline]
    if not stuck:
        return Plan(requeue_at=earliest(*(deadline for _, deadline in deadlines)))
    if leaving := next((member for member in situation.unsettled_members if member.is_terminating), None):
        return Plan(waiting_for=_terminates(leaving, now), ends=True)
    highest = stuck[-1]
    why = f"its revision {highest.revision} is stuck: {why_not_ready(highest.pod)}"
    return Plan(delete=(highest,), waiting_for=f"{highest.pod.name} is replaced, {why}", ends=True)


def fill_in_order(situation: Situation, now: Milliseconds) -> Plan:
    """Make every replica available, one after the other, ascending (processReplica, monotonic)."""
    for index, member in situation.unsettled:
        if member is None:
            return _create(situation, index)
        if member.is_finished and not member.is_terminating:
            return _replace_finished(situation, index, member, now)
        if not member.is_healthy(now):
            return Plan(waiting_for=why_waiting(situation, member, now), ends=True)
    return Plan()


def fill_at_once(situation: Situation, now: Milliseconds) -> Plan:
    """Create and replace whatever is missing or has ended, all at once (processReplica, burst)."""
    plans = []
    for index, member in situation.unsettled:
        if member is None:
            plans.append(_create(situation, index))
        elif member.is_finished and not member.is_terminating:
            plans.append(_replace_finished(situation, index, member, now))
        elif not member.is_healthy(now) and not plans:
            plans.append(Plan(waiting_for=why_waiting(situation, member, now)))
    return joined(plans)


def condemn_in_order(situation: Situation, now: Milliseconds) -> Plan:
    """Delete the highest condemned pod (processCondemned, monotonic).

    Assumption: every replica is available. An unhealthy condemned pod goes only if it is the lowest unhealthy
    one: pods end in the order opposite to that in which they began. Ours: one that has ended, or that was never
    Ready and fails, is not waited for either; in Kubernetes two of them hold each other up for ever.
    """
    condemned = situation.condemned
    if not condemned:
        return Plan()
    highest = condemned[0]
    unhealthy = [member for member in condemned if not member.is_healthy(now)]
    plan = Plan(condemned=condemned, ends=True)
    if highest.is_terminating:
        return replace(plan, waiting_for=_terminates(highest, now))
    if not (highest.is_healthy(now) or highest is unhealthy[-1] or _is_hopeless(situation, highest)):
        return replace(plan, waiting_for=why_waiting(situation, unhealthy[-1], now))
    return replace(plan, delete=(highest,), waiting_for=f"{highest.pod.name} ends: the set is scaled down")


def condemn_at_once(situation: Situation, now: Milliseconds) -> Plan:
    """Delete every condemned pod (processCondemned, burst)."""
    condemned = situation.condemned
    if not condemned:
        return Plan()
    delete = tuple(member for member in condemned if not member.is_terminating)
    told = f"{counted(len(delete), 'pod')} end: the set is scaled down"
    return Plan(
        delete=delete,
        condemned=condemned,
        waiting_for=told if delete else _terminates(condemned[0], now),
    )


def update_in_order(situation: Situation, _now: Milliseconds) -> Plan:
    """Delete outdated pods from the top down to the partition, within the budget.

    Invariant: the phases before have ended the pass unless every replica is available, so the whole budget is
    free (updateStatefulSetAfterInvariantEstablished).
    """
    outdated = _outdated(situation)[: situation.budget]
    return _update(situation, outdated) if outdated else _rest(situation)


def update_at_once(situation: Situation, now: Milliseconds) -> Plan:
    """Delete outdated pods at or above the partition, within the budget; unavailable ones first and uncharged.

    Unavailable are missing, terminating and not yet available replicas, wherever they are (as 1.37 does).
    """
    outdated = _outdated(situation)
    if not outdated:
        return _rest(situation)
    unavailable = sum(1 for _, member in situation.unsettled if member is None or not member.is_healthy(now))
    free = max(situation.budget - unavailable, 0)
    delete = [member for member in outdated if not member.is_available(now)]
    delete += [member for member in outdated if member.is_available(now)][:free]
    if delete:
        return _update(situation, delete)
    told = f"{unavailable} of at most {situation.budget} unavailable: {counted(len(outdated), 'pod')} still to update"
    return Plan(waiting_for=told)


ORDERED: tuple[Phase, ...] = (heal, fill_in_order, condemn_in_order, update_in_order)
PARALLEL: tuple[Phase, ...] = (fill_at_once, heal, condemn_at_once, update_at_once)


def why_waiting(situation: Situation, member: Member, now: Milliseconds) -> str:
    """Return, for people, what keeps a member from being available."""
    if member.is_terminating:
        return _terminates(member, now)
    if not member.is_ready or member.available_at is None:
        return f"{member.pod.name} is not Ready: {_what_it_lacks(situation, member)}"
    needed = situation.owner.min_ready_seconds
    ready_for = max(needed - (member.available_at - now + 999) // 1000, 0)
    return f"{member.pod.name} is Ready since {ready_for} s of the {needed} s that minReadySeconds asks for"


def _what_it_lacks(situation: Situation, member: Member) -> str:
    if is_pending(member.pod):
        claim = blocking_claim(situation.owner, member.ordinal, situation.view.claims)
        if claim:
            return f"its claim {claim} is being deleted"
    return why_not_ready(member.pod)


def earliest(*moments: Milliseconds | None) -> Milliseconds | None:
    """Return the first of some moments, or None if there is none."""
    return min((moment for moment in moments if moment is not None), default=None)


def _create(situation: Situation, index: int) -> Plan:
    name = situation.name_at(index)
    if name in situation.view.strangers:
        return Plan(
            waiting_for=f"{name} is created once the pod of that name, which is not the set's, is gone",
            ends=True,
        )
    owner, claims = situation.owner, situation.view.claims
    ordinal = owner.start + index
    claim = blocking_claim(owner, ordinal, claims) or stale_claim(owner, ordinal, name, claims)
    if claim:
        return Plan(waiting_for=f"{name} is created once its claim {claim} is deleted", ends=True)
    return Plan(create=(index,), waiting_for=f"{name} is not Ready: it was just created", ends=True)


def _replace_finished(situation: Situation, index: int, member: Member, now: Milliseconds) -> Plan:
    """Delete a pod that has ended; one that keeps failing waits longer each time.

    An outdated one does not wait: the update may cure it.
    """
    name = member.pod.name
    failure = situation.view.failures.get(name)
    outdated = situation.owner.is_rolling and member.revision != situation.target(index)
    if failure is not None and not outdated:
        again = failure.last + delay_after(failure.count)
        if now < again:
            times = counted(failure.count + 1, "time")
            told = f"{name} ended {times} without being Ready: it is replaced in {-((now - again) // 1000)} s"
            return Plan(waiting_for=told, requeue_at=again, ends=True)
    return Plan(delete=(member,), waiting_for=f"{name} is replaced: {why_not_ready(member.pod)}", ends=True)


def _stuck_since(situation: Situation) -> list[tuple[Member, Milliseconds]]:
    """Return the replicas that healing may take, ascending, each with the time when slowness alone is enough.

    Invariant: a pod that was Ready once since it was created, or whose revision is right, is never among
    them. Nor is one that would come back just as it was.
    """
    owner = situation.owner
    if not owner.is_rolling:
        return []
    limit = owner.partition if owner.is_parallel else owner.replicas
    patience = _stuck_after(situation) * 1000
    return [
        (member, member.pod.created_at + patience)
        for index, member in situation.unsettled
        if index < limit
        and member is not None
        and not member.is_ready
        and not member.is_terminating
        and member.revision != situation.target(index)
        and member.pod.uid not in situation.view.ever_ready
        and not _would_come_back(situation, index, member)
    ]


def _is_hopeless(situation: Situation, member: Member) -> bool:
    return member.is_finished or (member.pod.uid not in situation.view.ever_ready and is_failing(member.pod))


def _would_come_back(situation: Situation, index: int, member: Member) -> bool:
    """True if a pod created in this one's place would have its revision again (`rollingUpdate` left out)."""
    owner = situation.owner
    if owner.has_rolling_update or owner.is_parallel or member.revision != situation.current:
        return False
    staying = sum(
        count
        for standing, count in situation.view.standings.items()
        if standing.revision == situation.current and not standing.is_terminating
    )
    return index < staying - 1


def _outdated(situation: Situation) -> list[Member]:
    """The replicas at or above the partition that are to be updated, highest first; none for OnDelete."""
    if not situation.owner.is_rolling:
        return []
    partition = situation.owner.partition
    above = [index for indexes in situation.others().values() for index in indexes if index >= partition]
    members = (situation.replicas[index] for index in sorted(above, reverse=True))
    return [member for member in members if member is not None and not member.is_terminating]


def _update(situation: Situation, delete: list[Member]) -> Plan:
    names = ", ".join(member.pod.name for member in delete[:5]) + (", ..." if len(delete) > 5 else "")
    verb = "is" if len(delete) == 1 else "are"
    told = f"{names} {verb} replaced: the update goes to revision {situation.update}"
    return Plan(delete=tuple(delete), waiting_for=told, ends=True)


def _rest(situation: Situation) -> Plan:
    """Say which pods stay on another revision though there is nothing left to do."""
    others = situation.others()
    if not others:
        return Plan()
    pods = f"{counted(sum(map(len, others.values())), 'pod')} on revision {', '.join(sorted(others))}"
    if not situation.owner.is_rolling:
        return Plan(waiting_for=f"OnDelete keeps {pods} until somebody deletes them")
    return Plan(waiting_for=f"partition {situation.owner.partition} holds {pods}")


def _terminates(member: Member, now: Milliseconds) -> str:
    if member.pod.reason == NODE_LOST:
        return (
            f"{member.pod.name} may still run on node {member.pod.node}, which is lost: it starts elsewhere once "
            "its agent confirms its end, the node is deleted or tainted out-of-service, or it is deleted by force"
        )
    return f"{member.pod.name} terminates since {max(now - member.pod.deletion_asked_at, 0) // 1000} s"


def _stuck_after(situation: Situation) -> int:
    text = situation.owner.annotations.get(STUCK_AFTER_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() else STUCK_AFTER
