"""Apply: the manifest a person keeps, the one applied before and the live object make the next object.

The semantics of `kubectl apply` (apimachinery/pkg/util/strategicpatch, CreateThreeWayMergePatch): what the manifest
says wins; what the last manifest said and this one does not is removed; everything else of the live object stays,
since somebody else wrote it. Lists of structs merge by their merge keys (`name` of containers), others are replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.definitions import Shape, shape_of
from schemas.errors import BadRequest
from schemas.kinds import Kind
from schemas.objects import LAST_APPLIED, Object

_FREE = Shape()
"""A value of which nothing is known: objects merge, all else is replaced."""


def apply_manifest(manifest: Object, live: Object | None, kind: Kind) -> Object:
    """Return what applying a manifest, as written, makes of the live object (None: it does not exist).

    The result carries the manifest in its last-applied annotation and is yet to be made canonical. Raises BadRequest
    where the live object's annotation cannot be read.
    """
    recorded = with_last_applied(manifest, manifest)
    if live is None:
        return recorded
    last = last_applied_of(live) or {}
    return with_last_applied(three_way(last, manifest, live, kind), manifest)


def three_way(last_applied: Object, manifest: Object, live: Object, kind: Kind) -> Object:
    """Return `live` with what changed from `last_applied` to `manifest` and what `manifest` says. Edits nothing."""
    return _merged(last_applied, manifest, live, shape_of(kind.definition))


def last_applied_of(obj: Object) -> Object | None:
    """Return the manifest that the last-applied annotation holds; None if there is none. Raises BadRequest."""
    text = (obj["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if text is None:
        return None
    try:
        manifest = json.loads(text)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise BadRequest(
            f"metadata.annotations[{LAST_APPLIED}]: is no JSON object; remove the annotation to apply anew"
        )
    return manifest


def with_last_applied(obj: Object, manifest: Object) -> Object:
    """Return `obj` with `manifest` recorded in its last-applied annotation, as kubectl writes it."""
    metadata = manifest.get("metadata") or {}
    others = {key: text for key, text in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    plain = {**manifest, "metadata": {**metadata, "annotations": others}}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    own = obj.get("metadata") or {}
    return {**obj, "metadata": {**own, "annotations": {**(own.get("annotations") or {}), LAST_APPLIED: text}}}


def _merged(
    last: Mapping[str, Any], manifest: Mapping[str, Any], live: Mapping[str, Any], shape: Shape
) -> Object:
    result = {key: value for key, value in live.items() if key not in last or manifest.get(key) is not None}
    for key, value in manifest.items():
        inner = (shape.fields or {}).get(key) or shape.values or _FREE
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged_value(last.get(key), value, live.get(key), inner)
    return result


def _merged_value(last: Any, manifest: Any, live: Any, shape: Shape) -> Any:
    if isinstance(manifest, dict):
        return _merged(_mapping(last), manifest, _mapping(live), shape)
    if isinstance(manifest, list) and isinstance(live, list) and "merge" in shape.strategies:
        before = last if isinstance(last, list) else []
        if not shape.merge_key:
            return _merged_set(before, manifest, live)
        keyed = [_by_key(items, shape.merge_key) for items in (before, manifest, live)]
        if keyed[1] is not None and keyed[2] is not None:
            return _merged_items(keyed[0] or {}, keyed[1], keyed[2], shape)
    return _without_nulls(manifest)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _by_key(items: Sequence[Any], merge_key: str) -> dict[Any, Any] | None:
    """Return items by their merge key; None where it is missing or not unique (the list is then replaced whole)."""
    keys = [item.get(merge_key) if isinstance(item, dict) else None for item in items]
    if any(not isinstance(key, str | int) for key in keys) or len(set(keys)) < len(keys):
        return None
    return dict(zip(keys, items, strict=True))


def _merged_items(
    last: dict[Any, Any], manifest: dict[Any, Any], live: dict[Any, Any], shape: Shape
) -> list[Any]:
    """Merge two lists by key: in the manifest's order, with items of others kept where they stood in between."""
    item_shape = shape.items or _FREE
    places = {key: place for place, key in enumerate(live)}
    others = [key for key in live if key not in manifest and key not in last]
    result: list[Any] = []
    for key, item in manifest.items():
        while others and places[others[0]] < places.get(key, -1):
            result.append(live[others.pop(0)])
        merged = _merged(_mapping(last.get(key)), item, _mapping(live.get(key)), item_shape)
        if "retainKeys" in shape.strategies:
            merged = {field: value for field, value in merged.items() if field in item}
        result.append(merged)
    return result + [live[key] for key in others]


def _merged_set(last: Sequence[Any], manifest: Sequence[Any], live: Sequence[Any]) -> list[Any]:
    kept = [item for item in live if item in manifest or item not in last]
    return kept + [item for item in manifest if item not in kept]


def _without_nulls(value: Any) -> Any:
    """Return a list or scalar of the manifest without null fields inside its objects."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
