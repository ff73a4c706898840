"""Whether a pod may run on a node, in Kubernetes' words.

The rules come in the order of kube-scheduler's default plugins, and a node is named with the first one it fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from schemas.selectors import matches_node, matches_node_term
from schemas.storage import STORAGE
from schemas.taints import SOFT, first_untolerated, is_cordoned
from services.scheduler.census import NodeView, load_of
from services.scheduler.requirements import Port, Requirements, is_port_taken

NO_NODES = "no nodes available to schedule pods"
CORDONED = "node(s) were unschedulable"
NO_MATCH = "node(s) didn't match Pod's node affinity/selector"
NOT_NAMED = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
NO_PORTS = "node(s) didn't have free ports for the requested pod ports"
NOT_AT_VOLUME = "node(s) didn't match PersistentVolume's node affinity"
NO_STORAGE = "node(s) did not have enough free storage"
NO_VOLUMES = "node(s) didn't find available persistent volumes to bind"
TOO_MANY_PODS = "Too many pods"

_count = re.compile(r"^\d+ ")

Rank = tuple[int, int]
"""How gladly a pod goes to a node as far as taints and affinity say; less is better."""


class Room:
    """What is still free on a node while one decision places pods on it."""

    __slots__ = ("free", "load", "name", "ports", "view")

    def __init__(self, view: NodeView) -> None:
        self.view = view
        self.name = view.name
        self.free = view.free
        self.ports = view.ports
        self.load = view.load

    def take(self, wanted: Requirements) -> None:
        """Count a pod in. The view is left as it is."""
        free = dict(self.free)
        for name, amount in wanted.requests:
            free[name] = free.get(name, 0) - amount
        self.free = free
        self.ports |= self.ports_for(wanted)
        self.load = load_of(self.view.allocatable, free)

    def ports_for(self, wanted: Requirements) -> frozenset[Port]:
        """Return the ports that a pod would take here."""
        return wanted.all_ports if self.view.shares_address else wanted.ports

    def has_ports(self, wanted: Requirements) -> bool:
        ports = self.ports_for(wanted)
        return not ports or not any(is_port_taken(port, self.ports) for port in ports)

    @property
    def storage(self) -> int:
        """The bytes that new volumes may still take."""
        return self.free[STORAGE]

    def by_storage(self) -> tuple[int, str]:
        """Return what sorts rooms: most storage first, then by name."""
        return -self.storage, self.name

    def has_storage(self, amount: int) -> bool:
        return not amount or amount <= self.storage

    def take_storage(self, amount: int) -> None:
        """Count new volumes of that many bytes in."""
        if amount:
            self.free = {**self.free, STORAGE: self.storage - amount}


def is_undemanding(wanted: Requirements) -> bool:
    """True if a pod says nothing of the node it wants: then all open ones (NodeView.is_open) are equally good."""
    return not wanted.selector and wanted.required is None and not wanted.preferred


def lasting_refusal(wanted: Requirements, view: NodeView) -> str:
    """Return why a node cannot take such a pod whatever runs there, or an empty string."""
    if is_cordoned(view.node, wanted.tolerations):
        return CORDONED
    taint = first_untolerated(view.hard_taints, wanted.tolerations) if view.hard_taints else None
    if taint is not None:
        return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if wanted.selector and not _has_labels(view, wanted.selector):
        return NO_MATCH
    if wanted.required is not None and not matches_node(wanted.required, view.node):
        return NO_MATCH
    return ""


def passing_refusals(wanted: Requirements, room: Room) -> list[str]:
    """Return what a node lacks for such a pod while others run there: ports, or else every resource too short.

    Room for new volumes comes last, where all else would do.
    """
    if not room.has_ports(wanted):
        return [NO_PORTS]
    short = [name for name, amount in wanted.requests if room.free.get(name, 0) < amount]
    if short == [STORAGE]:
        return [NO_STORAGE]
    return [TOO_MANY_PODS if name == "pods" else f"Insufficient {name}" for name in short if name != STORAGE]


def has_room(wanted: Requirements, room: Room) -> bool:
    """True if ports and resources of a node suffice for one more such pod."""
    free = room.free
    for name, amount in wanted.requests:
        if free.get(name, 0) < amount:
            return False
    return room.has_ports(wanted)


def rank_of(wanted: Requirements, view: NodeView) -> Rank:
    """Return (PreferNoSchedule taints not tolerated, minus the weights of the preferred affinity that match)."""
    if not view.soft_taints and not wanted.preferred:
        return (0, 0)
    shunned = sum(
        first_untolerated((taint,), wanted.tolerations, SOFT) is not None for taint in view.soft_taints
    )
    weight = sum(
        preference["weight"]
        for preference in wanted.preferred
        if matches_node_term(preference["preference"], view.node)
    )
    return (shunned, -weight)


def sentence_of(refusals: Mapping[str, int], nodes: int) -> str:
    """Return Kubernetes' sentence: `0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.` (FitError)."""
    if not nodes:
        return NO_NODES
    counted = ", ".join(sorted(f"{count} {reason}" for reason, count in Counter(refusals).items() if count))
    return f"0/{nodes} nodes are available: {counted}."


def reasons_in(sentence: str) -> set[str]:
    """Return the reasons of such a sentence without their numbers, which change with every pod that ends."""
    reasons = sentence.partition(" nodes are available: ")[2] or sentence
    return {_count.sub("", reason) for reason in reasons.rstrip(".").split(", ")}


def _has_labels(view: NodeView, selector: dict[str, str]) -> bool:
    labels = view.node["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())
