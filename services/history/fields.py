"""Differences between two objects, field by field, as people name fields: `spec.template.spec.containers[db].image`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from schemas.objects import Object
from schemas.patching import strictly_equal

_NAMED_BY = ("name", "type", "uid", "ip", "containerPort", "port", "mountPath", "topologyKey", "key")
"""What tells the elements of a list apart, the first that all of them have and that is different in each."""
_UNSEEN = frozenset({"metadata.resourceVersion"})
"""What moves with every event and says no more than its position does."""
_in_brackets = re.compile(r"\[[^\]]*\]")
_is_plain = re.compile(r"[A-Za-z0-9_-]+").fullmatch


class FieldChange(NamedTuple):
    """One field that differs. None: it is not there; nulls are never stored."""

    path: str
    before: Any
    after: Any


def field_changes(before: Object | None, after: Object | None) -> list[FieldChange]:
    """Return the fields that differ, in the order of the later object, removed ones last.

    Elements of a list are paired by their name (or type, port, ...) where they have one, else by their place. An object
    that was not there, or is there no more, differs in every field.
    """
    found = _differences("", before or {}, after or {})
    return [each for each in found if each.path not in _UNSEEN]


def is_within(path: str, field: str) -> bool:
    """Say whether a path is the field, or a part of it: `containers[db].image` is a part of `containers` and
    `containers.image`.
    """
    paths = (path, _in_brackets.sub("", path))
    return any(each == field or each.startswith((f"{field}.", f"{field}[")) for each in paths)


def _differences(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if strictly_equal(before, after):
        return
    match before, after:
        case dict(), dict():
            yield from _of_maps(path, before, after)
        case list(), list() if (name := _name_of_elements(before, after)) is not None:
            old, new = ({str(each[name]): each for each in elements} for elements in (before, after))
            for key in (*new, *(key for key in old if key not in new)):
                yield from _differences(f"{path}[{key}]", old.get(key), new.get(key))
        case list(), list() if len(before) == len(after) and any(map(_is_structured, (*before, *after))):
            for index, pair in enumerate(zip(before, after, strict=True)):
                yield from _differences(f"{path}[{index}]", *pair)
        case None, dict() if after:
            yield from _of_maps(path, {}, after)
        case dict(), None if before:
            yield from _of_maps(path, before, {})
        case _:
            yield FieldChange(path, before, after)


def _of_maps(path: str, before: Object, after: Object) -> Iterator[FieldChange]:
    for name in (*after, *(name for name in before if name not in after)):
        here = name if not path else f"{path}.{name}" if _is_plain(name) else f"{path}[{name}]"
        yield from _differences(here, before.get(name), after.get(name))


def _name_of_elements(before: list[Any], after: list[Any]) -> str | None:
    if not all(isinstance(each, dict) for each in (*before, *after)):
        return None
    for name in _NAMED_BY:
        if all(_names(elements, name) for elements in (before, after)):
            return name
    return None


def _names(elements: list[Any], name: str) -> bool:
    values = [each.get(name) for each in elements]
    return None not in values and not any(map(_is_structured, values)) and len(set(values)) == len(values)


def _is_structured(value: Any) -> bool:
    return isinstance(value, (dict, list))
