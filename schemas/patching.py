"""Patches: RFC 6902 (JSON patch), RFC 7386 (merge patch), and the merge patch between two objects.

Nothing here edits an argument: a result is copied along the changed path and shares the rest with its source.
`apply_merge_patch` and `merge_patch_between` run once for every status change, in the fold and in the commit.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from schemas.errors import BadRequest, PatchFailed
from schemas.objects import type_name

Json = Any
"""dict, list, str, int, float, bool or None."""
_PLAIN = 2
"""The version of marshal's format that tells a value alone, not which parts of it are one object."""


def strictly_equal(a: Json, b: Json) -> bool:
    """True if two JSON values are equal in type as well: 1, 1.0 and True are three different values.

    So are 0.0 and -0.0, since they are written differently. The order of an object's keys does not count.
    """
    return a is b or (a == b and _has_same_types(a, b))


def _has_same_types(a: Json, b: Json) -> bool:
    """True if values that are equal are so in type as well; that they are equal, C tells in a tenth of the time."""
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is dict:
        for key, value in a.items():
            other = b[key]
            if value is not other and not _has_same_types(value, other):
                return False
    elif kind is list:
        for value, other in zip(a, b, strict=True):
            if value is not other and not _has_same_types(value, other):
                return False
    return kind is not float or repr(a) == repr(b)


def is_json(value: Json) -> bool:
    """True if a value is JSON all the way down: no bytes, no tuple, no NaN or infinity, only strings as keys.

    Written and read back as JSON it is what it was, told by bytes that know types, lengths, the order of keys and the
    sign of zero: a tenth of the time that a walk in Python takes.
    """
    try:
        return marshal.dumps(orjson.loads(orjson.dumps(value)), _PLAIN) == marshal.dumps(value, _PLAIN)
    except (ValueError, TypeError):
        return False


def apply_merge_patch(target: Json, patch: Json) -> Json:
    """Return `target` with a merge patch applied (RFC 7386): null removes, objects merge, all else replaces.

    Neither argument is edited; the result shares what did not change, and values of the patch.
    """
    if type(patch) is not dict:
        return patch
    result = target.copy() if type(target) is dict else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif type(value) is dict:
            result[key] = apply_merge_patch(result.get(key), value)
        else:
            result[key] = value
    return result


class _Inexpressible(Exception):
    """A change that no merge patch can say: a null that appears where something else was."""


def merge_patch_between(old: Json, new: Json) -> Json | None:
    """Return the merge patch that makes `apply_merge_patch(old, patch)` strictly equal `new`; `{}`: equal.

    None where no merge patch can express the change: a null appears inside an object, or `old` or `new` is
    not an object. The caller then writes the whole object instead.
    """
    if type(old) is not dict or type(new) is not dict:
        return None
    try:
        return _difference(old, new)
    except _Inexpressible:
        return None


def _difference(old: dict[str, Json], new: dict[str, Json]) -> dict[str, Json]:
    patch: dict[str, Json] = {}
    for key, value in new.items():
        before = old.get(key)
        kind = type(value)
        if kind is dict and type(before) is dict:
            if before is not value and (inner := _difference(before, value)):
                patch[key] = inner
        elif kind is str:
            if before != value:
                patch[key] = value
        elif key not in old or before != value or not strictly_equal(before, value):
            patch[key] = _whole(value)
    for key in old:
        if key not in new:
            patch[key] = None
    return patch


def _whole(value: Json) -> Json:
    """Return `value` if a merge patch can set it as it is: no null and no object with a null in it."""
    if value is None:
        raise _Inexpressible
    if type(value) is dict:
        for inner in value.values():
            _whole(inner)
    return value


def apply_json_patch(document: Json, patch: Sequence[Json]) -> Json:
    """Return `document` with the operations of a JSON patch (RFC 6902) applied in order, all or none.

    Raises PatchFailed naming the operation (counted from 0), its path and what is wrong with it; BadRequest where there
    are no operations.
    """
    if not isinstance(patch, list):
        raise BadRequest(f"JSON patch: a {type_name(patch)} was given; write a list of operations")
    for number, operation in enumerate(patch):
        try:
            document = _apply_operation(document, operation)
        except _BadOperation as bad:
            raise PatchFailed(f"JSON patch operation {number} ({_summary(operation)}): {bad}") from None
    return document


class _BadOperation(Exception):
    pass


def _summary(operation: Json) -> str:
    if not isinstance(operation, dict):
        return type_name(operation)
    return f"{operation.get('op')} {operation.get('path')}"


def _apply_operation(document: Json, operation: Json) -> Json:
    if not isinstance(operation, dict):
        raise _BadOperation("must be an object with op and path")
    name = operation.get("op")
    apply = _OPERATIONS.get(name) if isinstance(name, str) else None
    if apply is None:
        raise _BadOperation(f"op {name!r} is unknown; write one of {', '.join(_OPERATIONS)}")
    return apply(document, operation)


def _pointer(operation: dict[str, Json], member: str = "path") -> list[str]:
    """Return the steps of the JSON pointer (RFC 6901) in a member of an operation."""
    text = operation.get(member)
    if not isinstance(text, str):
        raise _BadOperation(f"{member} must be a JSON pointer, as /spec/replicas")
    if text and not text.startswith("/"):
        raise _BadOperation(f"{member} {text!r} must be empty or start with /")
    bare = text.replace("~0", "").replace("~1", "")
    if "~" in bare:
        raise _BadOperation(f"{member} {text!r} has a ~ that is neither ~0 (for ~) nor ~1 (for /)")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _value_of(operation: dict[str, Json]) -> Json:
    if "value" not in operation:
        raise _BadOperation("value is missing")
    return operation["value"]


def _index(step: str, length: int) -> int:
    """Return a list index below `length` from a step of a pointer."""
    if not (step.isdecimal() and step.isascii()) or (len(step) > 1 and step[0] == "0"):
        raise _BadOperation(f"{step!r} is no index of a list; write a number from 0 without leading zeros")
    if len(step) > 18 or int(step) >= length:
        raise _BadOperation(f"index {step} is beyond the list, which has {max(length, 0)} usable positions")
    return int(step)


def _get(document: Json, steps: Sequence[str]) -> Json:
    for depth, step in enumerate(steps):
        document = document[_existing(document, step, steps[:depth])]
    return document


def _existing(container: Json, step: str, above: Sequence[str]) -> Any:
    """Return the key or index of a member that must exist."""
    if isinstance(container, list):
        return _index(step, len(container))
    if not isinstance(container, dict):
        raise _BadOperation(f"/{'/'.join(above)} is a {type_name(container)}, which has no member {step!r}")
    if step not in container:
        raise _BadOperation(f"/{'/'.join([*above, step])} does not exist")
    return step


def _edit(document: Json, steps: Sequence[str], change: Callable[[Json, str], Json], depth: int = 0) -> Json:
    """Return `document` with `change(container, last step)` in place of the container at `steps[:-1]`."""
    if depth == len(steps) - 1:
        if not isinstance(document, dict | list):
            above = "/".join(steps[:depth])
            raise _BadOperation(f"/{above} is a {type_name(document)}, which has no member {steps[depth]!r}")
        return change(document.copy(), steps[depth])
    key = _existing(document, steps[depth], steps[:depth])
    result = document.copy()
    result[key] = _edit(document[key], steps, change, depth + 1)
    return result


def _added(document: Json, steps: Sequence[str], value: Json) -> Json:
    def insert(container: Json, step: str) -> Json:
        if isinstance(container, dict):
            container[step] = value
        else:
            container.insert(len(container) if step == "-" else _index(step, len(container) + 1), value)
        return container

    return _edit(document, steps, insert) if steps else value


def _removed(document: Json, steps: Sequence[str]) -> Json:
    def drop(container: Json, step: str) -> Json:
        del container[_existing(container, step, steps[:-1])]
        return container

    if not steps:
        raise _BadOperation("the whole document cannot be removed")
    return _edit(document, steps, drop)


def _add(document: Json, operation: dict[str, Json]) -> Json:
    return _added(document, _pointer(operation), _value_of(operation))


def _remove(document: Json, operation: dict[str, Json]) -> Json:
    return _removed(document, _pointer(operation))


def _replace(document: Json, operation: dict[str, Json]) -> Json:
    steps, value = _pointer(operation), _value_of(operation)

    def put(container: Json, step: str) -> Json:
        container[_existing(container, step, steps[:-1])] = value
        return container

    return _edit(document, steps, put) if steps else value


def _move(document: Json, operation: dict[str, Json]) -> Json:
    source, target = _pointer(operation, "from"), _pointer(operation)
    if len(source) < len(target) and target[: len(source)] == source:
        raise _BadOperation(f"from {operation['from']!r} cannot be moved into itself")
    value = _get(document, source)
    return document if source == target else _added(_removed(document, source), target, value)


def _copy(document: Json, operation: dict[str, Json]) -> Json:
    return _added(document, _pointer(operation), _get(document, _pointer(operation, "from")))


def _test(document: Json, operation: dict[str, Json]) -> Json:
    found, expected = _get(document, _pointer(operation)), _value_of(operation)
    if not _same(found, expected):
        raise _BadOperation(f"the test failed: found {found!r}, expected {expected!r}")
    return document


def _same(a: Json, b: Json) -> bool:
    """Equality of RFC 6902 section 4.6: numbers by value (1 = 1.0), but no boolean is a number."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


_OPERATIONS: dict[str, Callable[[Json, dict[str, Json]], Json]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
