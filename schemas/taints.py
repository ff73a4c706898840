"""Taints and tolerations: which nodes keep which pods away. Shared by everything that asks where a pod may run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.objects import Object

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
DISK_PRESSURE = "DiskPressure"
"""The condition of a node whose disk is full."""
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
"""By it a person vouches that a node that is not Ready runs nothing any more."""

HARD = frozenset({"NoSchedule", "NoExecute"})
SOFT = frozenset({"PreferNoSchedule"})

_DISK_TAINT = {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}
CORDON = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
"""What a cordoned node carries."""


def which_taint(taint: Object) -> tuple[str, str]:
    """Return what tells a node's taints apart: key and effect (core/v1, Taint.MatchTaint)."""
    return taint["key"], taint["effect"]


def taints_of(node: Object) -> list[Object]:
    """Return the taints that count for a node: those written, and those that its state implies.

    A node whose Ready condition is not True counts as tainted `not-ready:NoSchedule` (`unreachable` where it is
    Unknown), also before anybody has written the taint (pkg/controller/nodelifecycle; a node without the condition
    is new: plugin/pkg/admission/nodetaint). One whose disk is full counts as tainted `disk-pressure:NoSchedule`.
    `spec.unschedulable` is not a taint: see `is_cordoned`.
    """
    taints = list(node.get("spec", {}).get("taints") or ())
    ready = ready_status_of(node)
    if ready != "True":
        key = UNREACHABLE if ready == "Unknown" else NOT_READY
        if not any(taint["key"] == key and taint["effect"] == "NoSchedule" for taint in taints):
            taints.append({"key": key, "effect": "NoSchedule"})
    if has_disk_pressure(node) and not any(taint["key"] == _DISK_TAINT["key"] for taint in taints):
        taints.append(_DISK_TAINT)
    return taints


def ready_status_of(node: Object) -> str:
    """Return the status of a node's Ready condition: `True`, `False`, `Unknown`, or empty where it has none."""
    return _condition_of(node, "Ready")


def has_disk_pressure(node: Object) -> bool:
    """True if a node says that its disk is full."""
    return _condition_of(node, DISK_PRESSURE) == "True"


def _condition_of(node: Object, kind: str) -> str:
    for condition in node.get("status", {}).get("conditions") or ():
        if condition["type"] == kind:
            return str(condition["status"])
    return ""


def is_cordoned(node: Object, tolerations: Sequence[Object]) -> bool:
    """True if `spec.unschedulable` keeps away pods with these tolerations (plugins/nodeunschedulable)."""
    return bool(node.get("spec", {}).get("unschedulable")) and not is_tolerated(CORDON, tolerations)


def first_untolerated(
    taints: Iterable[Object], tolerations: Sequence[Object], effects: frozenset[str] = HARD
) -> Object | None:
    """Return the first taint of one of `effects` that no toleration covers, or None."""
    for taint in taints:
        if taint["effect"] in effects and not is_tolerated(taint, tolerations):
            return taint
    return None


def is_tolerated(taint: Object, tolerations: Iterable[Object]) -> bool:
    """True if any toleration covers the taint (k8s.io/api/core/v1/toleration.go, ToleratesTaint).

    An empty effect covers every effect; an empty key with `Exists` every taint; the operator is `Equal` if empty.
    """
    return any(_covers(toleration, taint) for toleration in tolerations)


def _covers(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")
