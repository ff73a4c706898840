"""The StatefulSet controller: replicas with a name, an address and a volume that outlive each pod.

One event, traced: the agent reports db-1 Ready; `triggers` names `apps/statefulsets/default/db`; a worker
takes the `View` of that key, for which only db-1 is looked at anew; `reconcile` adopts or releases pods, derives
the update revision, decides on the next step (create db-2), and describes it as changes: the pod, its claims, and
the status that counts it, one atomic batch.

    identity   names, ordinals, labels, a pod from a template
    claims     the claims of an ordinal
    retention  whom a claim goes with
    members    what is asked of each pod
    view       what is read, and which events concern which set
    census     makes views, and remembers what has not changed
    situation  which pod should be what
    decide     the phases: heal, fill, condemn, update
    status     every status field, after the plan
    reconcile  the whole pass
"""

from __future__ import annotations

from services.controllers.controller import Controller
from services.controllers.statefulset.census import Census
from services.controllers.statefulset.reconcile import reconcile
from services.controllers.statefulset.view import View, keys, triggers


def statefulset() -> Controller[View]:
    """Return the controller. Each has a census of its own, so a process that folds two logs wants two of them."""
    return Controller("statefulset", triggers, keys, Census().view_of, reconcile)


STATEFULSET: Controller[View] = statefulset()

__all__ = ["STATEFULSET", "View", "statefulset"]
