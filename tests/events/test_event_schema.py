"""docs/event.schema.json says what the data of an event is: all that is written fits it, what is broken does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgpack
import pytest

from events.codec import FIELDS, Entry, decode
from events.commit import Committer, Edges, Intent, Proposal
from events.memory import MemoryLog
from events.secrets import Keyring
from events.state import State
from schemas.changes import Create
from schemas.envelopes import Actor, Origin
from schemas.positions import position_of, stream_id_of
from services.bootstrap import prepare_log, remember_log
from tests.events.test_fold import random_history
from tests.events.worlds import World, a_statefulset
from tests.goldens.test_golden_logs import DIGESTS, entries_of

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "event.schema.json").read_text())
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA)

Data = dict[str, Any]


def problems_of(entries: list[Entry]) -> list[str]:
    return [
        f"{stream_id_of(entry.position)} {entry.type}: {error.message} at {error.instance_path}"
        for entry in entries
        for error in VALIDATOR.iter_errors(msgpack.unpackb(entry.data))
    ]


def a_derived_event() -> Data:
    """The revision of a new StatefulSet: the second event of its batch, with every field but prev and guard."""
    world = World()
    world.commit(Create(a_statefulset()))
    data: Data = msgpack.unpackb(world.entries()[-1].data)
    assert VALIDATOR.is_valid(data)
    return data


def without(name: str) -> Callable[[Data], Data]:
    return lambda data: {key: value for key, value in data.items() if key != name}


def having(**fields: Any) -> Callable[[Data], Data]:
    return lambda data: data | fields


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_every_event_of_a_golden_log_fits(version: int) -> None:
    assert problems_of(entries_of(version)) == []


@pytest.mark.parametrize("seed", range(5))
def test_every_event_of_a_random_history_fits(seed: int, tmp_path: Path) -> None:
    world = World(edges=Edges(seal=Keyring(tmp_path).seal))
    random_history(world, 120, seed)
    assert problems_of(world.entries()) == []


def test_the_events_about_the_log_itself_fit(tmp_path: Path) -> None:
    log = MemoryLog()
    prepare_log(log, tmp_path)
    remember_log(tmp_path, log.log_id(), position_of("9999999999999-0"))
    prepare_log(log, tmp_path, accepts_loss=True)
    entries = log.read(0, 1000)
    assert {entry.type for entry in entries} == {
        "LogCreated",
        "NamespaceCreated",
        "PriorityClassCreated",
        "StorageClassCreated",
        "EpochStarted",
    }
    assert problems_of(entries) == []


def test_where_a_write_came_from_fits_and_is_left_out_where_it_came_over_no_wire() -> None:
    log = MemoryLog()
    log.create()
    origin = Origin(("admins",), "10.0.0.1", "kubectl/v1.33")
    intent = Intent(Actor("user:alice", "token"), "c1", origin=origin)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    Committer(log, State(), lambda _: None).commit(lambda: Proposal([Create(namespace)]), intent)
    genesis, created = log.read(0, 10)
    assert problems_of([genesis, created]) == []
    assert decode(created).origin == origin
    assert "from" not in msgpack.unpackb(genesis.data)


def test_the_schema_knows_the_fields_that_the_codec_writes() -> None:
    assert set(SCHEMA["properties"]) == set(FIELDS)


BROKEN: dict[str, Callable[[Data], Data]] = {
    "no version": without("v"),
    "a version to come": having(v=2),
    "no command": without("cmd"),
    "no body to create": without("body"),
    "a body that is no object of a kind": having(body={"metadata": {"name": "a"}}),
    "a body with a resourceVersion": lambda data: (
        data | {"body": {**data["body"], "metadata": {**data["body"]["metadata"], "resourceVersion": "1"}}}
    ),
    "created though it was there before": having(prev=1),
    "deleted from nowhere": lambda data: without("body")(data | {"op": "delete"}),
    "deleted with a body": having(op="delete", prev=1),
    "an epoch that does not say what is lost": having(op="epoch", body={"end": "1-0"}),
    "an update of nothing": having(op="update", body={}, prev=1),
    "an op that does not exist": having(op="upsert"),
    "an actor without how that is known": having(actor=["user:alice"]),
    "an actor known in a way that does not exist": having(actor=["user:alice", "password"]),
    "caused by nothing": having(cause=0),
    "derived from another batch": having(cause=1882618066839273473),
    "a place in a batch of unknown size": without("n"),
    "a batch too large": having(n=1001),
    "a position beyond 63 bits": having(op="replace", prev=2**63),
    "a wall clock with a fraction": having(at=0.5),
    "a field of nobody's": having(extra=1),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_event_does_not_fit(broken: Callable[[Data], Data]) -> None:
    assert not VALIDATOR.is_valid(broken(a_derived_event()))
