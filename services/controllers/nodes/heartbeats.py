"""Who is silent: the only decision in which heartbeats, which are no history, have a part.

A node's heartbeat is a key with a TTL of one grace period in the queue's Redis, so nobody's clocks are compared: a
node is silent when its key is gone. That counts only for what could have been heard: the queue's data must be a whole
grace period old, and the node too. Ready and NotReady are the only events that come of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from events.state import State
from schemas.changes import Change, Decision, Replace
from schemas.kinds import NODE
from schemas.objects import Key, Object, name_of
from schemas.taints import ready_status_of
from schemas.times import Milliseconds, parse_rfc3339
from services.controllers.controller import Controller
from services.controllers.nodes.conditions import revived, silenced, with_pod_not_ready

KEY: Key = "all"
NAME = "heartbeats"
MOST_CHANGES = 500
LOOKS_PER_GRACE = 8
LONGEST_PAUSE: Milliseconds = 5_000
SHORTEST_PAUSE: Milliseconds = 250


@dataclass(frozen=True, slots=True)
class Pulse:
    """What was heard: the nodes whose heartbeat is there, how long the queue has had its data, the grace period."""

    alive: frozenset[str]
    heard_for: Milliseconds
    grace: Milliseconds


@dataclass(frozen=True, slots=True)
class View:
    """All nodes, what was heard of them, and the pods of a node."""

    nodes: tuple[Object, ...]
    pulse: Pulse
    pods_on: Callable[[str], Sequence[Object]]


Listen = Callable[[Sequence[str]], Pulse]
"""Asks for the pulse of nodes by name; the one thing here that reaches out."""


def heartbeats(listen: Listen) -> Controller[View]:
    """Return the controller; each process has its own way to listen (services.pulses)."""

    def view_of(state: State, _key: Key) -> View | None:
        nodes = state.list(NODE.resource)
        if not nodes:
            return None
        return View(tuple(nodes), listen([name_of(node) for node in nodes]), state.pods_on)

    return Controller(NAME, _triggers, _keys, view_of, reconcile)


def reconcile(view: View, now: Milliseconds) -> Decision:
    """Turn what was heard into Ready and NotReady, a few nodes at a time, and listen again soon."""
    pulse = view.pulse
    changes: list[Change] = []
    for node in sorted(view.nodes, key=name_of):
        if len(changes) >= MOST_CHANGES:
            return Decision(tuple(changes), requeue_at=now)
        changes += _changes_of(node, view, now)
    pause = min(LONGEST_PAUSE, max(SHORTEST_PAUSE, pulse.grace // LOOKS_PER_GRACE))
    return Decision(tuple(changes), waiting_for=_told(pulse), requeue_at=now + pause)


def _changes_of(node: Object, view: View, now: Milliseconds) -> list[Change]:
    name = name_of(node)
    if name in view.pulse.alive:
        is_back = ready_status_of(node) == "Unknown"
        return [Replace(node, revived(node, now))] if is_back else []
    if ready_status_of(node) == "Unknown" or not _is_overdue(node, view.pulse, now):
        return []
    pods = [(pod, with_pod_not_ready(pod, now)) for pod in view.pods_on(name)]
    marked = [Replace(pod, new) for pod, new in pods if new is not pod]
    return [Replace(node, silenced(node, now)), *marked]


def _is_overdue(node: Object, pulse: Pulse, now: Milliseconds) -> bool:
    """True if a node could have been heard for a whole grace period."""
    created = node["metadata"].get("creationTimestamp")
    age = now - parse_rfc3339(created) if created else 0
    return pulse.heard_for >= pulse.grace and age >= pulse.grace


def _told(pulse: Pulse) -> str:
    if pulse.heard_for >= pulse.grace:
        return ""
    left = (pulse.grace - pulse.heard_for + 999) // 1000
    return f"the queue is new: a missing heartbeat counts in {left} s"


def _triggers(_state: State, old: Object | None, new: Object | None) -> Iterable[Key]:
    """A new node is listened to; all else is found out by listening."""
    return (KEY,) if old is None and new is not None and new["kind"] == NODE.kind else ()


def _keys(_state: State) -> Iterable[Key]:
    return (KEY,)
