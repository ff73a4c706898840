"""Verification of a log of which a policy has dropped something: all that is left is checked, from state to state."""

from __future__ import annotations

from pathlib import Path

import pytest

from events import sealing
from events.archived_log import ArchivedLog
from events.codec import Entry
from events.memory import MemoryLog
from events.replay import replay
from events.sealing import Limits
from events.snapshots import states_differ
from schemas.errors import Damaged
from schemas.objects import resource_of
from schemas.positions import Position
from schemas.retention import DAY, Retention
from services.cli.verifying import Report, _check_log
from services.history.verification import Verifier
from tests.events.archives import LATER, WEB, a_long_history, a_sealer, archived

PODS, SETS, REVISIONS = "core/pods", "apps/statefulsets", "apps/controllerrevisions"


@pytest.fixture(autouse=True)
def _frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 20)
    monkeypatch.setattr(sealing, "SNAPSHOT_SHARE", 100)


def a_thinned_log(folder: Path, *resources: str) -> ArchivedLog:
    log = MemoryLog()
    a_long_history(log)
    sealer = a_sealer(log, folder, Limits(20, 0, 0))
    sealer.look(LATER)
    assert sealer.thin(Retention(1, dict.fromkeys(resources, DAY)), LATER) > 0
    through = archived(log, folder)
    through.archive.refresh()
    return through


def verified(log: ArchivedLog) -> Verifier:
    verifier = Verifier()
    _check_log(Report(), verifier, log, lambda _position: None)
    return verifier


@pytest.mark.parametrize(
    "resources",
    [(PODS,), (REVISIONS,), (SETS,), (SETS, REVISIONS), (PODS, SETS, REVISIONS), ("core/namespaces",)],
    ids=["pods", "revisions", "sets", "workloads", "nearly all", "namespaces"],
)
def test_what_is_left_is_whole_whatever_was_dropped(tmp_path: Path, resources: tuple[str, ...]) -> None:
    log = a_thinned_log(tmp_path, *resources)
    verifier = verified(log)
    state = log.snapshot()
    assert state is not None and verifier.state.position == log.last()
    assert states_differ(verifier.state, replay(log, log.last())) == ""
    assert verifier.derived > 0 or REVISIONS in resources or SETS in resources


class Damaging(ArchivedLog):
    """The same log, of which one entry is gone or another."""

    victim: Position = 0
    replacement: Entry | None = None

    def read(self, after: Position, limit: int, until: Position | None = None) -> list[Entry]:
        found = super().read(after, limit, until)
        put = [self.replacement] if self.replacement else []
        return [new for each in found for new in (put if each.position == self.victim else [each])]


@pytest.mark.parametrize("how", ["gone", "of another time"])
def test_damage_among_what_is_left_is_found(tmp_path: Path, how: str) -> None:
    log = a_thinned_log(tmp_path, PODS)
    until = log.archive.manifest.thinned[0].until
    entries = [each for each in log.read(0, 10_000, until) if each.key == WEB]
    victim, other = entries[len(entries) // 2], entries[1]
    damaged = Damaging(log._log, log.archive)
    damaged.victim = victim.position
    if how != "gone":
        damaged.replacement = victim._replace(data=other.data)
    with pytest.raises(Damaged) as caught:
        verified(damaged)
    assert caught.value.position >= victim.position
    assert resource_of(victim.key) == SETS
