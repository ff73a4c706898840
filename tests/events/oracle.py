"""An oracle that is not the code under test: a naive fold, straight from the envelope's documentation."""

from __future__ import annotations

import copy
from typing import Any

import msgpack

from events.codec import Entry


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, word by word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def naive_fold(entries: list[Entry]) -> dict[str, Any]:
    """Return key -> object after the entries, with every resourceVersion."""
    objects: dict[str, Any] = {}
    for entry in entries:
        data = msgpack.unpackb(entry.data)
        version = str(entry.position + data.get("n", 1) - 1 - data.get("i", 0))
        match data["op"]:
            case "create" | "replace":
                objects[entry.key] = copy.deepcopy(data["body"])
            case "update":
                objects[entry.key] = copy.deepcopy(merged(objects[entry.key], data["body"]))
            case "delete":
                del objects[entry.key]
        if entry.key in objects:
            objects[entry.key]["metadata"]["resourceVersion"] = version
    return objects
