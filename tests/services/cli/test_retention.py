"""Retention policies from the command line: said, carried out, shown, and gone by in every answer about the past."""

from __future__ import annotations

from pathlib import Path

import pytest

from events import sealing
from events.archive import Archive
from events.archive_index import ArchiveIndex
from events.sealing import Limits, Sealer
from events.stores import Folder
from schemas.positions import stream_id_of, time_of
from schemas.retention import DAY, Retention
from services.archives import retention_of
from services.cli.session import open_session
from tests.services.cli.conftest import CommandLine
from tests.services.cli.manifests import DB

ROUNDS = 6
CONFIG = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: '%d'}\n"


class Thinned:
    """A cluster whose ConfigMaps are thinned up to `until`; `between` is a position before that is no kept moment."""

    def __init__(self, chronoset: CommandLine, folder: Path, backup: str = "") -> None:
        self.chronoset, self.folder = chronoset, folder
        self.positions: list[int] = []
        chronoset("apply", "-f", "-", stdin=DB)
        for number in range(ROUNDS):
            chronoset("apply", "-f", "-", stdin=CONFIG % number)
            self.positions.append(chronoset.end())
            chronoset("scale", "sts/db", "--replicas", str(number))
            self.sealer().look(1 << 45)
        chronoset("retention", "set", "configmaps", "--keep", "1d", "--actor", "alice")
        if backup:
            chronoset("backup", backup)
        self.retention = retention_of(open_session(folder.parent).history)
        self.dropped = self.thin(self.retention)

    def sealer(self) -> Sealer:
        limits = Limits(segment_events=20, segment_age=-60_000, stream_events=0)
        index = ArchiveIndex(self.folder.parent / "archive-index.sqlite")
        sealer = Sealer(self.chronoset.log, Folder(self.folder), limits, index)
        sealer.open()
        return sealer

    def thin(self, retention: Retention) -> int:
        """Thin as of a day after the policy was set: what is there is old enough then."""
        return self.sealer().thin(retention, time_of(retention.position) + DAY + 1)

    @property
    def until(self) -> int:
        log = self.chronoset.log
        return Archive(Folder(self.folder), lambda: log.sealed().manifest).refresh().thinned[0].until

    @property
    def between(self) -> str:
        log = self.chronoset.log
        manifest = Archive(Folder(self.folder), lambda: log.sealed().manifest).refresh()
        moments = {each.position for each in manifest.snapshots}
        return stream_id_of(
            next(each for each in self.positions if each not in moments and each < self.until)
        )


@pytest.fixture(autouse=True)
def _frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 3)
    monkeypatch.setattr(sealing, "SNAPSHOT_SHARE", 10_000)


@pytest.fixture
def thinned(chronoset: CommandLine, tmp_path: Path) -> Thinned:
    return Thinned(chronoset, tmp_path / "data" / "archive")


def test_a_policy_is_an_event_with_an_author_and_is_shown(chronoset: CommandLine) -> None:
    assert chronoset("retention", "show").out == "everything is kept for ever\n"
    done = chronoset("retention", "set", "pods,leases", "--keep", "90d", "--actor", "alice")
    assert done.code == 0 and "core/configmaps/kube-system/chronoset-retention" in done.out
    chronoset("retention", "set", "po", "--keep", "12w")
    shown = chronoset("retention", "show")
    assert [line.split() for line in shown.out.splitlines()[1:]] == [
        ["leases.coordination.k8s.io", "90d", "not", "yet"],
        ["pods", "12w", "not", "yet"],
    ]
    told = chronoset("replay", "history", "cm/chronoset-retention", "-n", "kube-system").out
    assert "alice" in told and "data.pods: 90d → 12w" in told
    chronoset("retention", "unset", "pods")
    (row,) = chronoset("retention", "show", "-o", "json").json["policies"]
    assert (row["kind"], row["keep"], row["problem"]) == ("leases.coordination.k8s.io", "90d", False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("set", "pods"), "Missing option '--keep'"),
        (("set", "pods", "--keep", "soon"), "--keep: 'soon' is no period; write hours, days, weeks or years"),
        (("set", "pods", "--keep", "23h"), "--keep: '23h' is no period"),
        (("set", "pods", "--keep", "-1d"), "--keep: '-1d' is no period"),
        (("set", "podz", "--keep", "1d"), "KIND: 'podz' is unknown"),
        (("set", "pod/web-0", "--keep", "1d"), "KIND: 'pod/web-0' names an object"),
        (("unset", ""), "KIND: '' is unknown"),
        (("set", "snapshots/a", "--keep", "1d"), "KIND: 'snapshots' is unknown"),
    ],
)
def test_what_is_no_policy_is_refused_in_a_line(
    chronoset: CommandLine, arguments: tuple[str, ...], says: str
) -> None:
    end = chronoset.end()
    refused = chronoset("retention", *arguments)
    assert (refused.code, refused.out) == (2, "") and says in refused.err and refused.err.count("\n") == 1
    assert chronoset.end() == end


def test_a_policy_that_cannot_be_read_keeps_everything(chronoset: CommandLine) -> None:
    manifest = (
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: chronoset-retention, namespace: kube-system}\n"
    )
    chronoset("apply", "-f", "-", stdin=manifest + b"data: {pods: soon, unicorns: 1d}\n")
    shown = chronoset("retention", "show").out
    assert "soon cannot be read: for ever" in shown and "1d cannot be read: for ever" in shown
    assert chronoset("archive", "thin").out == "dropped 0 events\n"


def test_between_kept_moments_it_is_said_what_is_kept(thinned: Thinned) -> None:
    chronoset, at = thinned.chronoset, thinned.between
    assert thinned.dropped >= 3
    refused = chronoset("replay", "--at", at, "cm", "-o", "name")
    assert (refused.code, refused.out) == (2, "")
    assert "is thinned: of configmaps only the state at some moments is kept, next to it at" in refused.err
    assert chronoset("replay", "--at", at).code == 2
    assert "statefulset.apps/db" in chronoset("replay", "--at", at, "sts", "-o", "name").out
    assert chronoset("replay", "--at", stream_id_of(thinned.until), "cm", "-A", "-o", "name").code == 0
    rollouts = chronoset("replay", "rollouts")
    assert rollouts.code == 0 and "statefulset/db" in rollouts.out
    assert chronoset("replay", "play", "--from", at, "--speed", "1000000").code == 0
    diff = chronoset("replay", "diff", at, "now", "cm")
    assert diff.code == 2 and "thinned" in diff.err
    assert "spec.replicas" in chronoset("replay", "diff", at, "now", "sts").out
    revert = chronoset("replay", "revert", "cm", "settings", "--to", at)
    assert revert.code == 2 and "thinned" in revert.err


def test_histories_say_where_they_begin(thinned: Thinned) -> None:
    chronoset = thinned.chronoset
    told = chronoset("replay", "history", "cm/settings")
    kept = [each for each in thinned.positions if each > thinned.until]
    assert told.code == 0 and len(kept) == told.out.count("ConfigMap")
    assert "data.colour" in told.out or len(kept) < 2
    assert f"core/configmaps is thinned up to {stream_id_of(thinned.until)}" in told.err
    whole = chronoset("replay", "history", "sts/db")
    assert whole.out.count("StatefulSetScaled") == ROUNDS and "thinned" not in whole.err
    log = chronoset("replay", "log", "--kind", "cm")
    assert log.out.count("ConfigMap") == len(kept) + 1 and "thinned" in log.err
    raw = chronoset("log", "--from", "beginning")
    assert raw.code == 0 and "core/configmaps is thinned up to" in raw.err
    assert chronoset("log", "--tail", "3").err == ""
    why = chronoset("replay", "why", "cm/settings")
    assert (why.code == 0 and "cm" in why.out) or "configmap/settings" in why.out


def test_verify_accepts_what_the_policy_says_and_finds_damage(
    thinned: Thinned, monkeypatch: pytest.MonkeyPatch
) -> None:
    chronoset = thinned.chronoset
    monkeypatch.setattr("services.cli.verifying.now_ms", lambda: 1 << 45)
    chronoset("get", "sts", "--at-least", stream_id_of(chronoset.end()))
    whole = chronoset("verify", "-o", "json")
    assert whole.json["thinned"] == {"core/configmaps": stream_id_of(thinned.until)}, whole.err
    assert (whole.code, whole.json["findings"]) == (0, [])
    shown = chronoset("verify").out
    assert f"thinned, as the policy says: core/configmaps up to {stream_id_of(thinned.until)}" in shown
    assert chronoset("verify", "--from", thinned.between).code == 2
    victim = next(path for path in thinned.folder.glob("segments/*-*-*-*.seg"))
    content = victim.read_bytes()
    victim.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    found = chronoset("verify", "-o", "json")
    assert found.code == 65 and victim.name in found.err
    victim.write_bytes(content)
    snapshot = sorted(thinned.folder.glob("snapshots/*"))[0]
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    assert snapshot.name in chronoset("verify").err


def test_verify_finds_what_no_policy_allowed(thinned: Thinned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.cli.verifying.now_ms", lambda: 1 << 45)
    thinned.thin(Retention(thinned.retention.position, {"core/namespaces": DAY}))
    found = thinned.chronoset("verify", "-o", "json")
    at = stream_id_of(thinned.retention.position)
    assert found.code == 65 and f"which the policy at {at} does not say" in found.err


def test_status_and_show_tell_what_is_gone(thinned: Thinned) -> None:
    chronoset = thinned.chronoset
    (row,) = chronoset("retention", "show", "-o", "json").json["policies"]
    assert (row["kind"], row["keep"], row["thinnedUntil"]) == (
        "configmaps",
        "1d",
        stream_id_of(thinned.until),
    )
    assert chronoset("archive", "status", "-o", "json").json["dropped"] == thinned.dropped
    assert f"{thinned.dropped} events are dropped" in chronoset("archive", "status").out
    assert "as they were written" in chronoset("archive", "check").out


def test_a_backup_keeps_what_it_had_in_full(
    chronoset: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, name = str(tmp_path / "backup"), chronoset.log.cluster
    thinned = Thinned(chronoset, tmp_path / "data" / "archive", place)
    chronoset("scale", "sts/db", "--replicas", "9")
    assert chronoset("backup", place).code == 0
    again = ("--cluster", f"{name}-full", "--data-dir", str(tmp_path / "full"))
    restored = chronoset("restore", place, "--to", thinned.between, *again)
    assert restored.code == 0, restored.err
    assert (
        chronoset("restore", place, "--cluster", f"{name}-all", "--data-dir", str(tmp_path / "all")).code == 0
    )
    monkeypatch.setenv("CHRONOSET_CLUSTER", f"{name}-all")
    monkeypatch.setenv("CHRONOSET_DATA_DIR", str(tmp_path / "all"))
    assert chronoset("replay", "history", "cm/settings").out.count("ConfigMap") == ROUNDS
    assert chronoset("verify", "--no-projections").code == 0


def test_a_new_backup_is_restored_at_a_kept_moment(
    thinned: Thinned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chronoset = thinned.chronoset
    assert chronoset("backup", str(tmp_path / "new")).code == 0
    refused = chronoset(
        "restore", str(tmp_path / "new"), "--to", thinned.between, "--data-dir", str(tmp_path / "no")
    )
    assert refused.code == 2 and "is thinned" in refused.err and not (tmp_path / "no").exists()
    again = ("--cluster", f"{chronoset.log.cluster}-again", "--data-dir", str(tmp_path / "again"))
    at = stream_id_of(thinned.until)
    restored = chronoset("restore", str(tmp_path / "new"), "--to", at, *again)
    assert restored.code == 0, restored.err
    monkeypatch.setenv("CHRONOSET_CLUSTER", f"{chronoset.log.cluster}-again")
    monkeypatch.setenv("CHRONOSET_DATA_DIR", str(tmp_path / "again"))
    shown = chronoset("replay", "--at", "now", "cm", "settings", "-o", "json")
    assert shown.code == 0, shown.err
    assert chronoset("verify", "--no-projections").code == 0


def test_an_object_of_which_no_event_is_left_is_not_said_never_to_have_been(thinned: Thinned) -> None:
    chronoset = thinned.chronoset
    kept = chronoset("replay", "history", "cm/settings")
    thinned.thin(Retention(thinned.retention.position, {"core/namespaces": DAY}))
    told = chronoset("replay", "history", "ns/default")
    assert (kept.code, told.code, told.out.strip()) == (0, 0, "")
    assert "core/namespaces is thinned up to" in told.err
    why = chronoset("replay", "why", "ns/default")
    assert why.code == 0 and why.out.startswith("namespace/default is as it is (now)\n")
    assert "what led to that is dropped: no events of configmaps and namespaces are kept up to" in why.out
    of_csv = chronoset("replay", "why", "ns/default", "-o", "csv")
    assert of_csv.out.count("\n") == 1 and "what led to that is dropped" in of_csv.err
    record = chronoset("replay", "why", "ns/default", "-o", "json").json
    assert not record["complete"] and record["chain"] == []
    assert record["dropped"]["kinds"] == ["core/configmaps", "core/namespaces"]
    other = chronoset("replay", "history", "ns/other")
    assert other.code == 2 and "thinned: of namespaces no events are kept up to" in other.err
    assert "there never was a pod/other" in chronoset("replay", "history", "pod/other").err


def many_snapshots(chronoset: CommandLine, tmp_path: Path) -> Thinned:
    thinned = Thinned(chronoset, tmp_path / "data" / "archive")
    for number in range(9):
        chronoset("scale", "sts/db", "--replicas", str(number))
        if number % 3 == 2:
            thinned.sealer().look(1 << 45)
    return thinned


def a_policy_for_snapshots(chronoset: CommandLine, tmp_path: Path) -> Thinned:
    """Return a cluster whose snapshots are to be kept for a day; its ConfigMaps are thinned, which changes nothing."""
    thinned = many_snapshots(chronoset, tmp_path)
    chronoset("retention", "set", "snapshots, pods", "--keep", "1d", "--actor", "alice")
    thinned.retention = retention_of(open_session(thinned.folder.parent).history)
    return thinned


def test_snapshots_have_a_policy_beside_the_kinds(
    chronoset: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.sparseness.SPARSE_SHARE", 1000)
    thinned = a_policy_for_snapshots(chronoset, tmp_path)
    shown = [each["kind"] for each in chronoset("retention", "show", "-o", "json").json["policies"]]
    assert shown == ["configmaps", "pods", "snapshots"]
    before = chronoset("archive", "status", "-o", "json").json["snapshots"]
    thinned.thin(thinned.retention)
    after = chronoset("archive", "status", "-o", "json").json["snapshots"]
    assert 2 < after < before
    monkeypatch.setattr("services.cli.verifying.now_ms", lambda: 1 << 45)
    found = chronoset("verify", "-o", "json")
    assert found.code == 0 and found.json["snapshots"] == after, found.err
    (row,) = [
        each
        for each in chronoset("retention", "show", "-o", "json").json["policies"]
        if each["kind"] == "snapshots"
    ]
    assert row["thinnedUntil"] is not None and not row["problem"]
    for position in thinned.positions:
        at = stream_id_of(position)
        told = chronoset("replay", "--at", at, "sts", "-o", "json")
        assert told.code == 0, told.err
    assert chronoset("retention", "unset", "snapshots").code == 0
    assert chronoset("archive", "thin").out == "dropped 0 events\n"


def test_verify_finds_snapshots_that_no_policy_dropped(
    chronoset: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.sparseness.SPARSE_SHARE", 1000)
    monkeypatch.setattr("services.cli.verifying.now_ms", lambda: 1 << 45)
    thinned = many_snapshots(chronoset, tmp_path)
    assert chronoset("verify").code == 0
    thinned.thin(Retention(thinned.retention.position, {"snapshots": DAY}))
    found = chronoset("verify")
    at = stream_id_of(thinned.retention.position)
    assert (
        found.code == 65
        and "snapshots is thinned up to" in found.err
        and f"the policy at {at} does not say" in found.err
    )
