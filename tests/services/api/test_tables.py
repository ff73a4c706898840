"""Tables as kubectl reads them."""

from __future__ import annotations

import orjson
import pytest

from schemas.errors import BadRequest
from schemas.event_shapes import core_event_of, events_event_of
from schemas.kinds import CONFIG_MAP, EVENT, EVENT_OF_EVENTS, KINDS, POD, SERVED, Kind
from schemas.objects import Object
from schemas.times import parse_rfc3339
from services.api.tables import column_definitions, rows_of, table_of
from tests.builders import a_pod, an_object

NOW = parse_rfc3339("2026-01-01T00:10:00Z")
CONFIG = an_object("ConfigMap", "a", "default", data={"k": "v"})


def test_a_table_has_definitions_and_a_row_for_each_object() -> None:
    table = table_of(CONFIG_MAP, [CONFIG], NOW, metadata={"resourceVersion": "7"})
    assert table == {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "7"},
        "columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
            {"name": "Data", "type": "string", "format": "", "description": "", "priority": 0},
            {"name": "Age", "type": "string", "format": "", "description": "", "priority": 0},
        ],
        "rows": [
            {
                "cells": ["a", 1, "10m"],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": CONFIG["metadata"],
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("include", "carried"),
    [("Object", {"object": CONFIG}), ("None", {}), ("", rows_of(CONFIG_MAP, [CONFIG], NOW)[0])],
)
def test_rows_carry_of_their_object_what_was_asked_for(include: str, carried: Object) -> None:
    (row,) = rows_of(CONFIG_MAP, [CONFIG], NOW, include)
    assert row == {"cells": ["a", 1, "10m"], **carried}


def test_another_wish_is_refused() -> None:
    with pytest.raises(
        BadRequest, match="includeObject: 'All' is unknown; write one of Metadata, Object, None"
    ):
        rows_of(CONFIG_MAP, [], NOW, "All")


def test_rows_stand_in_the_order_given() -> None:
    rows = rows_of(POD, [a_pod("b"), a_pod("a")], NOW, "None")
    assert [row["cells"][0] for row in rows] == ["b", "a"]


def test_wide_columns_have_a_priority() -> None:
    priorities = {each["name"]: each["priority"] for each in column_definitions(POD)}
    assert priorities == {
        "Name": 0, "Ready": 0, "Status": 0, "Restarts": 0, "Age": 0,
        "IP": 1, "Node": 1, "Nominated Node": 1, "Readiness Gates": 1,
    }  # fmt: skip


@pytest.mark.parametrize("kind", SERVED, ids=lambda kind: f"{kind.kind}-{kind.version}-{kind.group}")
def test_every_kind_has_a_table_even_of_nothing(kind: Kind) -> None:
    table = table_of(kind, [], NOW)
    assert table["columnDefinitions"] and table["rows"] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_table_of_the_barest_object_can_be_made(kind: Kind) -> None:
    template = {"spec": {"containers": []}}
    bare = an_object(kind.kind, "a", "", kind.api_version, spec={"template": template})
    row = rows_of(kind, [bare], NOW, "None")[0]
    assert len(row["cells"]) == len(column_definitions(kind)) and orjson.dumps(row)


def test_events_have_one_table_under_both_names() -> None:
    event = an_object(
        "Event",
        "db-0.1",
        "default",
        involvedObject={"kind": "Pod", "name": "db-0"},
        message="Started",
        lastTimestamp="2026-01-01T00:09:00Z",
        count=3,
        source={"component": "agent"},
        reportingComponent="agent",
        reason="Started",
        type="Normal",
    )
    other = events_event_of(event)
    assert (other["apiVersion"], other["note"], other["regarding"]["name"]) == (
        "events.k8s.io/v1", "Started", "db-0",
    )  # fmt: skip
    assert core_event_of(other) == {**event, "apiVersion": "v1"}
    (row,), (same,) = rows_of(EVENT_OF_EVENTS, [other], NOW, "None"), rows_of(EVENT, [event], NOW, "None")
    assert row == same
    assert row["cells"][:5] == ["60s", "Normal", "Started", "pod/db-0", ""]
