"""How far the rollout of a StatefulSet or DaemonSet is, as the fields of a hash."""

from __future__ import annotations

from schemas.envelopes import Event
from schemas.objects import Object
from schemas.patching import strictly_equal
from schemas.positions import stream_id_of


def rollout_fields(event: Event, old: Object | None, new: Object) -> dict[str, str | int]:
    """Return the fields of a workload's rollout hash that an event sets; those left out stay as they are.

    `started` moves when the template does, `doneSince` when the rollout becomes done or is no longer.
    """
    status, position = new.get("status", {}), stream_id_of(event.position)
    counts = _daemonset_counts(status) if new["kind"] == "DaemonSet" else _statefulset_counts(new)
    done = is_rolled_out(new)
    fields: dict[str, str | int] = {
        "current": status.get("currentRevision", ""),
        "update": status.get("updateRevision", ""),
        **counts,
        "done": "true" if done else "false",
    }
    if old is None or not strictly_equal(old["spec"]["template"], new["spec"]["template"]):
        fields["started"] = position
    if old is None or is_rolled_out(old) is not done:
        fields["doneSince"] = position if done else ""
    return fields


def is_rolled_out(workload: Object) -> bool:
    """True where `kubectl rollout status` would report success (polymorphichelpers/rollout_status.go).

    With a partition, when all pods above it are updated. Under OnDelete, of which kubectl knows nothing, when all pods
    are updated and ready.
    """
    status = workload.get("status", {})
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return False
    if workload["kind"] == "DaemonSet":
        counts = _daemonset_counts(status)
        return counts["desired"] <= min(counts["updated"], counts["available"])
    counts = _statefulset_counts(workload)
    strategy = workload["spec"].get("updateStrategy", {})
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    if counts["ready"] < counts["desired"] or counts["updated"] < counts["desired"] - partition:
        return False
    if partition or strategy.get("type") == "OnDelete":
        return True
    return bool(status.get("currentRevision") == status.get("updateRevision"))


def _statefulset_counts(workload: Object) -> dict[str, int]:
    status = workload.get("status", {})
    replicas = workload["spec"].get("replicas")
    return {
        "desired": 1 if replicas is None else replicas,
        "replicas": status.get("replicas", 0),
        "ready": status.get("readyReplicas", 0),
        "available": status.get("availableReplicas", 0),
        "updated": status.get("updatedReplicas", 0),
    }


def _daemonset_counts(status: Object) -> dict[str, int]:
    return {
        "desired": status.get("desiredNumberScheduled", 0),
        "replicas": status.get("currentNumberScheduled", 0),
        "ready": status.get("numberReady", 0),
        "available": status.get("numberAvailable", 0),
        "updated": status.get("updatedNumberScheduled", 0),
    }
