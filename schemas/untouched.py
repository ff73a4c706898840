"""What a request leaves alone stays as it is stored, though the rules of today would write it otherwise.

Kubernetes fills in new defaults whenever it reads from its store, so that for it nothing ever changes by them. Here an
object is what was written: were a newer version's defaults applied to all of it whenever somebody sets a label, that
would start rollouts, and be refused where a field may not change.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from schemas.definitions import Shape
from schemas.patching import strictly_equal

_FREE = Shape()
"""A value of which nothing is known."""
Today = Callable[[], Any]
"""Gives the canonical form of what is stored, by the rules of today. Seldom asked."""


def with_untouched(stored: Any, asked: Any, complete: Any, today: Today, shape: Shape) -> Any:
    """Return `complete`, the canonical form of what is asked, with what the request leaves alone as in `stored`.

    A part stays as it is stored where the rules make the same of it and of what is asked, and the request repeats it or
    does not name it. Items of a list are found by their merge key, else by their place. By the rules of today the
    result means `complete`; where `stored` has their form, it is `complete`.
    """
    if strictly_equal(complete, stored):
        return stored
    match stored, complete:
        case dict(), dict():
            return _fields(stored, asked if isinstance(asked, dict) else {}, complete, today, shape)
        case list(), list() if isinstance(asked, list) and len(asked) == len(complete):
            return _items(stored, asked, complete, today, shape)
    is_untouched = strictly_equal(asked, stored) and strictly_equal(complete, today())
    return stored if is_untouched else complete


def _fields(
    stored: dict[str, Any], asked: dict[str, Any], complete: dict[str, Any], today: Today, shape: Shape
) -> dict[str, Any]:
    shapes = shape.fields or {}
    result = {}
    for name, value in complete.items():
        if name in stored:
            inner = shapes.get(name) or shape.values or _FREE
            part = partial(_part, today, name)
            result[name] = with_untouched(stored[name], asked.get(name), value, part, inner)
        elif asked.get(name) or not strictly_equal(value, _part(today, name)):
            result[name] = value
    for name in sorted(stored.keys() - complete.keys()):
        if strictly_equal(asked.get(name), stored[name]) and _part(today, name) is None:
            result[name] = stored[name]
    return result


def _items(stored: list[Any], asked: list[Any], complete: list[Any], today: Today, shape: Shape) -> list[Any]:
    item_shape = shape.items or _FREE
    places = {_name_of(item, place, shape): place for place, item in enumerate(stored)}
    result = []
    for index, item in enumerate(complete):
        place = places.get(_name_of(item, index, shape))
        if place is not None:
            part = partial(_part, today, place)
            item = with_untouched(stored[place], asked[index], item, part, item_shape)
        result.append(item)
    return result


def _name_of(item: Any, place: int, shape: Shape) -> Any:
    """Return what tells an item from the others of its list."""
    return item.get(shape.merge_key) if shape.merge_key and isinstance(item, dict) else place


def _part(today: Today, name: str | int) -> Any:
    """Return a part of what today's rules make of the stored; None where they leave it out."""
    match today(), name:
        case dict() as whole, str():
            return whole.get(name)
        case list() as whole, int() if name < len(whole):
            return whole[name]
    return None
