"""`chronoset verify` on a real server: a whole cluster passes, and whatever was meddled with is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from events import sealing
from events.archive import Archive
from events.archive_index import ArchiveIndex
from events.keys import heads_key, log_key
from events.sealing import Limits, Sealer
from events.snapshots import pack_state, unpack_state
from events.stores import Folder
from schemas.positions import stream_id_of
from services.projections.keys import in_generation, views_key
from tests.servers import Server
from tests.services.cli.conftest import CommandLine
from tests.services.cli.manifests import DB

Fields = dict[bytes, bytes]
Stream = list[tuple[bytes, Fields]]
DAMAGED = 65


@pytest.fixture
def cluster(chronoset: CommandLine, server: Server) -> Iterator[tuple[CommandLine, redis.Redis]]:
    """A set that was scaled and changed, all of it projected."""
    chronoset("apply", "-f", "-", stdin=DB)
    chronoset("scale", "sts/db", "--replicas", "5")
    chronoset("patch", "sts/db", "--type", "merge", "-p", '{"spec":{"minReadySeconds":1}}')
    end = chronoset("scale", "sts/db", "--replicas", "4", "-o", "json").json["position"]
    chronoset("get", "sts", "--at-least", end)
    with server.client() as client:
        yield chronoset, client


def rewrite(client: Any, name: str, change: Callable[[Stream], Stream]) -> None:
    """Write a log's stream anew, as only somebody with the server's files or its password can."""
    key = log_key(name)
    entries: Stream = client.xrange(key)
    pipeline = client.pipeline(transaction=True)
    pipeline.delete(key)
    for position, fields in change(entries):
        pipeline.xadd(key, fields, id=position)
    pipeline.execute()


def index_of(entries: Stream, kind: bytes) -> int:
    return next(index for index, (_, fields) in enumerate(entries) if fields[b"type"] == kind)


def dropped(entries: Stream) -> Stream:
    index = index_of(entries, b"StatefulSetScaled")
    return [*entries[:index], *entries[index + 1 :]]


def reordered(entries: Stream) -> Stream:
    index = index_of(entries, b"StatefulSetScaled")
    (one, first), (other, second) = entries[index : index + 2]
    return [*entries[:index], (one, second), (other, first), *entries[index + 2 :]]


def inserted(entries: Stream) -> Stream:
    index = index_of(entries, b"StatefulSetScaled")
    position, fields = entries[index]
    ms, _, sequence = position.partition(b"-")
    between = ms + b"-" + str(int(sequence) + 1).encode()
    return [*entries[: index + 1], (between, {**fields, b"after": position}), *entries[index + 1 :]]


def truncated(entries: Stream) -> Stream:
    return entries[:-1]


def beheaded(entries: Stream) -> Stream:
    return entries[2:]


def test_a_cluster_as_it_is_passes(cluster: tuple[CommandLine, redis.Redis]) -> None:
    chronoset, client = cluster
    result = chronoset("verify", "-o", "json")
    assert (result.code, result.err) == (0, "")
    assert result.json["ok"] and result.json["events"] == client.xlen(log_key(chronoset.log.cluster))
    assert result.json["derivedRevisions"] == 1 and not result.json["notChecked"]
    shown = chronoset("verify", "--from", "beginning of time")
    assert (shown.code, "--from" in shown.err) == (2, True)
    lines = chronoset("verify").out.splitlines()
    assert [line.split()[0] for line in lines] == ["whole"] * 6


@pytest.mark.parametrize("damage", [dropped, reordered, inserted, truncated, beheaded])
def test_damage_to_the_stream_is_found(
    cluster: tuple[CommandLine, redis.Redis], damage: Callable[[Stream], Stream]
) -> None:
    chronoset, client = cluster
    before: Any = client.xrange(log_key(chronoset.log.cluster))
    rewrite(client, chronoset.log.cluster, damage)
    result = chronoset("verify", "-o", "json")
    assert (result.code, result.json["ok"]) == (DAMAGED, False)
    (finding,) = [each for each in result.json["findings"] if each["part"] == "log"]
    at = next(
        (index for index, entry in enumerate(damage(before)) if entry != before[index]), len(before) - 2
    )
    assert finding["position"].encode() in {before[at][0], before[at + 1][0], damage(before)[at][0]}
    assert finding["position"] in result.err and result.err.count("\n") == 1


def test_an_edit_that_fits_the_log_is_found_by_what_was_made_of_it(
    cluster: tuple[CommandLine, redis.Redis],
) -> None:
    """The last value of a field is in the projections; one that was written over since could not be seen at all."""
    chronoset, client = cluster
    name = chronoset.log.cluster

    def last_scaled(entries: Stream) -> Stream:
        position, fields = entries[-1]
        data = fields[b"data"].replace(b"\xa8replicas\x04", b"\xa8replicas\x09")
        assert data != fields[b"data"]
        return [*entries[:-1], (position, {**fields, b"data": data})]

    rewrite(client, name, last_scaled)
    result = chronoset("verify", "-o", "json")
    assert result.code == DAMAGED
    parts = {(each["part"], each["position"]) for each in result.json["findings"]}
    assert parts == {("projections", stream_id_of(chronoset.end()))}


def test_a_foreign_head_is_found(cluster: tuple[CommandLine, redis.Redis]) -> None:
    chronoset, client = cluster
    client.hset(heads_key(chronoset.log.cluster), "apps/statefulsets/default/db", "7-0")
    result = chronoset("verify", "-o", "json")
    assert result.code == DAMAGED
    assert [each["part"] for each in result.json["findings"]] == ["heads"]
    assert "apps/statefulsets/default/db is 7-0" in result.err


@pytest.mark.parametrize(
    "what", ["an object", "a pod's place", "an owner", "a rollout", "a revision", "an object too many"]
)
def test_meddled_projections_are_found(
    cluster: tuple[CommandLine, redis.Redis], server: Server, what: str
) -> None:
    chronoset, _ = cluster
    name = chronoset.log.cluster
    with server.client(db=1) as client:
        prefix = in_generation(name, client.hget(views_key(name), "generation").decode(), "")  # type: ignore[union-attr]
        text: Any = client.hget(f"{prefix}objects:apps/statefulsets", "default/db")
        uid = orjson.loads(text)["metadata"]["uid"]
        match what:
            case "an object":
                client.hset(
                    f"{prefix}objects:apps/statefulsets",
                    "default/db",
                    text.replace(b'"replicas":4', b'"replicas":5'),
                )
            case "an object too many":
                client.hset(f"{prefix}objects:apps/statefulsets", "default/ghost", text)
            case "a pod's place":
                client.sadd(f"{prefix}pods-on:n1", "default/ghost")
            case "an owner":
                client.delete(f"{prefix}owned-by:{uid}")
            case "a rollout":
                client.hset(f"{prefix}rollout:apps/statefulsets/default/db", "desired", "9")
            case "a revision":
                client.delete(f"{prefix}revisions:{uid}")
    result = chronoset("verify", "-o", "json")
    assert result.code == DAMAGED
    assert {each["part"] for each in result.json["findings"]} == {"projections"}
    assert chronoset("verify", "--no-projections").code == 0


def test_a_log_that_is_written_to_meanwhile_is_whole(cluster: tuple[CommandLine, redis.Redis]) -> None:
    import threading

    chronoset, _ = cluster
    stopping = threading.Event()

    def write() -> None:
        from services.cli.session import open_session
        from services.commands.commands import Scale

        session = open_session(None)
        number = 0
        while not stopping.is_set():
            number += 1
            command = Scale("apps/statefulsets/default/db", number % 7 + 1)
            session.executor.execute(command, session.actor("bob"), f"scale-{number}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline = time.monotonic() + 3
        codes = []
        while time.monotonic() < deadline or len(codes) < 3:
            codes.append(chronoset("verify").code)
    finally:
        stopping.set()
        writer.join(20)
    assert set(codes) == {0}


@pytest.fixture
def sealed(
    cluster: tuple[CommandLine, redis.Redis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[CommandLine, Path]:
    """The same cluster, most of its log sealed; and the folder of its archive."""
    chronoset, _ = cluster
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 2)
    folder = tmp_path / "data" / "archive"
    for number in range(6):
        chronoset("scale", "sts/db", "--replicas", str(number))
    sealer = Sealer(chronoset.log, Folder(folder), Limits(5, 0, 2), ArchiveIndex(folder / "index.sqlite"))
    sealer.open()
    sealer.look(1 << 45)
    return chronoset, folder


def manifest_of(chronoset: CommandLine, folder: Path) -> Archive:
    archive = Archive(Folder(folder), lambda: chronoset.log.sealed().manifest)
    archive.refresh()
    return archive


def test_a_log_that_is_sealed_for_the_most_part_is_whole(sealed: tuple[CommandLine, Path]) -> None:
    chronoset, folder = sealed
    result = chronoset("verify", "-o", "json")
    assert (result.code, result.json["ok"]) == (0, True)
    manifest = manifest_of(chronoset, folder).manifest
    assert result.json["segments"] == len(manifest.segments) > 0
    assert result.json["snapshots"] == len(manifest.snapshots) > 0
    whole = chronoset("replay", "log", "-o", "csv").out
    assert whole.count("\n") == result.json["events"] + 1


@pytest.mark.parametrize("damage", ["edited", "cut", "missing"])
@pytest.mark.parametrize("part", ["segments", "snapshots"])
def test_a_file_of_the_archive_that_was_meddled_with_is_found(
    sealed: tuple[CommandLine, Path], part: str, damage: str
) -> None:
    chronoset, folder = sealed
    manifest = manifest_of(chronoset, folder).manifest
    path = folder / (manifest.segments if part == "segments" else manifest.snapshots)[0].name
    content = path.read_bytes()
    path.chmod(0o600)
    match damage:
        case "edited":
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        case "cut":
            path.write_bytes(content[:-3])
        case "missing":
            path.unlink()
    result = chronoset("verify", "-o", "json")
    assert (result.code, result.json["ok"]) == (DAMAGED, False)
    assert "archive" in {each["part"] for each in result.json["findings"]}
    assert any(path.name in each["problem"] for each in result.json["findings"])


def test_a_snapshot_that_was_replaced_by_a_sound_one_of_another_state_is_found(
    sealed: tuple[CommandLine, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest is right in a manifest that was rewritten, too: only a replay tells."""
    chronoset, folder = sealed
    archive = manifest_of(chronoset, folder)
    row = archive.manifest.snapshots[0]
    state = unpack_state((folder / row.name).read_bytes(), row.name)
    state.objects["core/namespaces/default"]["metadata"]["labels"] = {"forged": "yes"}
    forged = pack_state(state)
    path = folder / row.name
    path.chmod(0o600)
    path.write_bytes(forged)
    monkeypatch.setattr(Archive, "check", lambda _self: iter(()))
    result = chronoset("verify", "-o", "json")
    (finding,) = result.json["findings"]
    assert (result.code, finding["part"]) == (DAMAGED, "snapshots")
    assert finding["position"] == stream_id_of(row.position)
    assert "core/namespaces/default" in finding["problem"]


def test_an_edit_on_the_server_of_what_is_sealed_is_found_though_it_fits(
    sealed: tuple[CommandLine, Path],
) -> None:
    """Who wrote an event, say, from which nothing follows: the sealed copy tells."""
    chronoset, _ = sealed
    first, _count = chronoset.log.held()

    def with_mallory(entries: Stream) -> Stream:
        position, fields = entries[0]
        data = fields[b"data"].replace(b"user:alice", b"user:mallo")
        assert data != fields[b"data"]
        return [(position, {**fields, b"data": data}), *entries[1:]]

    rewrite(chronoset.log._client, chronoset.log.cluster, with_mallory)
    result = chronoset("verify", "-o", "json")
    (finding,) = result.json["findings"]
    assert (result.code, finding["part"], finding["position"]) == (DAMAGED, "stream", stream_id_of(first))
