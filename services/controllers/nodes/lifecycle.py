"""What follows from a node's state: its taints, the end of pods that do not tolerate them, and of those left behind.

A key is a node's name; the node may be gone, then the key is about the pods that are still bound to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from events.state import State
from schemas.changes import Change, Decision, Replace
from schemas.kinds import NODE, POD
from schemas.objects import Key, Object, is_terminating, key_of, name_of
from schemas.taints import ready_status_of
from schemas.times import Milliseconds
from services.controllers.controller import Controller
from services.controllers.nodes import evictions
from services.controllers.nodes.conditions import with_taints

MOST_CHANGES = 500
UNHEALTHY_PERCENT = 55
"""Above this share of nodes that are not Ready no node's silence ends pods: the fault is then rather ours
(--unhealthy-zone-threshold; all nodes are one zone)."""
DISRUPTED_PAUSE: Milliseconds = 5_000


@dataclass(frozen=True, slots=True)
class View:
    """A node, or None where it is gone, its pods, how many of all nodes are not Ready, and when its turn comes."""

    name: str
    node: Object | None
    pods: tuple[Object, ...]
    not_ready: int
    nodes: int
    turn: Milliseconds = 0

    @property
    def is_disrupted(self) -> bool:
        return self.not_ready * 100 > self.nodes * UNHEALTHY_PERCENT


def view_of(state: State, key: Key) -> View | None:
    """Return the view of a node. Cost: its pods, and a count of all nodes where its own state would end them."""
    node = state.get(key_of(NODE.resource, "", key))
    pods = tuple(state.pods_on(key))
    if node is None:
        return View(key, None, pods, 0, 0) if pods else None
    if ready_status_of(node) in ("", "True"):
        return View(key, node, pods, 0, 1)
    nodes = state.list(NODE.resource)
    not_ready = [each for each in nodes if ready_status_of(each) != "True"]
    return View(key, node, pods, len(not_ready), len(nodes), evictions.turn_of(node, not_ready))


def triggers(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    """Yield the node that an event concerns: one that changed in what we go by, or whose pod may have to end."""
    obj = new or old
    assert obj is not None
    match obj["kind"]:
        case NODE.kind:
            if old is None or new is None or _outlook(old) != _outlook(new):
                yield name_of(obj)
        case POD.kind:
            if new is not None and _may_have_to_end(state, old, new):
                yield new["spec"]["nodeName"]


def keys(state: State) -> Iterator[Key]:
    """Yield every node, and every node that is no more though pods are bound to it."""
    found = dict.fromkeys(map(name_of, state.list(NODE.resource)))
    found.update(dict.fromkeys(node for pod in state.list(POD.resource) if (node := _node_of(pod))))
    return iter(found)


def reconcile(view: View, now: Milliseconds) -> Decision:
    """Bring a node's taints up to date, and end those pods whose time there is over."""
    if view.node is None:
        return _collect(view, now)
    node = with_taints(view.node, now)
    changes: list[Change] = [] if node is view.node else [Replace(view.node, node)]
    spared: list[Object] = []
    later: list[Milliseconds] = []
    for pod in sorted(view.pods, key=name_of):
        if is_terminating(pod):
            changes += [evictions.removal_of(pod, now)] if evictions.is_out_of_service(node) else []
            continue
        ends_at = _ends_at(view, node, pod)
        if ends_at is not None and ends_at <= now:
            changes.append(evictions.eviction_of(pod, node, now))
            continue
        later += [ends_at] if ends_at is not None else []
        spared += [pod] if view.is_disrupted and evictions.ends_by_state(pod, node) else []
        changes += [evictions.without_gone_mark(pod)] if evictions.gone_since(pod) is not None else []
    return _bounded(changes, view, spared, later, now)


NODES: Controller[View] = Controller("nodes", triggers, keys, view_of, reconcile)


def _ends_at(view: View, node: Object, pod: Object) -> Milliseconds | None:
    taints = evictions.in_turn(evictions.execute_taints(node), view.turn)
    if view.is_disrupted:
        taints = [taint for taint in taints if not evictions.is_of_state(taint)]
    return evictions.ends_at(pod, taints)


def _bounded(
    changes: list[Change], view: View, spared: list[Object], later: list[Milliseconds], now: Milliseconds
) -> Decision:
    if len(changes) > MOST_CHANGES:
        return Decision(tuple(changes[:MOST_CHANGES]), requeue_at=now)
    told = ""
    if spared:
        told = (
            f"evictions stop: {view.not_ready} of {view.nodes} nodes are not Ready, more than "
            f"{UNHEALTHY_PERCENT} % ({evictions.names(spared)} stay on {view.name})"
        )
        later = [*later, now + DISRUPTED_PAUSE]
    elif later:
        told = f"{view.name} is tainted: pods that tolerate that only for a time end later"
    return Decision(tuple(changes), waiting_for=told, requeue_at=min(later, default=None))


def _collect(view: View, now: Milliseconds) -> Decision:
    """Remove the pods of a node that is no more, once its agent has had the time to register again (podgc)."""
    marked = [(pod, evictions.gone_since(pod)) for pod in view.pods]
    new = [Replace(pod, evictions.with_gone_mark(pod, now)) for pod, since in marked if since is None]
    waiting = [since + evictions.QUARANTINE for _, since in marked if since is not None]
    over = [
        evictions.removal_of(pod, now)
        for pod, since in marked
        if since is not None and since + evictions.QUARANTINE <= now
    ]
    changes: list[Change] = [*new, *over]
    if len(changes) > MOST_CHANGES:
        return Decision(tuple(changes[:MOST_CHANGES]), requeue_at=now)
    left = [at for at in waiting if at > now] + ([now + evictions.QUARANTINE] if new else [])
    told = f"{view.name} is no more: its pods are removed unless it returns" if left else ""
    return Decision(tuple(changes), waiting_for=told, requeue_at=min(left, default=None))


def _outlook(node: Object) -> tuple[object, ...]:
    spec = node["spec"]
    return spec.get("taints"), spec.get("unschedulable"), ready_status_of(node)


def _node_of(pod: Object) -> str:
    return str(pod["spec"].get("nodeName", ""))


def _may_have_to_end(state: State, old: Object | None, new: Object) -> bool:
    name = _node_of(new)
    if not name:
        return False
    node = state.get(key_of(NODE.resource, "", name))
    if node is None:
        return True
    if not evictions.execute_taints(node) and not evictions.is_out_of_service(node):
        return False
    return old is None or _bonds(old) != _bonds(new)


def _bonds(pod: Object) -> tuple[object, ...]:
    return _node_of(pod), pod["metadata"].get("deletionTimestamp"), pod["spec"].get("tolerations")
