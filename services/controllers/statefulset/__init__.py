"""The StatefulSet controller: replicas with a name, an address and a volume that outlive each pod.

One event, traced: the agent reports db-1 Ready; `triggers` names `apps/statefulsets/default/db`; a worker
takes the `View` of that key; `reconcile` adopts or releases pods, derives the update revision, classifies the
pods into replicas and condemned, decides on the next step (create db-2), and describes it as changes: the
pod, its claims, and the status that counts it, one atomic batch.

    identity   names, ordinals, labels, a pod from a template
    claims     the claims of an ordinal
    retention  whom a claim goes with
    view       what is read, and which events concern which set
    classify   each pod in its place
    decide     the phases: heal, fill, condemn, update
    status     every status field, after the plan
    reconcile  the whole pass
"""

from __future__ import annotations

from services.controllers.controller import Controller
from services.controllers.statefulset.reconcile import reconcile
from services.controllers.statefulset.view import View, keys, triggers, view_of

STATEFULSET: Controller[View] = Controller("statefulset", triggers, keys, view_of, reconcile)

__all__ = ["STATEFULSET", "View"]
