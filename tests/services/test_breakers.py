"""Who writes about one workload again and again is parked: that controller, that key, and for a minute."""

from __future__ import annotations

import pytest

from events.state import State
from schemas.changes import Decision
from schemas.objects import Key, Object, key_of_object, with_metadata
from services.breakers import EVENTS_PER_OBJECT, FEWEST_OBJECTS, WINDOW_MS, Breaker
from tests.builders import a_node, a_pod, a_state, an_object

NOON = 1_795_435_200_000
MOST = EVENTS_PER_OBJECT * FEWEST_OBJECTS


def a_set(name: str = "db", kind: str = "StatefulSet") -> Object:
    return an_object(kind, name, "default", "apps/v1", metadata={"generation": 1}, spec={})


def asked(
    breaker: Breaker, state: State, key: Key, now: int, controller: str = "statefulset"
) -> Decision | None:
    return breaker.parked(controller, key, state.get(key), state, now)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_what_is_written_too_often_is_parked_until_a_minute_has_passed(kind: str) -> None:
    db = a_set(kind=kind)
    state, key, breaker = a_state(db), key_of_object(db), Breaker()
    assert asked(breaker, state, key, NOON) is None
    breaker.count("statefulset", key, MOST, NOON)
    assert asked(breaker, state, key, NOON + 1) is None
    breaker.count("statefulset", key, 1, NOON + 1)
    parked = asked(breaker, state, key, NOON + 2)
    assert parked is not None and parked.changes == ()
    assert parked.waiting_for.startswith(f"parked as a runaway: {MOST + 1} events in a minute for 3 objects")
    assert parked.requeue_at == NOON + WINDOW_MS + 1
    assert asked(breaker, state, key, parked.requeue_at) is None


def test_who_owns_more_may_write_more() -> None:
    db = a_set()
    pods = [a_pod(f"db-{ordinal}", owner=db) for ordinal in range(FEWEST_OBJECTS + 1)]
    state, key, breaker = a_state(db, *pods), key_of_object(db), Breaker()
    asked(breaker, state, key, NOON)
    breaker.count("statefulset", key, EVENTS_PER_OBJECT * len(pods), NOON)
    assert asked(breaker, state, key, NOON) is None
    breaker.count("statefulset", key, 1, NOON)
    assert asked(breaker, state, key, NOON) is not None


def test_pods_that_are_gone_by_now_count_for_a_minute() -> None:
    """All pods of a DaemonSet are replaced at once: while few are left, most of the events have been written."""
    db = a_set(kind="DaemonSet")
    pods = [a_pod(f"db-{number}", owner=db) for number in range(500)]
    key, breaker = key_of_object(db), Breaker()
    assert asked(breaker, a_state(db, *pods), key, NOON) is None
    breaker.count("statefulset", key, 501, NOON)
    assert asked(breaker, a_state(db), key, NOON + 1) is None
    breaker.count("statefulset", key, EVENTS_PER_OBJECT * 500, NOON + 2)
    assert asked(breaker, a_state(db), key, NOON + 3) is not None
    later = NOON + 2 + WINDOW_MS
    assert asked(breaker, a_state(db), key, later) is None
    breaker.count("statefulset", key, MOST + 1, later)
    assert asked(breaker, a_state(db), key, later) is not None


def test_a_new_spec_begins_at_zero() -> None:
    db = a_set()
    key, breaker = key_of_object(db), Breaker()
    asked(breaker, a_state(db), key, NOON)
    breaker.count("statefulset", key, MOST + 1, NOON)
    assert asked(breaker, a_state(db), key, NOON) is not None
    assert asked(breaker, a_state(with_metadata(db, generation=2)), key, NOON) is None


def test_neither_another_controller_of_the_key_nor_another_key_is_parked_with_it() -> None:
    db, web = a_set("db"), a_set("web")
    state, breaker = a_state(db, web), Breaker()
    for controller in ("statefulset", "other"):
        asked(breaker, state, key_of_object(db), NOON, controller)
    breaker.count("statefulset", key_of_object(db), MOST + 1, NOON)
    assert asked(breaker, state, key_of_object(db), NOON) is not None
    assert asked(breaker, state, key_of_object(db), NOON, "other") is None
    assert asked(breaker, state, key_of_object(web), NOON) is None


@pytest.mark.parametrize(
    "obj", [an_object("PodDisruptionBudget", "db", "default", "policy/v1", spec={}), a_node(), a_pod("db-0")]
)
def test_what_is_no_workload_is_never_parked(obj: Object) -> None:
    """A budget owns nothing, and its status moves with every pod it counts: a rollout of 50 is no runaway."""
    state, key, breaker = a_state(obj), key_of_object(obj), Breaker()
    for _ in range(50):
        assert asked(breaker, state, key, NOON, "disruption") is None
        breaker.count("disruption", key, MOST, NOON)
    assert asked(breaker, state, key, NOON, "disruption") is None


def test_a_workload_that_is_gone_is_forgotten() -> None:
    db = a_set()
    key, breaker = key_of_object(db), Breaker()
    asked(breaker, a_state(db), key, NOON)
    breaker.count("statefulset", key, MOST + 1, NOON)
    assert asked(breaker, a_state(), key, NOON) is None
    assert asked(breaker, a_state(db), key, NOON) is None
