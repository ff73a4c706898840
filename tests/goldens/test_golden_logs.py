"""A log of every released format folds to the same state, for ever."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from events.codec import Entry, decode, encode
from events.fold import apply_entries
from events.state import State
from schemas.patching import strictly_equal
from tests.events.oracle import naive_fold

FOLDER = Path(__file__).parent
DIGESTS = {1: "1a58a67dccee6bee0a4939b992408bfd9e856c8f8a0b732d8b49934238ba88c0"}
"""sha256 of each golden log. A line here never changes: a new format adds one."""


def entries_of(version: int) -> list[Entry]:
    lines = (FOLDER / f"log-v{version}.jsonl").read_text().splitlines()
    return [Entry(**{**raw, "data": base64.b64decode(raw["data"])}) for raw in map(json.loads, lines)]


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_the_golden_log_was_not_rewritten(version: int) -> None:
    content = (FOLDER / f"log-v{version}.jsonl").read_bytes()
    assert hashlib.sha256(content).hexdigest() == DIGESTS[version]


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_the_golden_log_folds_to_its_golden_state(version: int) -> None:
    golden = json.loads((FOLDER / f"state-v{version}.json").read_text())
    state = State()
    apply_entries(state, entries_of(version))
    assert strictly_equal(state.objects, golden["objects"])
    assert (state.position, state.log_id, state.guards) == (
        golden["position"],
        golden["log"],
        golden["guards"],
    )
    assert sorted(state.ever_ready) == golden["everReady"]
    assert [[*which, f.count, f.last] for which, f in sorted(state.failures.items())] == golden["failures"]
    assert strictly_equal(naive_fold(entries_of(version)), golden["objects"])


def test_the_present_format_is_written_as_it_is_read() -> None:
    for entry in entries_of(max(DIGESTS)):
        event = decode(entry)
        relative = event._replace(cause=event.cause - event.position if event.derivation else event.cause)
        assert encode(relative) == entry.data


def test_every_op_is_in_the_golden_log() -> None:
    ops = {decode(entry).op for entry in entries_of(1)}
    assert ops == {"genesis", "create", "update", "replace", "delete"}
