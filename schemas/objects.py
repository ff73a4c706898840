"""Objects as raw JSON dicts, and the few questions that everybody asks of them.

An object is never edited in place: whoever changes one builds a new dict along the changed path and shares the
rest, so a reader may keep an old object for ever.
"""

from __future__ import annotations

from typing import Any

from schemas.kinds import BY_NAME, Kind
from schemas.positions import Position

Object = dict[str, Any]
Key = str
"""`apps/statefulsets/default/web`, or `core/nodes/n1` for kinds without a namespace."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""The annotation by which `apply` remembers the manifest."""
ENDED_PHASES = ("Failed", "Succeeded")
"""The phases that a pod never leaves."""


def type_name(value: Any) -> str:
    """Return what JSON calls the type of a value: object, list, string, boolean, number or null."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def key_of(resource: str, namespace: str, name: str) -> Key:
    """Return the key of an object; `namespace` is empty for cluster-scoped kinds."""
    return f"{resource}/{namespace}/{name}" if namespace else f"{resource}/{name}"


def split_key(key: Key) -> tuple[str, str, str]:
    """Return (resource, namespace, name); the namespace of a cluster-scoped kind is empty."""
    parts = key.split("/")
    if len(parts) == 4:
        return f"{parts[0]}/{parts[1]}", parts[2], parts[3]
    return f"{parts[0]}/{parts[1]}", "", parts[2]


def resource_of(key: Key) -> str:
    """Return the resource of a key; of one that names no object, as the log's own, all of it."""
    group, _, rest = key.partition("/")
    return f"{group}/{rest.partition('/')[0]}"


def kind_of(obj: Object) -> Kind:
    """Return the row of the kinds table for an object with apiVersion and kind. Raises KeyError if unknown."""
    return BY_NAME[obj["apiVersion"], obj["kind"]]


def key_of_object(obj: Object) -> Key:
    """Return the key under which the log knows this object."""
    metadata = obj["metadata"]
    return key_of(kind_of(obj).resource, metadata.get("namespace", ""), metadata["name"])


def name_of(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def namespace_of(obj: Object) -> str:
    return str(obj["metadata"].get("namespace", ""))


def uid_of(obj: Object) -> str:
    return str(obj["metadata"].get("uid", ""))


def labels_of(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def version_of(obj: Object) -> Position:
    """Return the resourceVersion as a position: where the batch that last changed the object ended; 0 if none."""
    return int(obj["metadata"].get("resourceVersion", 0))


def is_terminating(obj: Object) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def has_ended(pod: Object) -> bool:
    """True if a pod has Succeeded or Failed: its containers have ended for good (pkg/api/v1/pod, IsPodTerminal)."""
    return (pod.get("status") or {}).get("phase") in ENDED_PHASES


def controller_of(obj: Object) -> Object | None:
    """Return the owner reference with `controller: true`, if there is one (metav1.GetControllerOf)."""
    for reference in obj["metadata"].get("ownerReferences", ()):
        if reference.get("controller"):
            return dict(reference)
    return None


def is_owned_by(obj: Object, uid: str) -> bool:
    """True where one of an object's owner references is to `uid`."""
    return any(reference["uid"] == uid for reference in obj["metadata"].get("ownerReferences", ()))


def with_fields(obj: Object, **fields: Any) -> Object:
    """Return a copy of `obj` with top-level `fields` replaced."""
    return {**obj, **fields}


def with_metadata(obj: Object, **fields: Any) -> Object:
    """Return a copy of `obj` with `fields` of its metadata replaced; a value of None removes the field."""
    metadata = {**obj["metadata"], **fields}
    return {**obj, "metadata": {name: value for name, value in metadata.items() if value is not None}}
