"""The archive, backups and restores from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.program import main
from tests.services.cli.conftest import CommandLine
from tests.services.cli.manifests import DB


def a_busy_cluster(chronoset: CommandLine) -> None:
    assert chronoset("apply", "-f", "-", stdin=DB).code == 0
    for replicas in range(4, 8):
        assert chronoset("scale", "sts", "db", "--replicas", str(replicas)).code == 0


def test_status_tells_what_is_sealed(chronoset: CommandLine, tmp_path: Path) -> None:
    a_busy_cluster(chronoset)
    before = chronoset("archive", "status", "-o", "json").json
    events = len(chronoset.log.read(0, 1000))
    assert (before["segments"], before["unsealed"], before["streamEvents"]) == (0, events, events)
    assert "nothing yet" in chronoset("archive", "status").out
    sealed = chronoset("archive", "seal")
    assert sealed.code == 0 and sealed.out.startswith(f"sealed {events:,} events, up to ")
    after = chronoset("archive", "status", "-o", "json").json
    assert (after["segments"], after["events"], after["unsealed"]) == (1, events, 0)
    assert after["place"] == str(tmp_path / "data" / "archive") and after["end"] == after["last"]
    assert f"{events:,} events in 1 segments" in chronoset("archive", "status").out


def test_what_is_sealed_is_replayed_like_all_else(chronoset: CommandLine) -> None:
    a_busy_cluster(chronoset)
    chronoset("archive", "seal")
    log = chronoset.log
    entries = log.read(0, 1000)
    epoch = log.take_over()
    assert log.trim(epoch, entries[-2].position)
    assert len(log.read(0, 1000)) == 1
    at = f"{entries[8].position >> 20}-{entries[8].position & 0xFFFFF}"
    assert "namespace/default" in chronoset("replay", "--at", at, "ns", "-o", "name").out
    shown = chronoset("log", "--tail", "1000").out.splitlines()
    assert len(shown) == len(entries)
    chronoset("scale", "sts", "db", "--replicas", "2")
    assert len(chronoset("log", "--tail", "1000").out.splitlines()) == len(entries) + 1
    assert "replicas" in chronoset("replay", "history", "sts", "db").out


def test_check_names_what_is_damaged(chronoset: CommandLine, tmp_path: Path) -> None:
    a_busy_cluster(chronoset)
    chronoset("archive", "seal")
    assert chronoset("archive", "check").out == "1 segments and 0 snapshots are as they were written\n"
    (victim,) = (tmp_path / "data" / "archive" / "segments").iterdir()
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    found = chronoset("archive", "check")
    assert found.code == 65 and victim.name in found.err and found.out == ""
    assert "a file of the archive is missing or damaged, first: " in found.err
    verified = chronoset("verify", "-o", "json")
    first = victim.name.rpartition("-")[0]
    problems = [(each["part"], each["position"]) for each in verified.json["findings"]]
    assert ("archive", first) in problems and len(problems) == len({*problems}), verified.out
    assert f"first at {first}, in the archive: segment segments/{victim.name}" in verified.err
    victim.unlink()
    assert f"{victim.name} is missing" in chronoset("archive", "check").err


def test_the_index_is_made_anew(chronoset: CommandLine, tmp_path: Path) -> None:
    a_busy_cluster(chronoset)
    chronoset("archive", "seal")
    path = tmp_path / "data" / "archive-index.sqlite"
    path.write_bytes(b"broken")
    done = chronoset("archive", "index")
    assert done.code == 0 and done.out == f"indexed 1 segments in {path}\n"
    assert path.read_bytes().startswith(b"SQLite format 3")


def test_a_backup_is_restored_under_another_name(
    chronoset: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_busy_cluster(chronoset)
    middle = chronoset.end()
    chronoset("archive", "seal")
    chronoset("scale", "sts", "db", "--replicas", "1", "--actor", "bob")
    done = chronoset("backup", str(tmp_path / "backup"))
    assert done.code == 0 and "the keys of Secrets are not in it" in done.err
    at = f"{middle >> 20}-{middle & 0xFFFFF}"
    again = ("--cluster", "again", "--data-dir", str(tmp_path / "again"))
    restored = chronoset("restore", str(tmp_path / "backup"), "--to", at, *again)
    assert restored.code == 0 and restored.out.startswith("restored ") and at in restored.out
    assert f"run it: chronoset up --data-dir {tmp_path / 'again'}\n" in restored.err
    assert chronoset("restore", str(tmp_path / "backup"), *again).code == 2
    monkeypatch.delenv("CHRONOSET_CLUSTER")
    monkeypatch.setenv("CHRONOSET_DATA_DIR", str(tmp_path / "again"))
    found = chronoset("replay", "--at", "now", "sts", "db", "-o", "json").json
    assert found["spec"]["replicas"] == 7
    assert "EpochStarted" in chronoset("log", "--tail", "1").out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("restore", "nowhere"), "nowhere holds no backup"),
        (("restore", "nope://there"), "nope://there: Protocol not known"),
        (("restore", ""), "DIR|URL: is empty; write a folder"),
        (("restore", "x", "--to", "yesterday"), "--to: 'yesterday' is no time"),
        (("restore", "x", "--cluster", "No_Label"), "--cluster: 'No_Label' is no DNS label"),
    ],
)
def test_what_cannot_be_restored_is_refused_in_a_line(
    arguments: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--data-dir", str(tmp_path / "data")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_backup_to_nowhere_is_refused(
    chronoset: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a_busy_cluster(chronoset)
    refused = chronoset("backup", " ")
    assert (refused.code, refused.err) == (
        2,
        "error: DIR|URL: is empty; write a folder, or a URL as s3://bucket/folder\n",
    )
    assert not (tmp_path / "segments").exists() and not (tmp_path / " ").exists()
