"""When a taint ends a pod, and how (pkg/controller/tainteviction, pkg/controller/podgc).

A pod is ended by asking for its deletion; it is gone when its agent confirms. Only where somebody vouches that
nothing of it runs any more is it removed without its agent: its node's object was deleted, or the node is tainted
out-of-service.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from events.admission import TOLERATED_SECONDS
from schemas.changes import Change, Replace
from schemas.deletion import deletion_of
from schemas.objects import Object, name_of
from schemas.taints import NOT_READY, OUT_OF_SERVICE, UNREACHABLE, is_tolerated, ready_status_of
from schemas.times import Milliseconds, parse_rfc3339, rfc3339
from services.controllers.nodes.conditions import with_node_lost
from services.controllers.pods import disruption_of

DEFAULT_TOLERATION: Milliseconds = TOLERATED_SECONDS * 1000
"""How long a pod that says nothing of it stays on a node that is not Ready: one of a log from before this was
written into pods."""
QUARANTINE: Milliseconds = 40_000
"""How long pods outlive the object of their node: an agent that is alive registers again meanwhile (podgc)."""
NODE_PAUSE: Milliseconds = 10_000
"""How long after one node's silence began to count for its pods the next one's does (--node-eviction-rate 0.1)."""
GONE_REASON = "DeletionByPodGC"
_BY_STATE = (NOT_READY, UNREACHABLE)
_TOLD = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")


def execute_taints(node: Object) -> list[Object]:
    """Return the taints of a node that end pods."""
    return [taint for taint in node["spec"].get("taints") or () if taint["effect"] == "NoExecute"]


def is_of_state(taint: Object) -> bool:
    """True if a node's own state asks for the taint, rather than a person."""
    return taint["key"] in _BY_STATE


def turn_of(node: Object, nodes: Iterable[Object]) -> Milliseconds:
    """Return from when on a node's own state counts for its pods: nodes have their turns one after the other.

    In the order in which they were tainted; one that is not yet is the last. (Kubernetes gives the taints at this
    rate. We give them at once, and let time count from the turn: so no two workers can give the same turn.)
    """
    turn = 0
    for at, name in sorted((at, name_of(each)) for each in nodes if (at := _tainted_at(each)) is not None):
        turn = max(at, turn + NODE_PAUSE)
        if name == name_of(node):
            return turn
    return turn + NODE_PAUSE if turn else 0


def in_turn(taints: Iterable[Object], turn: Milliseconds) -> list[Object]:
    """Return taints of which those that a node's state asks for count from its turn."""
    return [
        {**taint, "timeAdded": rfc3339(max(turn, _added_at(taint)))} if is_of_state(taint) else taint
        for taint in taints
    ]


def ends_by_state(pod: Object, node: Object) -> bool:
    """True if the node's own state would end the pod sooner or later."""
    return ends_at(pod, [taint for taint in execute_taints(node) if is_of_state(taint)]) is not None


def ends_at(pod: Object, taints: Sequence[Object]) -> Milliseconds | None:
    """Return when these NoExecute taints end a pod; None: never, 0: at once.

    A pod tolerates a taint for the shortest tolerationSeconds of those tolerations that cover it, for ever where
    none of them has a limit. Counted from when the taint was added, or the pod was made if that was later.
    """
    ends = [at for taint in taints if (at := _end_by(pod, taint)) is not None]
    return min(ends, default=None)


def _end_by(pod: Object, taint: Object) -> Milliseconds | None:
    covering = [each for each in pod["spec"].get("tolerations") or () if is_tolerated(taint, [each])]
    limits = [1000 * int(each["tolerationSeconds"]) for each in covering if "tolerationSeconds" in each]
    if not covering:
        if not is_of_state(taint):
            return 0
        limits = [DEFAULT_TOLERATION]
    if not limits:
        return None
    since = _added_at(taint)
    created = pod["metadata"].get("creationTimestamp")
    return max(since, parse_rfc3339(created) if created else 0) + max(0, min(limits))


def eviction_of(pod: Object, node: Object, now: Milliseconds) -> Change:
    """Return the change that asks a pod to end and says why; on a node that nobody hears of it says so."""
    change = disruption_of(pod, *_TOLD, None, now)
    if isinstance(change, Replace) and ready_status_of(node) == "Unknown":
        return Replace(pod, with_node_lost(change.new, node))
    return change


def is_out_of_service(node: Object) -> bool:
    """True if the node is not Ready and somebody vouches that nothing runs there."""
    tainted = any(taint["key"] == OUT_OF_SERVICE for taint in node["spec"].get("taints") or ())
    return tainted and ready_status_of(node) != "True"


def removal_of(pod: Object, now: Milliseconds) -> Change:
    """Return the change that removes a pod without its agent; one with finalizers goes with the last of them."""
    return deletion_of(pod, now, grace_seconds=0)


def gone_since(pod: Object) -> Milliseconds | None:
    """Return since when a pod is known to be on a node that is no more, or None."""
    for condition in _conditions(pod):
        if _is_gone_mark(condition):
            return parse_rfc3339(condition["lastTransitionTime"])
    return None


def with_gone_mark(pod: Object, now: Milliseconds) -> Object:
    """Return a pod that says that its node is no more."""
    mark = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": GONE_REASON,
        "message": f"node {pod['spec']['nodeName']} no longer exists",
        "lastTransitionTime": rfc3339(now),
    }
    others = [each for each in _conditions(pod) if each["type"] != "DisruptionTarget"]
    return _with_conditions(pod, [*others, mark])


def without_gone_mark(pod: Object) -> Change:
    """Return the change that takes the mark from a pod whose node is there again."""
    return Replace(pod, _with_conditions(pod, [each for each in _conditions(pod) if not _is_gone_mark(each)]))


def names(pods: Iterable[Object]) -> str:
    """Return the names of some pods, for people."""
    found = sorted(map(name_of, pods))
    return ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")


def _added_at(taint: Object) -> Milliseconds:
    return parse_rfc3339(taint["timeAdded"]) if "timeAdded" in taint else 0


def _tainted_at(node: Object) -> Milliseconds | None:
    return min(map(_added_at, filter(is_of_state, execute_taints(node))), default=None)


def _conditions(pod: Object) -> Sequence[Object]:
    found: Sequence[Object] = (pod.get("status") or {}).get("conditions") or ()
    return found


def _is_gone_mark(condition: Object) -> bool:
    return bool(condition["type"] == "DisruptionTarget" and condition.get("reason") == GONE_REASON)


def _with_conditions(pod: Object, conditions: list[Object]) -> Object:
    return {**pod, "status": {**(pod.get("status") or {}), "conditions": conditions}}
