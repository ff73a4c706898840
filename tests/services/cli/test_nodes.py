"""`cordon`, `uncordon` and `taint` as they are typed."""

from __future__ import annotations

import json

import pytest

from schemas.positions import stream_id_of
from tests.services.cli.conftest import CommandLine, Result

NODE = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}).encode()


def shown(chronoset: CommandLine, *arguments: str) -> Result:
    return chronoset("get", *arguments, "--at-least", stream_id_of(chronoset.end()))


def test_a_cordoned_node_says_so_until_it_is_uncordoned(chronoset: CommandLine) -> None:
    chronoset("apply", "-f", "-", stdin=NODE)

    assert chronoset("cordon", "n1").code == 0
    assert "SchedulingDisabled" in shown(chronoset, "nodes").out

    assert chronoset("uncordon", "n1").code == 0
    assert "SchedulingDisabled" not in shown(chronoset, "nodes").out


def test_a_node_is_tainted_and_freed(chronoset: CommandLine) -> None:
    """A new one is tainted as not ready, until somebody has heard of it."""
    chronoset("apply", "-f", "-", stdin=NODE)
    new = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}

    assert chronoset("taint", "n1", "team=blue:NoSchedule").code == 0
    assert shown(chronoset, "node", "n1", "-o", "json").json["spec"]["taints"] == [
        new,
        {"key": "team", "value": "blue", "effect": "NoSchedule"},
    ]

    assert chronoset("taint", "n1", "team-", "node.kubernetes.io/not-ready-").code == 0
    assert "taints" not in shown(chronoset, "node", "n1", "-o", "json").json["spec"]


@pytest.mark.parametrize("text", ["team", "team=blue", "=blue:NoSchedule", "team:Never", "-", "team:Never-"])
def test_a_taint_that_is_none_is_refused_with_what_was_written(chronoset: CommandLine, text: str) -> None:
    chronoset("apply", "-f", "-", stdin=NODE)

    result = chronoset("taint", "n1", "--", text)

    assert result.code == 2
    assert repr(text) in result.err
