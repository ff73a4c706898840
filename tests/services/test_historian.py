"""The historian: one at a time, patient with what hinders it, harmless when outrun."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from events import sealing
from events.memory import MemoryLog
from events.sealing import Limits, Sealer
from events.stores import Folder
from schemas.changes import Create
from schemas.errors import LostHistory, Unavailable
from schemas.retention import DAY, Retention
from services.broker.leases import Lease
from services.historian import PAUSE, Historian
from tests.events.archives import LATER, SMALL, a_long_history, a_sealer, all_entries, archived
from tests.events.worlds import a_bare_pod
from tests.servers import fake_client


class Broken(Folder):
    """A store that fails while it is told to."""

    is_full = False

    def put(self, name: str, content: bytes) -> None:
        if self.is_full:
            raise Unavailable("no space left on device")
        super().put(name, content)


def a_historian(log: MemoryLog, store: Folder, client: object, name: str = "one") -> Historian:
    lease = Lease(client, "{test}:lease:historian", name, ttl_ms=60_000)  # type: ignore[arg-type]
    return Historian(lambda: Sealer(log, store, SMALL), lease, lambda: LATER, threading.Event())


def test_of_two_historians_one_seals_and_the_other_follows_it(tmp_path: Path) -> None:
    log, client = MemoryLog(), fake_client()
    world = a_long_history(log, 8)
    entries = world.entries()
    one = a_historian(log, Folder(tmp_path), client)
    other = a_historian(log, Folder(tmp_path), client, "other")
    one.look()
    sealed = log.sealed()
    assert sealed.end == entries[-1].position
    epoch = log.take_over()
    other.look()
    assert log.take_over() == epoch + 1, "it did not take over"
    one.give_up()
    for number in range(30):
        world.commit(Create(a_bare_pod(f"more-{number}")))
    other.look()
    assert log.sealed().end > sealed.end
    assert all_entries(archived(log, tmp_path))[: len(entries)] == entries


def test_one_that_was_outrun_takes_over_again_while_it_holds_the_lease(tmp_path: Path) -> None:
    log, client = MemoryLog(), fake_client()
    entries = a_long_history(log, 8).entries()
    historian = a_historian(log, Folder(tmp_path), client)
    historian._look()
    a_sealer(log, tmp_path)
    for _ in range(2):
        historian.look()
    assert log.sealed().end == entries[-1].position


def test_a_full_disk_is_waited_out(tmp_path: Path) -> None:
    log, client = MemoryLog(), fake_client()
    entries = a_long_history(log, 8).entries()
    store = Broken(tmp_path)
    historian = a_historian(log, store, client)
    store.is_full = True
    with capture_logs() as said:
        for _ in range(3):
            historian.look()
    assert log.sealed().end == 0 and log.held()[1] == len(entries) and historian._pause > PAUSE
    assert [(each["event"], each["error"]) for each in said] == [
        ("nothing can be sealed", "no space left on device")
    ]
    store.is_full = False
    historian.look()
    assert log.sealed().end == entries[-1].position and historian._pause == PAUSE


def test_told_to_stop_it_gives_up_its_lease(tmp_path: Path) -> None:
    log, client = MemoryLog(), fake_client()
    a_long_history(log, 8)
    historian = a_historian(log, Folder(tmp_path), client)
    historian.look()
    historian.stopping.set()
    historian.run()
    assert client.get("{test}:lease:historian") is None


@pytest.mark.parametrize(
    ("days", "thins"), [(3, True), (0, False)], ids=["old", "not old by the log's clock"]
)
def test_it_thins_what_is_older_than_the_policy_says_by_both_clocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, thins: bool
) -> None:
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 20)
    monkeypatch.setattr(sealing, "SNAPSHOT_SHARE", 100)
    monkeypatch.setattr("events.memory.MAX_CLOCK_SKEW_MS", LATER)
    clock = [1_795_401_564_000]
    log, client = MemoryLog("demo", lambda: clock[0]), fake_client()
    world = a_long_history(log, 20)
    clock[0] += days * DAY
    for number in range(40):
        world.commit(Create(a_bare_pod(f"late-{number}")))
    limits = Limits(segment_events=20, segment_age=0, stream_events=0)
    lease = Lease(client, "{test}:lease:historian", "one", ttl_ms=60_000)
    policy = Retention(1, {"core/pods": DAY})
    historian = Historian(
        lambda: Sealer(log, Folder(tmp_path), limits), lease, lambda: LATER, threading.Event(), lambda: policy
    )
    historian.look()
    manifest = archived(log, tmp_path).archive.refresh()
    assert bool(manifest.thinned) is thins
    assert all(each.until < log.last() - (2 * DAY << 20) for each in manifest.thinned)


def test_what_cannot_be_thinned_hinders_no_sealing(tmp_path: Path) -> None:
    log, client = MemoryLog(), fake_client()
    entries = a_long_history(log, 8).entries()
    historian = a_historian(log, Folder(tmp_path), client)

    def unreadable() -> Retention:
        raise LostHistory("a segment is damaged")

    historian.retention = unreadable
    with capture_logs() as said:
        historian.look()
    assert log.sealed().end == entries[-1].position
    assert ("nothing can be thinned", "a segment is damaged") in [
        (each["event"], each.get("error")) for each in said
    ]
