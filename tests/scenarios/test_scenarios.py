"""Every scenario under tests/scenarios, one test a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.errors import ChronosetError
from schemas.objects import Object
from schemas.patching import apply_merge_patch
from services.commands.commands import Apply
from tests.scenarios.player import (
    STEPS,
    Player,
    claims_told,
    deeds,
    key_named,
    owners_told,
    pods_told,
    revisions_told,
    status_told,
)

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("statefulset/*.yaml"))
PARTS = {"says", "upstream", "ours", "watch", "given", "steps"}
EXPECTATIONS = {
    "does", "pods", "claims", "owners", "revisions", "status", "waiting", "idle", "gone", "rejected",
}  # fmt: skip


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def manifest_of(given: Object) -> Object:
    """A manifest as it is, or one of tests/scenarios/manifests with a merge patch."""
    if "file" not in given:
        return given
    patched = apply_merge_patch(loaded(HERE / "manifests" / given["file"]), given.get("patch", {}))
    assert isinstance(patched, dict)
    return patched


def play(player: Player, step: Object) -> str:
    """Play one step; return what it was refused with, if it was."""
    ((name, value),) = ((name, value) for name, value in step.items() if name != "expect")
    try:
        if name == "apply":
            for given in value if isinstance(value, list) else [value]:
                player.command(Apply(manifest_of(given)))
        else:
            STEPS[name](player, value)
    except ChronosetError as error:
        return str(error)
    player.settle()
    return ""


def assert_deeds(expected: list[Any], actual: list[str]) -> None:
    """Compare in order; a list inside the list may come in any order."""
    left = list(actual)
    for each in expected:
        group = each if isinstance(each, list) else [each]
        assert sorted(left[: len(group)]) == sorted(group), f"expected {expected}, seen {actual}"
        del left[: len(group)]
    assert left == [], f"expected {expected}, seen {actual}"


def check(player: Player, expect: Object, done: list[str], refused: str) -> None:
    assert set(expect) <= EXPECTATIONS
    if "rejected" in expect:
        assert expect["rejected"] in refused
    else:
        assert not refused
    assert_deeds(expect.get("does", []), done)
    told: dict[str, Any] = {
        "pods": pods_told(player),
        "claims": claims_told(player),
        "revisions": revisions_told(player),
        "owners": owners_told(player, expect.get("owners", ())),
        "status": status_told(player, expect.get("status", ())),
    }
    for part, actual in told.items():
        assert part not in expect or actual == expect[part], f"{part}: expected {expect[part]}, seen {actual}"
    sentence = player.waiting.get(key_named("sts/db"), "")
    assert expect.get("waiting", "") in sentence
    if expect.get("idle"):
        assert sentence == ""
    for reference in expect.get("gone", ()):
        assert player.get(key_named(reference)) is None, f"{reference} is still there"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    scenario = loaded(path)
    assert set(scenario) <= PARTS and scenario["says"] and ("upstream" in scenario or "ours" in scenario)
    player = Player()
    for given in scenario["given"]:
        player.command(Apply(manifest_of(given)))
    player.settle()
    watched = scenario.get("watch", ["pod"])
    for number, step in enumerate(scenario["steps"], start=1):
        before = len(player.seen) if number > 1 else 0
        refused = play(player, step)
        done = list(deeds(player.seen[before:], watched))
        try:
            if "expect" in step:
                check(player, step["expect"], done, refused)
            else:
                assert not refused
        except AssertionError as error:
            raise AssertionError(f"{path.stem}, step {number} {step}: {error}") from error


def test_there_are_enough_scenarios_and_each_expects_something() -> None:
    assert len(FILES) >= 60
    for path in FILES:
        assert any(step.get("expect") for step in loaded(path)["steps"]), path.stem
