"""Objects for tests, as the API would have stored them, with defaults for all that a test does not care about."""

from __future__ import annotations

from itertools import count
from typing import Any

from events.state import State
from schemas.objects import Object, key_of_object

_uids = count(1)


def an_object(kind: str, name: str, namespace: str = "", api_version: str = "v1", **parts: Any) -> Object:
    """Any object. `metadata` in `parts` is merged, the other parts are taken as they are."""
    metadata = {
        "name": name,
        "uid": f"{kind.lower()}-{name}-{next(_uids)}",
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        **({"namespace": namespace} if namespace else {}),
        **parts.pop("metadata", {}),
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}


def a_node(
    name: str = "n1",
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    ready: str = "True",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A node with its hostname label; `ready` is the status of its Ready condition, empty for none."""
    return an_object(
        "Node",
        name,
        metadata={"labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        spec=spec,
        status={
            "allocatable": {"cpu": cpu, "memory": memory, "pods": pods},
            "conditions": [{"type": "Ready", "status": ready}] if ready else [],
        },
    )


def a_pod(
    name: str = "web-0",
    node: str = "",
    owner: Object | None = None,
    requests: dict[str, str] | None = None,
    claims: tuple[str, ...] = (),
    host_ports: tuple[int, ...] = (),
    phase: str = "Pending",
    metadata: dict[str, Any] | None = None,
    **spec: Any,
) -> Object:
    """A pod of one container, controlled by `owner`, bound to `node` where one is given."""
    container = {
        "name": "main",
        "image": "main:1",
        "resources": {"requests": requests or {}},
        "ports": [{"containerPort": port, "hostPort": port, "protocol": "TCP"} for port in host_ports],
    }
    volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    return an_object(
        "Pod",
        name,
        "default",
        metadata={**({"ownerReferences": [a_reference(owner)]} if owner else {}), **(metadata or {})},
        spec={
            "containers": [container],
            **({"volumes": volumes} if volumes else {}),
            **({"nodeName": node} if node else {}),
            **spec,
        },
        status={"phase": phase},
    )


def a_class(
    name: str = "local", mode: str = "WaitForFirstConsumer", default: bool = True, **parts: Any
) -> Object:
    """A storage class of volumes on nodes; the default one."""
    marked = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}} if default else {}
    return an_object(
        "StorageClass",
        name,
        api_version="storage.k8s.io/v1",
        metadata={**marked, **parts.pop("metadata", {})},
        **{
            "provisioner": "chronoset.dev/local",
            "reclaimPolicy": "Delete",
            "volumeBindingMode": mode,
            **parts,
        },
    )


def a_claim(
    name: str = "data",
    volume: str = "",
    phase: str = "",
    size: str = "1Gi",
    spec: dict[str, Any] | None = None,
    **metadata: Any,
) -> Object:
    """A claim for 1Gi; bound where a volume is named."""
    return an_object(
        "PersistentVolumeClaim",
        name,
        "default",
        metadata={"finalizers": ["kubernetes.io/pvc-protection"], **metadata},
        spec={
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            **({"volumeName": volume} if volume else {}),
            **(spec or {}),
        },
        status={"phase": phase or ("Bound" if volume else "Pending")},
    )


def a_volume(
    name: str = "pv1",
    claim: Object | None = None,
    node: str = "n1",
    reclaim: str = "Delete",
    phase: str = "Bound",
    **metadata: Any,
) -> Object:
    """A local volume on `node`, bound to `claim` where one is given."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    reference = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        **{field: claim["metadata"][field] for field in ("namespace", "name", "uid") if claim},
    }
    return an_object(
        "PersistentVolume",
        name,
        metadata={"finalizers": ["kubernetes.io/pv-protection"], **metadata},
        spec={
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": reclaim,
            "local": {"path": f"volumes/{name}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            **({"claimRef": reference} if claim else {}),
        },
        status={"phase": phase},
    )


def a_controller(name: str = "web") -> Object:
    """A StatefulSet, as far as an owner needs one."""
    return an_object("StatefulSet", name, "default", "apps/v1", spec={}, status={})


def a_reference(owner: Object, controller: bool = True, blocking: bool = True) -> Object:
    """An owner reference to `owner`."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        **({"controller": True} if controller else {}),
        **({"blockOwnerDeletion": True} if blocking else {}),
    }


def a_state(*objects: Object) -> State:
    """A State that holds these objects."""
    state = State()
    for obj in objects:
        key = key_of_object(obj)
        state.put(key, state.get(key), obj)
    return state
