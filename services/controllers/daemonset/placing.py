"""Which nodes a DaemonSet's pods belong on, as far as its controller decides: never by resources or ports, which
are the scheduler's and the agent's (NodeShouldRunDaemonPod, daemon_controller.go)."""

from __future__ import annotations

from typing import NamedTuple

from schemas.daemon_pods import required_affinity
from schemas.objects import Object, labels_of, name_of
from schemas.selectors import matches_node
from schemas.taints import first_untolerated, ready_status_of, taints_of
from schemas.times import Milliseconds, parse_rfc3339

_ENDS_PODS = frozenset({"NoExecute"})


class Fit(NamedTuple):
    """How a node and a template fit.

    runs    the node is to run a pod
    stays   a pod that is there may stay
    why     why it is not to run one; empty where it is
    """

    runs: bool
    stays: bool
    why: str


FITS = Fit(True, True, "")
GONE = Fit(False, False, "the node is gone")


def fit_of(spec: Object, node: Object) -> Fit:
    """Return how a node fits a template's `spec`, which has the tolerations of a daemon."""
    if spec.get("nodeName") not in (None, "", name_of(node)):
        return Fit(False, False, "the template names another node")
    labels = labels_of(node)
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return Fit(False, False, "the node selector does not match")
    if not matches_node(required_affinity(spec), node):
        return Fit(False, False, "the node affinity does not match")
    taints = taints_of(node)
    tolerations = spec.get("tolerations") or ()
    taint = first_untolerated(taints, tolerations)
    if taint is None:
        return FITS
    stays = first_untolerated(taints, tolerations, _ENDS_PODS) is None
    return Fit(False, stays, f"the taint {taint['key']}:{taint['effect']} is not tolerated")


def down_since(node: Object) -> Milliseconds | None:
    """Return since when a node has not been Ready, or None while it is; since it exists where it never was."""
    if ready_status_of(node) == "True":
        return None
    for condition in node.get("status", {}).get("conditions") or ():
        if condition["type"] == "Ready" and condition.get("lastTransitionTime"):
            return parse_rfc3339(condition["lastTransitionTime"])
    created = node["metadata"].get("creationTimestamp")
    return parse_rfc3339(created) if created else 0


def offer_of(node: Object) -> tuple[object, ...]:
    """Return what of a node decides about daemons: labels, taints, and whether it is Ready."""
    return labels_of(node), node.get("spec", {}).get("taints"), ready_status_of(node)
