"""Whoever asks about the past gets the same answer wherever it is kept."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from events import sealing
from events.codec import decode
from events.history import History, differences
from events.memory import MemoryLog, wall_clock
from events.sealing import Limits
from events.state import State
from schemas.changes import Create
from schemas.errors import BadRequest, LostHistory
from schemas.positions import stream_id_of
from schemas.times import rfc3339
from tests.events.archives import (
    LATER,
    WEB,
    a_history,
    a_long_history,
    a_sealer,
    archived,
    pod_key_of,
)
from tests.events.worlds import World, a_bare_pod


@pytest.fixture(
    params=["live only", "half sealed", "all sealed", "without an index", "with a broken index", "behind"]
)
def past(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """The same history, kept in different places."""
    monkeypatch.setattr(sealing, "FEWEST_EVENTS", 20)
    log = MemoryLog("demo")
    world = a_long_history(log, 10)
    if request.param == "behind":
        steps = iter([True, True, False])
        a_sealer(log, tmp_path, Limits(20, 0, 5)).look(LATER, lambda: next(steps))
        behind = (tmp_path / "index.sqlite").read_bytes()
    if request.param != "live only":
        a_sealer(log, tmp_path, Limits(20, 0, 5)).look(LATER)
    if request.param == "behind":
        (tmp_path / "index.sqlite").write_bytes(behind)
    if request.param == "half sealed":
        a_long_history_more(world)
    if request.param == "without an index":
        (tmp_path / "index.sqlite").unlink()
    if request.param == "with a broken index":
        (tmp_path / "index.sqlite").write_bytes(b"no database" * 1000)
    return a_history(log, tmp_path)


def a_long_history_more(world: World) -> None:
    for number in range(10, 14):
        world.commit(*(Create(a_bare_pod(f"web-{number}-{each}")) for each in range(2)))


def naive(past: History) -> list[tuple[int, str, str]]:
    events = past.events_between(0, past.log.last())
    return [(each.position, each.key, each.type) for each in events]


def test_the_changes_of_each_object_are_all_there(past: History) -> None:
    every = naive(past)
    for key in {key for _, key, _ in every}:
        wanted = [each for each in every if each[1] == key]
        found = [(each.position, each.key, each.type) for each in past.changes_of(key, 1000)]
        assert found == wanted
        last_two = [each.position for each in past.changes_of(key, 2)]
        assert last_two == [each[0] for each in wanted[-2:]]
        until = wanted[-1][0] - 1
        assert [each.position for each in past.changes_of(key, 1000, until)] == [
            each[0] for each in wanted[:-1]
        ]


def test_an_object_that_is_gone_has_a_history_with_what_it_was(past: History) -> None:
    created, ready, deleted = past.versions_of(pod_key_of(3), 10)
    assert (created.old, created.event.op, deleted.new) == (None, "create", None)
    assert ready.old == created.new and deleted.old == ready.new
    assert ready.new is not None and ready.new["status"]["phase"] == "Running"
    state = past.state_at(ready.event.resource_version)
    assert state.objects[pod_key_of(3)] == ready.new


def test_a_few_versions_begin_with_what_was_before(past: History) -> None:
    whole, few = past.versions_of(WEB, 1000), past.versions_of(WEB, 3)
    assert few == whole[-3:]
    assert (
        len(whole) == len(past.changes_of(WEB, 1000)) and past.versions_of("core/pods/default/none", 5) == []
    )


def test_each_moment_is_as_it_was(past: History) -> None:
    state = State()
    from events.fold import apply

    for event in past.events_between(0, past.log.last()):
        apply(state, event)
        if event.offset == event.size - 1 and event.position % 3 == 0:
            found = past.state_at(event.position)
            assert found.objects == state.objects and dict(found.heads()) == dict(state.heads())


def test_a_position_inside_a_batch_is_the_end_of_the_batch_before(past: History) -> None:
    inside = [each for each in past.events_between(0, past.log.last()) if each.offset < each.size - 1]
    assert inside
    for event in inside[::5]:
        assert past.state_at(event.position).position < event.position


def test_what_an_actor_did(past: History) -> None:
    last = past.log.last()
    for name in ("socket:1000@host", "system:init", "nobody"):
        wanted = [each for each in past.events_between(0, last) if each.actor.name == name]
        middle = wanted[len(wanted) // 2].position if wanted else 0
        for after, until in ((0, last), (middle, last), (0, middle)):
            found = past.events_of(after, until, lambda _: True, name.__eq__)
            assert [each for each in found if each.actor.name == name] == [
                each for each in wanted if after < each.position <= until
            ]


def test_the_difference_of_two_moments(past: History) -> None:
    positions = [each.position for each in past.events_between(0, past.log.last())]
    one, other = past.state_at(positions[9]), past.state_at(positions[-1])
    found = differences(one, other)
    assert found == past.differences(positions[9], positions[-1])
    assert {each.key for each in found} == {
        key for key in one.objects.keys() | other.objects.keys() if one.get(key) != other.get(key)
    }
    assert past.differences(positions[-1], positions[-1]) == []
    backwards = past.differences(positions[-1], positions[9])
    assert [(each.key, each.new, each.old) for each in backwards] == [tuple(each) for each in found]


def test_times_and_positions_before_the_log_began_are_refused(past: History) -> None:
    (first,) = past.log.read(0, 1)
    began = first.position >> 20
    assert past.position_at(began) >= first.position
    with pytest.raises(BadRequest, match=f"is before the log began, at {rfc3339(began)}"):
        past.position_at(began - 1)
    with pytest.raises(BadRequest, match=f"it began at {stream_id_of(first.position)}"):
        past.state_at(first.position - 1)
    assert past.position_at(LATER) == past.log.last()


def test_a_clock_that_stepped_back_does_not_disorder_the_past(tmp_path: Path) -> None:
    readings = count()
    log = MemoryLog("demo", lambda: wall_clock() - (30_000 if next(readings) > 10 else 0))
    world = a_long_history(log, 4)
    assert log.last() >> 20 > wall_clock() - 20_000, "the log's clock did not follow"
    entries = world.entries()
    a_sealer(log, tmp_path).look(LATER)
    past = a_history(log, tmp_path)
    positions = [each.position for each in past.events_between(0, log.last())]
    assert positions == [each.position for each in entries] == sorted(positions)
    assert past.state_at(past.position_at(log.last() >> 20)).objects == world.state.objects


def test_an_index_of_another_archive_is_not_believed_and_is_made_anew(tmp_path: Path) -> None:
    one, other = MemoryLog(), MemoryLog()
    a_long_history(one, 6)
    a_long_history(other, 9)
    a_sealer(one, tmp_path / "one").look(LATER)
    a_sealer(other, tmp_path / "other").look(LATER)
    (tmp_path / "one" / "index.sqlite").write_bytes((tmp_path / "other" / "index.sqlite").read_bytes())
    past = a_history(one, tmp_path / "one")
    wanted = [
        each.position
        for each in map(decode, archived(one, tmp_path / "one").read(0, 1000))
        if each.key == WEB
    ]
    assert [each.position for each in past.changes_of(WEB, 1000)] == wanted
    a_sealer(one, tmp_path / "one")
    assert [each.position for each in past.changes_of(WEB, 1000)] == wanted


def test_an_event_of_a_newer_version_is_named_with_its_position(
    past: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = past.log.read(0, 1)
    monkeypatch.setattr("events.codec.READER_VERSION", 0)
    says = f"the event at {stream_id_of(first.position)} needs a reader of version 1, this one has version 0: upgrade"
    with pytest.raises(LostHistory, match=says):
        list(past.events_between(0, past.log.last()))
    with pytest.raises(LostHistory, match="upgrade the readers first"):
        past.changes_of(WEB, 5)


def test_events_of_keys_and_actors_are_found_by_what_segments_say_of_their_blocks(past: History) -> None:
    last = past.log.last()
    everything = list(past.events_between(0, last))
    middle = everything[len(everything) // 2].position

    def is_of_web(key: str) -> bool:
        return key == WEB

    for actor in ("socket:1000@host", "system:init", "nobody"):
        for after, until in ((0, last), (middle, last), (0, middle)):
            found = list(past.events_of(after, until, is_of_web, actor.__eq__))
            wanted = [
                each
                for each in everything
                if each.key == WEB and each.actor.name == actor and after < each.position <= until
            ]
            assert [each for each in found if each.key == WEB and each.actor.name == actor] == wanted
            assert found == sorted(found, key=lambda each: each.position)
