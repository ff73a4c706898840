"""A build of a long or thinned log begins with a snapshot, and knows all that the present needs."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from events import sealing
from events.archive import Archive
from events.archived_log import ArchivedLog
from events.memory import MemoryLog
from events.sealing import Limits, Sealer
from events.stores import Folder
from schemas.changes import Create, Replace
from schemas.errors import LostHistory
from schemas.objects import resource_of
from schemas.positions import stream_id_of
from schemas.retention import DAY, Retention
from services.projections import beginnings
from services.projections.beginnings import beginning_of, told_events
from services.projections.projector import rebuild
from services.projections.reader import Views
from tests.services.projections.histories import History, a_bare_pod, actual_views, expected_views
from tests.services.projections.test_projector import project

TOLD = ("apps/statefulsets", "apps/daemonsets", "apps/controllerrevisions")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 20)
    monkeypatch.setattr(sealing, "SNAPSHOT_SHARE", 100)
    monkeypatch.setattr(beginnings, "MOST_EVENTS", 50)
    monkeypatch.setattr(beginnings, "RECENT_EVENTS", 60)


class Sealed:
    """A random history of a small cluster, all of it in an archive."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.history = History()
        self.history.begin()
        self.history.scribble(random.Random(seed), 80)
        stream: Any = self.history.log
        assert isinstance(stream, MemoryLog)
        self.sealer = Sealer(stream, Folder(folder), Limits(20, 0, 0))
        self.sealer.open()
        self.sealer.look(1 << 45)
        self.expected = expected_views(
            ArchivedLog(stream, Archive(Folder(folder), lambda: stream.sealed().manifest))
        )
        self.log = ArchivedLog(stream, Archive(Folder(folder), lambda: stream.sealed().manifest))


def without_changes(views: dict[str, Any], *kept: str) -> dict[str, Any]:
    return {
        name: value
        for name, value in views.items()
        if not name.startswith("changes:") or resource_of(name.removeprefix("changes:")) in kept
    }


@pytest.mark.parametrize("seed", range(2))
def test_a_build_from_a_snapshot_equals_one_from_the_beginning_but_for_old_changes(
    client: redis.Redis, tmp_path: Path, seed: int
) -> None:
    sealed = Sealed(tmp_path, seed)
    begin = beginning_of(sealed.log).position
    assert 0 < begin < sealed.log.last()
    project(sealed.log, client)
    actual, expected = actual_views(client), sealed.expected
    assert without_changes(actual, *TOLD) == without_changes(expected, *TOLD)
    since = stream_id_of(begin)
    assert client.hget("{demo}:views", "since") == since.encode()
    for name, rows in expected.items():
        if name.startswith("changes:") and resource_of(name.removeprefix("changes:")) not in TOLD:
            recent = [row for row in rows if _number(row["position"]) > begin]
            assert actual.get(name, []) == recent


def _number(stream_id: str) -> int:
    ms, _, sequence = stream_id.partition("-")
    return int(ms) << 20 | int(sequence)


def test_a_short_log_is_read_from_its_beginning(
    client: redis.Redis, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(beginnings, "MOST_EVENTS", 100_000)
    sealed = Sealed(tmp_path)
    project(sealed.log, client)
    assert actual_views(client) == sealed.expected
    assert client.hget("{demo}:views", "since") == b"0-0"


@pytest.mark.parametrize("resources", [("core/pods",), ("core/pods", *TOLD)], ids=["pods", "all but nodes"])
def test_a_thinned_log_is_built_from_behind_its_thinned_part(
    client: redis.Redis, tmp_path: Path, monkeypatch: Any, resources: tuple[str, ...]
) -> None:
    monkeypatch.setattr(beginnings, "MOST_EVENTS", 100_000)
    sealed = Sealed(tmp_path)
    assert sealed.sealer.thin(Retention(1, dict.fromkeys(resources, DAY)), 1 << 45) > 0
    project(sealed.log, client)
    told = () if len(resources) > 1 else TOLD
    actual = without_changes(actual_views(client), *told)
    expected = without_changes(sealed.expected, *told)
    if not told:
        kept = {name for name in expected if not name.startswith("revision")}
        actual, expected = ({name: each[name] for name in kept} for each in (actual, expected))
    assert actual == expected
    history = sealed.history
    history.commit(Create(a_bare_pod("late")))
    project(sealed.log, client)
    assert Views(client, "demo").get("core/pods/default/late") == history.get("core/pods/default/late")


def test_a_rebuild_beside_a_projector_that_runs_begins_there_too(client: redis.Redis, tmp_path: Path) -> None:
    sealed = Sealed(tmp_path)
    project(sealed.log, client)
    before = actual_views(client)
    assert rebuild(sealed.log, client).position == sealed.log.last()
    assert actual_views(client) == before


def test_what_cannot_be_projected_of_a_snapshot_is_parked(client: redis.Redis, tmp_path: Path) -> None:
    sealed = Sealed(tmp_path)
    history = sealed.history
    metadata = {"name": "odd", "namespace": "default"}
    reference = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": True}
    odd = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {**metadata, "ownerReferences": [reference]},
        "data": {},
    }
    history.commit(Create(odd))
    key = "apps/controllerrevisions/default/odd"
    history.commit(Replace(history.get(key), {**history.get(key), "data": {"a": 1}}))
    history.scribble(random.Random(5), 80)
    sealed.sealer.look(1 << 45)
    sealed.sealer.thin(Retention(1, dict.fromkeys(TOLD, DAY)), 1 << 45)
    assert beginning_of(sealed.log).get(key)
    project(sealed.log, client)
    assert list(Views(client, "demo").parked()) == [key]


def test_a_snapshot_that_is_not_what_events_say_is_not_built_on(tmp_path: Path) -> None:
    sealed = Sealed(tmp_path)
    state = beginning_of(sealed.log)
    victim = next(key for key in state.objects if resource_of(key) in TOLD)
    del state.objects[victim]
    with pytest.raises(LostHistory, match="not in the snapshot what their events say"):
        list(told_events(sealed.log, state))


def test_a_build_that_is_told_to_stop_is_given_up(client: redis.Redis, tmp_path: Path) -> None:
    from services.projections.projector import Outdated, Projector

    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Outdated):
        Projector(Sealed(tmp_path).log, client, stopping).open()
