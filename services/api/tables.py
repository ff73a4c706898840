"""Tables for kubectl: objects as rows of cells (meta.k8s.io/v1 Table), with the columns of schemas.columns.

The form of a list, of one object and of each event of a watch, where the client's Accept has `as=Table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schemas.columns import Column, columns_of
from schemas.errors import BadRequest
from schemas.event_shapes import core_event_of
from schemas.kinds import EVENT_OF_EVENTS, Kind
from schemas.objects import Object
from schemas.patching import Json
from schemas.times import Milliseconds

METADATA, OBJECT, NONE = "Metadata", "Object", "None"
INCLUDES = (METADATA, OBJECT, NONE)
"""What each row carries of its object besides the cells: the values of the query parameter `includeObject`."""


def table_of(
    kind: Kind, objects: Iterable[Object], now: Milliseconds, include: str = METADATA, metadata: Json = None
) -> Json:
    """Return the table of objects of one kind, in the order given; `metadata` is the list's (its resourceVersion).

    Objects are in the kind's own shape, also where that is another name of a stored kind. Raises BadRequest for an
    `include` that is none of `INCLUDES`; empty is `Metadata`.
    """
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata or {},
        "columnDefinitions": column_definitions(kind),
        "rows": rows_of(kind, objects, now, include),
    }


def column_definitions(kind: Kind) -> Json:
    """Return what a table says of its columns; a watch sends them with its first event only, later ones have `null`."""
    return [_definition(column) for column in columns_of(kind)]


def rows_of(kind: Kind, objects: Iterable[Object], now: Milliseconds, include: str = METADATA) -> Json:
    """Return a row for each object: its cells, and what `include` asks for of it."""
    include = include or METADATA
    if include not in INCLUDES:
        raise BadRequest(f"includeObject: {include!r} is unknown; write one of {', '.join(INCLUDES)}")
    columns = columns_of(kind)
    return [{"cells": _cells(kind, columns, obj, now), **_included(obj, include)} for obj in objects]


def partial_metadata(obj: Object) -> Json:
    """Return an object without all but its metadata (meta.k8s.io/v1 PartialObjectMetadata)."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }


def _definition(column: Column) -> Mapping[str, Json]:
    return {
        "name": column.header,
        "type": column.type,
        "format": column.format,
        "description": "",
        "priority": int(column.wide),
    }


def _cells(kind: Kind, columns: Iterable[Column], obj: Object, now: Milliseconds) -> list[Json]:
    shown = core_event_of(obj) if kind is EVENT_OF_EVENTS else obj
    return [column.cell(shown, now) for column in columns]


def _included(obj: Object, include: str) -> Mapping[str, Json]:
    if include == NONE:
        return {}
    return {"object": obj if include == OBJECT else partial_metadata(obj)}
