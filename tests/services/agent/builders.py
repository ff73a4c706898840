"""Builders of pods, containers and services for the agent's tests."""

from __future__ import annotations

import os
import sys
from itertools import count
from typing import Any

from schemas.deletion import DATA_FINALIZER
from schemas.objects import Object, with_metadata
from schemas.times import rfc3339

NOW = 1_795_000_000_000
_numbers = count(1)


def a_container(name: str = "main", script: str = "exec sleep 1000", **fields: Any) -> Object:
    return {"name": name, "image": "host:1", "command": ["/bin/sh", "-c", script], **fields}


def a_python(script: str, name: str = "main", **fields: Any) -> Object:
    return a_container(name, **{"command": [sys.executable, "-u", "-S", "-c", script], **fields})


def a_pod(name: str = "db-0", *containers: Object, **fields: Any) -> Object:
    """A pod bound to n1, in the namespace default; `fields` belong to its spec, `labels` to its metadata."""
    labels = fields.pop("labels", {})
    uid = fields.pop("uid", f"uid-{os.getpid()}-{next(_numbers)}")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "labels": labels},
        "spec": {
            "nodeName": "n1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 5,
            "containers": list(containers) or [a_container()],
            **fields,
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def terminating(pod: Object, grace: int = 5) -> Object:
    return with_metadata(pod, deletionTimestamp=rfc3339(NOW), deletionGracePeriodSeconds=grace)


def a_service(name: str = "db", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": "None", "selector": {"app": "db"}, **spec},
    }


def a_volume(name: str = "pv-1", node: str = "n1", path: str = "volumes/pv-1", **metadata: Any) -> Object:
    """A volume of `node` that is being deleted, whose data is to be removed; a field of None is left out."""
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    wanted = {
        "name": name,
        "uid": f"uid-{name}",
        "deletionTimestamp": rfc3339(NOW),
        "deletionGracePeriodSeconds": 0,
        "finalizers": [DATA_FINALIZER],
        **metadata,
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {field: value for field, value in wanted.items() if value is not None},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "local": {"path": path},
            "claimRef": {"namespace": "default", "name": "data-db-0", "uid": "uid-claim"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
        },
    }
