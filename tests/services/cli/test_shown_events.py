"""Events as lines and as JSON."""

from __future__ import annotations

from events.memory import MemoryLog
from events.replay import events_between
from services.cli.shown_events import assignments, clock_time, event_line, event_record
from services.commands.commands import Scale
from tests.services.commands.worlds import DB, World, a_manifest


def test_a_line_says_when_what_who_and_how_it_changed() -> None:
    world = World()
    world.run_manifest(a_manifest())
    (event,) = world.run(Scale(DB, 5)).committed.events
    words = event_line(event).split()
    assert words[0] == clock_time(event.position >> 20)
    assert words[2:6] == ["StatefulSetScaled", DB, "by", "user:alice"]
    assert words[-1] == "spec.replicas=5"


def test_a_derived_event_says_because_of_what() -> None:
    world = World()
    created, derived = world.run_manifest(a_manifest()).committed.events
    assert f"because of {event_record(created)['position']}" in event_line(derived)
    assert event_record(derived)["cause"] == event_record(created)["position"]
    assert event_record(created)["cause"] is None


def test_every_event_of_a_log_has_a_line() -> None:
    log = MemoryLog()
    log.create()
    (genesis,) = events_between(log, 0, log.last())
    assert "LogCreated" in event_line(genesis) and "\n" not in event_line(genesis)


def test_many_and_long_changes_are_shortened() -> None:
    patch = {"a": {"b": 1, "c": None}, "d": "x" * 100, "e": [], "f": 1, "g": 2}
    assert assignments(patch) == f"a.b=1 a.c=null d={'x' * 37}... e=[] and 2 more"


def test_the_clock_is_utc_with_milliseconds() -> None:
    assert clock_time(1_795_435_200_123) == "2026-11-23T12:00:00.123Z"
