"""A hop is from the oldest event that a look is the first to see, to the beginning of that look."""

from __future__ import annotations

from collections import deque

from schemas.positions import Position
from services.bench.worlds import World
from services.controllers.statefulset import STATEFULSET
from services.loadtest.hops import Calls, calls_of, hops
from services.loadtest.traces import Beginning

WEB = "apps/statefulsets/default/web"


def at(ms: int) -> Position:
    return ms << 20


def begun(position: Position, ms: float, key: str = WEB) -> Beginning:
    return Beginning("statefulset", key, position, int(ms * 1_000_000))


def called(*times: int) -> Calls:
    return {("statefulset", WEB): deque(at(ms) for ms in times)}


def took(calls: Calls, begun: list[Beginning], epoch_ns: int) -> list[float]:
    return [milliseconds for _, milliseconds in hops(calls, begun, epoch_ns)]


def test_a_look_answers_the_oldest_event_that_it_sees_first() -> None:
    assert took(called(10, 12), [begun(at(12), 15)], 0) == [5.0]


def test_a_later_look_does_not_answer_the_same_events_again() -> None:
    assert took(called(10, 20), [begun(at(10), 11), begun(at(10), 14), begun(at(20), 23)], 0) == [1.0, 3.0]


def test_looks_of_two_workers_are_taken_in_the_order_of_time() -> None:
    assert took(called(10, 20), [begun(at(20), 23), begun(at(10), 11)], 0) == [1.0, 3.0]


def test_a_look_that_nothing_called_for_is_no_hop() -> None:
    assert took(called(10), [begun(at(10), 12, "apps/statefulsets/default/other"), begun(at(9), 12)], 0) == []


def test_the_wall_clock_is_added_to_the_monotonic_one() -> None:
    assert took(called(1_000), [begun(at(1_000), 5)], 997_000_000) == [2.0]


def test_what_an_event_calls_for_is_what_its_controller_says() -> None:
    world = World()
    key = world.create_set("web", 2)
    events = world.events()
    calls = calls_of(events, [STATEFULSET])
    news = ("StatefulSetCreated", "PodCreated", "PodReady")
    assert set(calls) == {("statefulset", key)}
    assert set(calls["statefulset", key]) == {event.position for event in events if event.type in news}
