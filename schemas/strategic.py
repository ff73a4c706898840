"""Strategic merge patch: the merge patch that knows how Kubernetes' lists are keyed.

What kubectl's `patch`, `edit`, `apply` and `label` send for built-in kinds (apimachinery/pkg/util/strategicpatch). A
list with the strategy `merge` is merged by its key, or as a set where its items are scalars; any other is replaced.
In the patch, four kinds of directives say what plain values cannot:

    $patch: replace | delete | merge        of an object: take its place, empty it; of an item: replace all, remove it
    $setElementOrder/<list>: [...]          the order of the items that the writer knows
    $deleteFromPrimitiveList/<list>: [...]  scalars to take out of a list
    $retainKeys: [...]                      the only fields that an object keeps (of a union, as a volume)
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from schemas.definitions import Shape, shape_of
from schemas.errors import BadRequest
from schemas.patching import Json

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_FREE = Shape()
"""A value of which nothing is known: objects merge, all else is replaced."""


def apply_strategic_patch(obj: Json, patch: Json, definition: str) -> Json:
    """Return `obj` with a strategic merge patch applied. Edits neither; the result shares what did not change.

    `definition` is the full name of the object's schema (`Kind.definition`). Raises BadRequest, naming the field.
    """
    if not isinstance(patch, dict):
        raise BadRequest('strategic merge patch: must be an object, as {"spec":{"replicas":3}}')
    return _merged(obj if isinstance(obj, dict) else {}, patch, shape_of(definition), "")


def _merged(original: dict[str, Json], patch: dict[str, Json], shape: Shape, where: str) -> dict[str, Json]:
    match patch.get(_PATCH, "merge"):
        case "replace":
            return _plain_object(patch)
        case "delete":
            return {}
        case "merge":
            pass
        case other:
            raise _bad(where, f"$patch: {other!r} is unknown; write replace, delete or merge")
    result = _retained(original, patch, where)
    orders = {name: value for key, value in patch.items() if (name := _listed(key, _ORDER))}
    for key, value in patch.items():
        if (name := _listed(key, _DELETE_FROM)) and isinstance(result.get(name), list):
            gone = set(map(_text, _list_of(value, f"{where}.{key}")))
            result[name] = [item for item in result[name] if _text(item) not in gone]
    for name, value in patch.items():
        if _is_directive(name):
            continue
        merged = _merged_value(result.get(name), value, _inner(shape, name), f"{where}.{name}")
        if merged is None:
            result.pop(name, None)
        else:
            result[name] = merged
    for name, value in orders.items():
        if isinstance(result.get(name), list):
            order = _list_of(value, f"{where}.{_ORDER}{name}")
            inner, at = _inner(shape, name), f"{where}.{name}"
            _check_order(patch.get(name), order, inner, at)
            result[name] = _ordered(result[name], order, original.get(name), inner)
    return result


def _merged_value(original: Json, patch: Json, shape: Shape, where: str) -> Json:
    if isinstance(original, dict) and isinstance(patch, dict):
        return _merged(original, patch, shape, where)
    if isinstance(original, list) and isinstance(patch, list) and "merge" in shape.strategies:
        return _merged_list(original, patch, shape, where)
    return _plain(patch)


def _merged_list(original: list[Json], patch: list[Json], shape: Shape, where: str) -> list[Json]:
    items = [*original, *patch]
    if not any(isinstance(item, dict) for item in items):
        united = list({_text(item): item for item in items}.values())
        return _ordered(united, patch, original, shape)
    if not all(isinstance(item, dict) for item in items):
        raise _bad(where, "objects and other values cannot be merged into one list")
    if not shape.merge_key:
        raise _bad(where, "items of this list have no merge key; use a JSON patch")
    return _merged_items(original, patch, shape, where)


def _merged_items(original: list[Json], patch: list[Json], shape: Shape, where: str) -> list[Json]:
    """Merge lists of objects: items to delete go first, then each item of the patch meets the first of its key."""
    key, plain = shape.merge_key, [item for item in patch if item.get(_PATCH, "merge") == "merge"]
    for item in patch:
        if item.get(_PATCH) not in (None, "replace", "merge", "delete"):
            raise _bad(where, f"$patch: {item[_PATCH]!r} is unknown; write replace, delete or merge")
        if key not in item and item.get(_PATCH) != "replace":
            raise _bad(where, f"an item has no {key}, by which items of this list are merged")
    if any(item.get(_PATCH) == "replace" for item in patch):
        return [_plain_object(item) for item in plain]
    gone = {_text(item[key]) for item in patch if item.get(_PATCH) == "delete"}
    kept = [item for item in original if _text(item.get(key)) not in gone]
    result, places = list(kept), _places(_text(item.get(key)) for item in kept)
    for item in plain:
        place = places.setdefault(_text(item[key]), len(result))
        if place == len(result):
            result.append(_plain_object(item))
        else:
            result[place] = _merged(result[place], item, shape.items or _FREE, f"{where}[{key}={item[key]}]")
    return _ordered(result, plain, kept, shape)


def _retained(original: dict[str, Json], patch: dict[str, Json], where: str) -> dict[str, Json]:
    """Return a copy of `original` with the fields that `$retainKeys` names; all of it where there is none."""
    if _RETAIN not in patch:
        return dict(original)
    keys = _list_of(patch[_RETAIN], f"{where}.{_RETAIN}")
    for name, value in patch.items():
        if value is not None and not _is_directive(name) and name not in keys:
            raise _bad(where, f"{name} is set and is not in $retainKeys; add it there")
    return {name: value for name, value in original.items() if name in keys}


def _ordered(items: list[Json], order: Sequence[Json], before: Json, shape: Shape) -> list[Json]:
    """Return items in order: what the writer names as he says, the rest as it was, the two as they stood before."""
    identity = _identity_of(shape)
    named, standing = _places(map(identity, order)), _places(map(identity, before or ()))
    known = sorted(
        (item for item in items if identity(item) in named), key=lambda item: named[identity(item)]
    )
    others = [item for item in items if identity(item) not in named]
    result: list[Json] = []
    first, second = deque(known), deque(others)
    while first and second:
        left, right = (standing.get(identity(each[0]), -1) for each in (second, first))
        result.append((second if 0 <= left < right else first).popleft())
    return [*result, *first, *second]


def _check_order(patch: Json, order: list[Json], shape: Shape, where: str) -> None:
    """Raise BadRequest where the items of the patch are not in `$setElementOrder`, in that order."""
    identity = _identity_of(shape)
    written = [item for item in patch or () if not (isinstance(item, dict) and _PATCH in item)]
    remaining = iter(map(identity, order))
    for item in written if order else ():
        if identity(item) not in remaining:
            raise _bad(where, f"{identity(item)} is not in $setElementOrder, or in another order there")


def _identity_of(shape: Shape) -> Callable[[Json], str]:
    key = shape.merge_key
    return lambda item: _text(item.get(key) if key and isinstance(item, dict) else item)


def _text(value: Json) -> str:
    """Return what two values have in common if and only if they are the same JSON."""
    return json.dumps(value, sort_keys=True)


def _places(identities: Iterable[str]) -> dict[str, int]:
    """Return where each identity stands first."""
    found: dict[str, int] = {}
    for place, identity in enumerate(identities):
        found.setdefault(identity, place)
    return found


def _inner(shape: Shape, name: str) -> Shape:
    return (shape.fields or {}).get(name) or shape.values or _FREE


def _plain(value: Json) -> Json:
    """Return a value of the patch without directives and nulls; None where it says that there is to be nothing."""
    if isinstance(value, dict):
        return None if value.get(_PATCH) == "delete" else _plain_object(value)
    if isinstance(value, list):
        specials = ("delete", "replace")
        return [
            _plain(item) for item in value if not isinstance(item, dict) or item.get(_PATCH) not in specials
        ]
    return value


def _plain_object(value: dict[str, Json]) -> dict[str, Json]:
    result: dict[str, Json] = {}
    for name, inner in value.items():
        plain = None if _is_directive(name) else _plain(inner)
        if plain is not None:
            result[name] = plain
    return result


def _is_directive(name: str) -> bool:
    return name in (_PATCH, _RETAIN) or name.startswith((_ORDER, _DELETE_FROM))


def _listed(key: str, prefix: str) -> str:
    """Return the list that a directive is about; empty where it is not that directive."""
    return key.removeprefix(prefix) if key.startswith(prefix) else ""


def _list_of(value: Any, where: str) -> list[Json]:
    if not isinstance(value, list):
        raise _bad(where, "must be a list")
    return value


def _bad(where: str, problem: str) -> BadRequest:
    return BadRequest(f"strategic merge patch: {where.lstrip('.') or 'the patch'}: {problem}")
