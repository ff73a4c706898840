"""`node add` and `node remove` as they are typed, on a machine where nobody follows the list of nodes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from services.cli.up import names_to_play
from services.clusters import ClusterRecord, write_record
from services.node_lists import read_names, write_names
from services.processes import process_id_of
from tests.services.cli.conftest import CommandLine


def a_node(name: str, ready: str = "True") -> bytes:
    conditions = [{"type": "Ready", "status": ready}]
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"conditions": conditions},
    }
    return json.dumps(node).encode()


@pytest.fixture
def machine(chronoset: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data directory on which `up` seems to run, with the nodes n1 and n2."""
    me = process_id_of(os.getpid())
    assert me is not None
    monkeypatch.setenv("CHRONOSET_DATA_DIR", str(tmp_path))
    write_record(tmp_path, ClusterRecord("chronoset", me, "", "", "", "always", ("n1", "n2")))
    write_names(tmp_path, ("n1", "n2"))
    return tmp_path


def test_nodes_are_added_only_where_up_runs(
    chronoset: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHRONOSET_DATA_DIR", str(tmp_path))
    for verb in ("add", "remove"):
        result = chronoset("node", verb, "n1")
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert "no `up` runs in" in result.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("add", "../n9"), 2, "'../n9' is no name for a node"),
        (("add", "n1"), 2, "node 'n1' is on this machine already"),
        (("remove", "n9"), 2, "node 'n9' is not on this machine, whose nodes are: n1, n2"),
        (("remove", "n/9"), 2, "'n/9' is no name for a node"),
    ],
)
def test_a_node_that_cannot_come_or_go_changes_nothing(
    chronoset: CommandLine, machine: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = chronoset("node", *arguments)
    assert said in result.err
    assert (result.code, result.err.count("\n")) == (code, 1)
    assert read_names(machine) == ("n1", "n2")


def test_a_name_that_a_node_of_another_machine_has_is_refused(chronoset: CommandLine, machine: Path) -> None:
    chronoset("apply", "-f", "-", stdin=a_node("far"))
    result = chronoset("node", "add", "far")
    assert (result.code, result.out) == (2, "")
    assert "node 'far' is in the cluster already, on another machine" in result.err
    assert read_names(machine) == ("n1", "n2")


def test_a_node_that_does_not_register_is_wanted_all_the_same(chronoset: CommandLine, machine: Path) -> None:
    result = chronoset("node", "add", "n3", "--timeout", "0.2s")
    assert result.code == 1
    assert "waited 0.2 s for node 'n3' to be registered" in result.err
    assert read_names(machine) == ("n1", "n2", "n3")


def test_a_removed_nodes_object_is_deleted_by_the_person_who_removes_it(
    chronoset: CommandLine, machine: Path
) -> None:
    chronoset("apply", "-f", "-", stdin=a_node("n2"))
    result = chronoset("node", "remove", "n2", "--actor", "alice", "-o", "json")
    (event,) = result.json["events"]
    assert (event["type"], event["key"]) == ("NodeDeleted", "core/nodes/n2")
    assert event["claim"] == "user:alice"
    assert read_names(machine) == ("n1",)
    assert "node n2 has left" in result.err


def test_up_plays_as_many_nodes_as_it_is_told_or_those_of_last_time(tmp_path: Path) -> None:
    assert names_to_play(None, tmp_path) == ("n1", "n2", "n3")
    write_names(tmp_path, ("n1", "gpu"))
    assert names_to_play(None, tmp_path) == ("n1", "gpu")
    assert names_to_play(1, tmp_path) == ("n1",)
