"""The tables of `chronoset get`: Kubernetes' columns (schemas.columns), and what a set waits for beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas import kinds
from schemas.columns import (
    AGE,
    CONTAINERS,
    IMAGES,
    POD_ADDRESS,
    POD_NODE,
    READY_OF_SET,
    Column,
    columns_of,
    count,
    spoken_name,
)
from schemas.kinds import Kind
from schemas.objects import Key, Object, key_of_object, name_of, namespace_of
from schemas.storage import trouble_of
from schemas.times import Milliseconds
from services.cli.tables import table


@dataclass(frozen=True, slots=True)
class Setting:
    """What a cell depends on besides its object. `waiting` maps the key of a workload to what it waits for."""

    now: Milliseconds
    waiting: Mapping[Key, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a listing is to look: with wide columns, the namespace, the kind before each name."""

    wide: bool = False
    namespaces: bool = False
    kinds: bool = False


def table_of(kind: Kind, objects: Iterable[Object], setting: Setting, layout: Layout) -> str:
    """Return the table of objects of one kind, sorted by namespace and name."""
    return table(headers_of(kind, layout), rows_of(kind, objects, setting, layout))


def headers_of(kind: Kind, layout: Layout) -> list[str]:
    """Return what stands above the columns."""
    return [column.header.upper() for column in _columns(kind, layout, {})]


def rows_of(kind: Kind, objects: Iterable[Object], setting: Setting, layout: Layout) -> list[list[str]]:
    """Return the cells of objects of one kind, sorted by namespace and name."""
    columns = _columns(kind, layout, setting.waiting)
    return [[_shown(column.cell(obj, setting.now)) for column in columns] for obj in in_order(objects)]


def in_order(objects: Iterable[Object]) -> list[Object]:
    """Return objects by namespace and name; numbers at the end of names count as numbers."""
    return sorted(objects, key=lambda obj: (namespace_of(obj), _natural(name_of(obj))))


def _shown(cell: str | int) -> str:
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _columns(kind: Kind, layout: Layout, waiting: Mapping[Key, str]) -> list[Column]:
    own = _OWN.get(kind.resource) or [each for each in columns_of(kind) if each.format != "name"]
    more = [_waiting_for(waiting)] if kind in (kinds.STATEFUL_SET, kinds.DAEMON_SET) else []
    if kind is kinds.CLAIM:
        more = [Column("Waiting for", lambda claim, _: trouble_of(claim))]
    return [*_leading(kind, layout), *(each for each in own if layout.wide or not each.wide), *more]


def _leading(kind: Kind, layout: Layout) -> list[Column]:
    name = Column("Name", lambda obj, _: spoken_name(kind, name_of(obj)) if layout.kinds else name_of(obj))
    if layout.namespaces and kind.namespaced:
        return [Column("Namespace", lambda obj, _: namespace_of(obj)), name]
    return [name]


def _natural(name: str) -> tuple[str, int, str]:
    """Return what sorts web-2 before web-10."""
    stem, dash, end = name.rpartition("-")
    return (stem, int(end), "") if dash and end.isdecimal() and len(end) < 10 else (name, -1, "")


def _set_revision(obj: Object, _: Milliseconds) -> str:
    """Return the update revision, and the current one before it where a rollout is under way."""
    status = obj.get("status") or {}
    update, current = status.get("updateRevision", ""), status.get("currentRevision", "")
    return f"{current} -> {update}" if current and current != update else update


def _waiting_for(waiting: Mapping[Key, str]) -> Column:
    return Column("Waiting for", lambda obj, _: waiting.get(key_of_object(obj), ""))


def _taints(node: Object, _: Milliseconds) -> str:
    taints = node["spec"].get("taints") or ()
    return ",".join(f"{each['key']}:{each['effect']}" for each in taints) or "<none>"


_OWN: Mapping[str, Sequence[Column]] = {
    kinds.STATEFUL_SET.resource: (
        READY_OF_SET,
        Column("Updated", count("status", "updatedReplicas")),
        Column("Current", count("status", "currentReplicas")),
        Column("Revision", _set_revision),
        AGE,
        CONTAINERS,
        IMAGES,
    ),
    kinds.POD.resource: (
        *columns_of(kinds.POD)[1:5],
        Column("IP", POD_ADDRESS),
        Column("Node", POD_NODE),
        IMAGES,
    ),
    kinds.NODE.resource: (*columns_of(kinds.NODE)[1:], Column("Taints", _taints, True)),
}
