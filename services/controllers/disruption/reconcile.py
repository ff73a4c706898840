"""Keeps the status of PodDisruptionBudgets up to date. A key is a budget's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from events.state import State
from schemas.changes import Decision, Replace
from schemas.kinds import BUDGET, POD, STATEFUL_SET
from schemas.objects import (
    Key,
    Object,
    controller_of,
    is_terminating,
    key_of_object,
    labels_of,
    namespace_of,
    uid_of,
    with_fields,
)
from schemas.times import Milliseconds
from services.controllers.controller import Controller
from services.controllers.disruption.budgets import (
    View,
    is_healthy,
    needs_scale,
    read,
    selects,
    standing_of,
    status_of,
)


def triggers(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    """Yield the budgets of the event's namespace that count what it has changed. Cost: that namespace's budgets."""
    obj = new or old
    assert obj is not None
    match obj["kind"]:
        case BUDGET.kind:
            if new is not None and (old is None or _asks(old) != _asks(new)):
                yield key_of_object(new)
        case POD.kind:
            budgets = state.list(BUDGET.resource, namespace_of(obj))
            if budgets and _counts(old) != _counts(new):
                pods = [pod for pod in (old, new) if pod is not None]
                if len(pods) == 2 and labels_of(pods[0]) == labels_of(pods[1]):
                    del pods[0]
                yield from (
                    key_of_object(each) for each in budgets if any(selects(each, pod) for pod in pods)
                )
        case STATEFUL_SET.kind:
            if _replicas(old) != _replicas(new):
                budgets = state.list(BUDGET.resource, namespace_of(obj))
                yield from (key_of_object(each) for each in budgets if needs_scale(each))


def keys(state: State) -> Iterable[Key]:
    """Return every budget."""
    return [key_of_object(budget) for budget in state.list(BUDGET.resource)]


def view_of(state: State, key: Key) -> View | None:
    """Return a budget with its pods; None where it is gone, or going."""
    budget = state.get(key)
    return read(budget, state) if budget is not None and not is_terminating(budget) else None


def reconcile(view: View, now: Milliseconds) -> Decision:
    """Bring the status up to date. Nothing rests on it but what people read: evictions count for themselves."""
    standing = standing_of(view, now)
    budget = with_fields(view.budget, status=status_of(view.budget, standing, now))
    return Decision((Replace(view.budget, budget),), (), standing.failure, standing.recheck_at)


DISRUPTION: Controller[View] = Controller("disruption", triggers, keys, view_of, reconcile)


def _asks(budget: Object) -> tuple[object, ...]:
    return budget["metadata"].get("generation"), (budget.get("status") or {}).get("disruptedPods")


def _counts(pod: Object | None) -> tuple[object, ...] | None:
    """What of a pod a budget counts."""
    if pod is None:
        return None
    owner = controller_of(pod) or {}
    return uid_of(pod), labels_of(pod), is_healthy(pod), is_terminating(pod), owner.get("uid")


def _replicas(workload: Object | None) -> object:
    return workload["spec"].get("replicas", 1) if workload is not None else None
