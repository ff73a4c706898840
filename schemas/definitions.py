"""Kubernetes' published definitions: the shape of every kind, and whether an object has it.

schemas/kubernetes-1.36.json is written by scripts/schemas. It is read, and a validator compiled, when a kind is
first asked for, so that a program that validates nothing pays nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

from schemas.errors import Cause
from schemas.kinds import Kind
from schemas.objects import Object

_BOUNDS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value may look like, and how Kubernetes stores, merges and lists it."""

    name: str = ""
    """The definition's last word, as `Container`; empty for a plain value."""
    types: tuple[str, ...] = ()
    """JSON types: object, array, string, integer, number, boolean."""
    fields: Mapping[str, Shape] | None = None
    """The fields of a struct; None for everything else (a map, a free object, a list, a scalar)."""
    required: frozenset[str] = frozenset()
    items: Shape | None = None
    values: Shape | None = None
    """The values of a map such as labels."""
    merge_key: str = ""
    """The field that identifies an item when lists are merged (`name` of containers)."""
    strategies: tuple[str, ...] = ()
    """Patch strategies: `merge`, `retainKeys`."""
    keeps_empty: bool = False
    """An empty scalar that was written is stored (a pointer in Go)."""
    is_quantity: bool = False
    always_written: tuple[str, ...] = ()
    """The struct's fields that are stored even where they were left out (`resources: {}`)."""


@cache
def definitions() -> Mapping[str, Any]:
    """Return the definitions by full name, as scripts/schemas wrote them."""
    text = files("schemas").joinpath("kubernetes-1.36.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def shape_of(definition: str) -> Shape:
    """Return the shape of a definition by its full name (`Kind.definition`). No definition here is recursive."""
    name = definition.rsplit(".", 1)[1]
    return replace(_shape(definitions()[definition]), name=name, is_quantity=name == "Quantity")


def _shape(schema: Mapping[str, Any]) -> Shape:
    base = shape_of(schema["$ref"].rsplit("/", 1)[1]) if "$ref" in schema else _plain_shape(schema)
    strategies = schema.get("x-kubernetes-patch-strategy", "")
    return replace(
        base,
        merge_key=schema.get("x-kubernetes-patch-merge-key", ""),
        strategies=tuple(strategies.split(",")) if strategies else (),
        keeps_empty="x-keep" in schema,
    )


def _plain_shape(schema: Mapping[str, Any]) -> Shape:
    types = schema.get("type", "object")
    properties = schema.get("properties")
    return Shape(
        types=(types,) if isinstance(types, str) else tuple(types),
        fields={name: _shape(inner) for name, inner in properties.items()} if properties else None,
        required=frozenset(schema.get("required", ())),
        items=_shape(schema["items"]) if "items" in schema else None,
        values=_shape(schema["additionalProperties"]) if "additionalProperties" in schema else None,
        always_written=tuple(name for name, inner in (properties or {}).items() if "x-always" in inner),
    )


@cache
def _validator_of(definition: str) -> Any:
    checked = {
        name: _checked(schema, required=not name.endswith("Status")) for name, schema in definitions().items()
    }
    return jsonschema_rs.validator_for(
        {"$ref": f"#/$defs/{definition}", "$defs": checked}, validate_formats=True
    )


def _checked(schema: Any, required: bool = True) -> Any:
    """Return a schema with the bounds of its integers; a status may be given in part."""
    if isinstance(schema, list):
        return [_checked(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    result = {word: _checked(inner) for word, inner in schema.items() if required or word != "required"}
    if schema.get("format") in _BOUNDS:
        result["minimum"], result["maximum"] = _BOUNDS[schema["format"]]
    return result


def shape_causes(obj: Object, kind: Kind) -> tuple[Cause, ...]:
    """Return what of `obj` has not the shape of its kind: a wrong type, a required field that is missing.

    Expects no nulls (schemas.canonical drops them). Unknown fields are no concern of this function.
    """
    validator = _validator_of(kind.definition)
    if validator.is_valid(obj):
        return ()
    return tuple(_cause_of(error) for error in validator.iter_errors(obj))


def _cause_of(error: Any) -> Cause:
    keyword, where = str(error.schema_path[-1]), path_text(error.instance_path)
    if "required" in map(str, list(error.schema_path)[-2:]):
        missing = error.message.split('"')[1]
        return Cause(f"{where}.{missing}".lstrip("."), "Required value", "FieldValueRequired")
    shown = json.dumps(error.instance)[:80]
    if keyword == "type":
        return Cause(
            where, f"Invalid value: {shown}: must be {_expected(error.message)}", "FieldValueTypeInvalid"
        )
    return Cause(where, f"Invalid value: {shown}: {_limit(keyword, error.message)}")


def _expected(message: str) -> str:
    """Return `an integer` from the validator's `"x" is not of type "integer"` (or `of types "string", ...`)."""
    types = _quoted(message[message.rfind("of type") :])
    return " or ".join(f"an {word}" if word[0] in "aio" else f"a {word}" for word in types)


def _quoted(text: str) -> Iterator[str]:
    return (part for index, part in enumerate(text.split('"')) if index % 2)


def _limit(keyword: str, message: str) -> str:
    if keyword in ("minimum", "maximum"):
        return f"must be {message.rsplit(' of ', 1)[-1]} at {'least' if keyword == 'minimum' else 'most'}"
    return "must be an RFC 3339 time, as 2026-11-23T02:17:59Z" if keyword == "format" else message


def path_text(steps: Sequence[str | int]) -> str:
    """Return `spec.containers[0].name` for the steps to a field; a step with a dot or slash is put in brackets."""
    parts = []
    for step in steps:
        bracketed = isinstance(step, int) or "." in step or "/" in step
        shown = step if isinstance(step, int) or step.isprintable() else ascii(step)
        parts.append(f"[{shown}]" if bracketed else f".{shown}")
    return "".join(parts).lstrip(".")
