"""What can be wrong about a question about the past, or with what it is read from: each gets one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.sealing import Limits, Sealer
from events.stores import Folder
from tests.services.cli.conftest import CommandLine
from tests.services.cli.manifests import DB

LOST = 70


def a_sealed_cluster(chronoset: CommandLine, folder: Path) -> None:
    """A set that was scaled a few times, all of which is in the archive, and only the end in the stream."""
    chronoset("apply", "-f", "-", stdin=DB)
    for replicas in range(1, 9):
        chronoset("scale", "sts", "db", "--replicas", str(replicas))
    sealer = Sealer(chronoset.log, Folder(folder), Limits(8, -60_000, 0))
    sealer.open()
    sealer.look(1 << 45)


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("2001-01-01T00:00:00Z", "2001-01-01T00:00:00Z is before the log began, at "),
        ("1000-0", "1000-0 is before the log: it began at "),
        ("2999-01-01T00:00:00Z", "'2999-01-01T00:00:00Z' is in the future"),
        ("9999999999999-0", "9999999999999-0 is beyond the log, which ends at "),
        ("2026-11-23T02:17:59", "has no time zone"),
        ("2026-10-25 02:30 Europe/Berlin", "comes twice that day"),
        ("half past nine", "'half past nine' is no time"),
    ],
)
def test_a_moment_that_is_none_is_refused_in_a_line(chronoset: CommandLine, at: str, says: str) -> None:
    refused = chronoset("replay", "--at", at, "ns")
    assert (refused.code, refused.out) == (2, "") and says in refused.err and refused.err.count("\n") == 1


@pytest.mark.parametrize("how", ["missing", "damaged", "cut short"])
def test_a_segment_that_cannot_be_read_is_named_and_nothing_is_guessed(
    chronoset: CommandLine, tmp_path: Path, how: str
) -> None:
    folder = tmp_path / "data" / "archive"
    a_sealed_cluster(chronoset, folder)
    whole = chronoset("replay", "history", "sts/db").out
    victim = sorted(folder.glob("segments/*"))[1]
    content = victim.read_bytes()
    if how == "missing":
        victim.unlink()
    else:
        victim.write_bytes(
            content[:60] + bytes([content[60] ^ 1]) + content[61:] if how == "damaged" else content[:-9]
        )
    questions = (("--at", "now", "sts"), ("history", "sts/db"), ("log",), ("why", "sts/db"), ("rollouts",))
    for question in questions:
        answer = chronoset("replay", *question)
        assert answer.code == LOST and victim.name in answer.err and answer.err.count("\n") == 1, question
    assert chronoset("verify").code == 65
    assert chronoset("scale", "sts", "db", "--replicas", "3").code == 0, "the present does not need it"
    victim.write_bytes(content)
    assert chronoset("replay", "history", "sts/db").out.startswith(whole)


def test_an_archive_of_a_newer_version_asks_for_an_upgrade(
    chronoset: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("events.archive.FORMAT", 3)
        patch.setattr("events.archive.THINNED_FORMAT", 3)
        a_sealed_cluster(chronoset, tmp_path / "data" / "archive")
    answer = chronoset("replay", "--at", "now", "sts")
    assert answer.code == LOST and answer.err.count("\n") == 1
    assert "has format 3, this program reads up to 2: upgrade the readers first" in answer.err
