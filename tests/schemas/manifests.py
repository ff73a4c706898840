"""Builders of valid objects, as a person would write them; each field can be given another value."""

from __future__ import annotations

from typing import Any

from schemas.canonical import canonical
from schemas.objects import Object


def a_container(**fields: Any) -> dict[str, Any]:
    return {"name": "db", "image": "db:5.7.2", **fields}


def a_template(labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": labels or {"app": "db"}}, "spec": {"containers": [a_container()], **spec}}


def a_claim_template(name: str = "data", storage: str = "1Gi") -> dict[str, Any]:
    resources = {"requests": {"storage": storage}}
    return {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}}


def a_statefulset(**spec: Any) -> Object:
    defaults = {"serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": a_template()}
    metadata = {"name": "db", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": defaults | spec}


def a_daemonset(**spec: Any) -> Object:
    defaults = {"selector": {"matchLabels": {"app": "db"}}, "template": a_template()}
    metadata = {"name": "agent", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": defaults | spec}


def an_object(kind: str, name: str = "a", **fields: Any) -> Object:
    cluster_scoped = kind in ("Node", "Namespace", "PersistentVolume")
    metadata = {"name": name} if cluster_scoped else {"name": name, "namespace": "default"}
    group = {
        "Lease": "coordination.k8s.io/v1",
        "ControllerRevision": "apps/v1",
        "PodDisruptionBudget": "policy/v1",
    }
    return {"apiVersion": group.get(kind, "v1"), "kind": kind, "metadata": metadata, **fields}


def a_pod(**spec: Any) -> Object:
    return an_object("Pod", "db-0", spec={"containers": [a_container()], **spec})


def stored(obj: Object) -> Object:
    """Return the canonical form of an object that must be good."""
    result = canonical(obj)
    assert result.causes == ()
    return result.object
