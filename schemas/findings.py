"""The five ways in which a field is wrong, phrased as apimachinery's pkg/util/validation/field phrases them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from schemas.errors import Cause

Findings = Iterator[Cause]
_LONGEST_VALUE = 200


def invalid(where: str, value: Any, detail: str) -> Cause:
    """The value breaks a rule: `Invalid value: -1: must be greater than or equal to 0`."""
    return Cause(where, f"Invalid value: {_shown(value)}: {detail}")


def required(where: str, detail: str = "") -> Cause:
    """The field has no value, and must have one."""
    return Cause(where, f"Required value: {detail}" if detail else "Required value", "FieldValueRequired")


def not_supported(where: str, value: Any, supported: Iterable[str]) -> Cause:
    """The value is not one of a known few."""
    choices = ", ".join(f'"{choice}"' for choice in supported)
    return Cause(
        where, f"Unsupported value: {_shown(value)}: supported values: {choices}", "FieldValueNotSupported"
    )


def forbidden(where: str, detail: str) -> Cause:
    """The field may not be set, or not be changed."""
    return Cause(where, f"Forbidden: {detail}", "FieldValueForbidden")


def duplicate(where: str, value: Any) -> Cause:
    """The value must be unique, and is not."""
    return Cause(where, f"Duplicate value: {_shown(value)}", "FieldValueDuplicate")


def not_found(where: str, value: Any) -> Cause:
    """The value refers to something that is not there."""
    return Cause(where, f"Not found: {_shown(value)}", "FieldValueNotFound")


def immutable(where: str, old: Any, new: Any) -> Findings:
    """Find a field that changed and may not (apimachinery/pkg/api/validation ValidateImmutableField)."""
    if old != new:
        yield invalid(where, new, "field is immutable")


def negative(where: str, value: int | None) -> Findings:
    """Find a number below zero."""
    if value is not None and value < 0:
        yield invalid(where, value, "must be greater than or equal to 0")


def named_badly(where: str, value: str, problems: Callable[[str], Iterable[str]]) -> Findings:
    """Find what `schemas.names` says is wrong with a value."""
    yield from (invalid(where, value, problem) for problem in problems(value))


def not_among(where: str, value: str | None, supported: Collection[str]) -> Findings:
    """Find a value, if there is one, that is not among the supported ones."""
    if value is not None and value not in supported:
        yield not_supported(where, value, supported)


def repeated(where: str, values: Iterable[tuple[int, Any]], field: str = "") -> Findings:
    """Find values of list items, given as (index, value), that occur twice; `field` is their name in the item."""
    seen: set[Any] = set()
    for index, value in values:
        if value in seen:
            yield duplicate(f"{where}[{index}]{'.' + field if field else ''}", value)
        seen.add(value)


def item(where: str, key: str) -> str:
    """Return the path of a map's item: `data[my.cnf]`."""
    return f"{where}[{key if key.isprintable() else ascii(key)}]"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."
