"""Cordon, uncordon and taint, as changes of a node."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import BadRequest, Invalid, NotFound
from schemas.objects import Object
from schemas.patching import strictly_equal
from schemas.taints import UNSCHEDULABLE
from schemas.times import rfc3339
from services.commands.commands import Command, Cordon, Taint
from services.commands.deciding import decide
from services.controllers.nodes.conditions import with_taints
from tests.builders import a_node, a_pod, a_state
from tests.services.commands.worlds import NOON, Known

N1 = "core/nodes/n1"
TEAM = {"key": "team", "value": "a", "effect": "NoSchedule"}


def decided(command: Command, *objects: Object) -> Any:
    (change,) = decide(command, Known(a_state(*objects)), NOON).changes
    return change.new


def pairs(**fields: str) -> tuple[tuple[str, str], ...]:
    return tuple(fields.items())


def test_a_cordoned_node_has_its_taint_at_once_and_the_controller_adds_nothing() -> None:
    node = decided(Cordon(N1, True), a_node(taints=[TEAM]))

    assert node["spec"] == {
        "unschedulable": True,
        "taints": [TEAM, {"key": UNSCHEDULABLE, "effect": "NoSchedule"}],
    }
    assert with_taints(node, NOON) is node


def test_uncordoning_takes_back_what_cordoning_did_and_doing_either_twice_changes_nothing() -> None:
    node = a_node(taints=[TEAM])
    cordoned = decided(Cordon(N1, True), node)

    assert strictly_equal(decided(Cordon(N1, True), cordoned), cordoned)
    assert strictly_equal(decided(Cordon(N1, False), cordoned), node)
    assert strictly_equal(decided(Cordon(N1, False), node), node)


def test_a_taint_that_ends_pods_says_since_when() -> None:
    added = pairs(key="team", effect="NoExecute")

    node = decided(Taint(N1, (added,)), a_node())

    assert node["spec"]["taints"] == [{"key": "team", "effect": "NoExecute", "timeAdded": rfc3339(NOON)}]
    assert decided(Taint(N1, (added,)), node)["spec"] == node["spec"]


def test_a_taint_of_the_same_key_and_effect_is_replaced() -> None:
    node = decided(Taint(N1, (pairs(key="team", value="b", effect="NoSchedule"),)), a_node(taints=[TEAM]))

    assert node["spec"]["taints"] == [{**TEAM, "value": "b"}]


@pytest.mark.parametrize(("effect", "left"), [("", 0), ("NoSchedule", 1)])
def test_taints_are_removed_by_key_or_by_key_and_effect(effect: str, left: int) -> None:
    other = {"key": "team", "effect": "PreferNoSchedule"}

    node = decided(Taint(N1, removed=(("team", effect),)), a_node(taints=[TEAM, other]))

    assert len(node["spec"].get("taints", [])) == left


def test_what_cannot_be_done_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="taint 'team' not found on nodes \"n1\""):
        decided(Taint(N1, removed=(("team", ""),)), a_node())
    with pytest.raises(NotFound, match='nodes "n1" not found'):
        decided(Cordon(N1, True))
    with pytest.raises(BadRequest, match='pods "web-0" is no node'):
        decided(Cordon("core/pods/default/web-0", True), a_pod())
    with pytest.raises(Invalid, match=r"spec.taints\[0\].key"):
        decided(Taint(N1, (pairs(key="no key", effect="NoSchedule"),)), a_node())
