"""What makes a pod a daemon: the node that it is for, and the tolerations that keep it there.

(pkg/controller/daemon/util/daemonset_util.go)
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas.objects import Object
from schemas.taints import NOT_READY, UNREACHABLE, UNSCHEDULABLE
from schemas.times import Milliseconds

FORGET_FAILURES_AFTER: Milliseconds = 30 * 60_000
"""After so long without a failure on a node there is no back-off any more (twice the longest, flowcontrol.Backoff)."""

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PRESSURES = ("disk-pressure", "memory-pressure", "pid-pressure")
_EVERYWHERE = (
    (NOT_READY, "NoExecute"),
    (UNREACHABLE, "NoExecute"),
    *((f"node.kubernetes.io/{pressure}", "NoSchedule") for pressure in _PRESSURES),
    (UNSCHEDULABLE, "NoSchedule"),
)
_NETWORK_UNAVAILABLE = ("node.kubernetes.io/network-unavailable", "NoSchedule")


def with_tolerations(spec: Object) -> Object:
    """Return a pod's spec with the tolerations of a daemon added, where it does not have them already."""
    added = (*_EVERYWHERE, _NETWORK_UNAVAILABLE) if spec.get("hostNetwork") else _EVERYWHERE
    present: list[Object] = list(spec.get("tolerations") or ())
    wanted = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in added]
    return {**spec, "tolerations": [*present, *(each for each in wanted if each not in present)]}


def with_node(spec: Object, node: str) -> Object:
    """Return a pod's spec that the scheduler binds to `node` only.

    The required terms are replaced, for terms are ORed; whatever else the template asks for stays
    (ReplaceDaemonSetPodNodeNameNodeAffinity).
    """
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    affinity = spec.get("affinity") or {}
    required = {_REQUIRED: {"nodeSelectorTerms": [{"matchFields": [field]}]}}
    return {
        **spec,
        "affinity": {**affinity, "nodeAffinity": {**(affinity.get("nodeAffinity") or {}), **required}},
    }


def required_affinity(spec: Object) -> Object | None:
    """Return the required node affinity of a pod's spec, `{nodeSelectorTerms: [...]}`."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    found: Object | None = affinity.get(_REQUIRED)
    return found


def target_node_of(pod: Object) -> str:
    """Return the node that a pod is bound to or is for; empty where it names none (GetTargetNodeName)."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    for field in _fields_of((required_affinity(spec) or {}).get("nodeSelectorTerms") or ()):
        if field["key"] == "metadata.name" and field["operator"] == "In" and len(field["values"]) == 1:
            return str(field["values"][0])
    return ""


def _fields_of(terms: Iterable[Object]) -> Iterable[Object]:
    return (field for term in terms for field in term.get("matchFields") or ())
