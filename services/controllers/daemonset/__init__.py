"""The DaemonSet controller: one pod on every node that its template fits, from the moment the node joins.

One event, traced: a node registers; `triggers` names every DaemonSet; a worker takes the `View` of
`apps/daemonsets/kube-system/fluentd`: one `Place` for each node with the set's pods there, of which all but the new
one are remembered; `reconcile` finds the place empty, creates a pod that the scheduler can bind to that node only,
and writes the status that counts it, one atomic batch.

    placing    which nodes fit a template
    identity   a pod from the template, and its name
    view       what is read, and which events concern which set
    census     makes views, and remembers what has not changed
    decide     what is missing and what is too much; the two ways to update
    status     every status field, after the plan
    sentences  what the set waits for
    reconcile  the whole pass
"""

from __future__ import annotations

from services.controllers.controller import Controller
from services.controllers.daemonset.census import Census
from services.controllers.daemonset.reconcile import reconcile
from services.controllers.daemonset.view import View, keys, triggers


def daemonset() -> Controller[View]:
    """Return the controller. Each has a census of its own, so a process that folds two logs wants two of them."""
    return Controller("daemonset", triggers, keys, Census().view_of, reconcile)


DAEMONSET: Controller[View] = daemonset()

__all__ = ["DAEMONSET", "View", "daemonset"]
