"""Generations: what is checked before anything is written."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from schemas.errors import LostHistory, Unavailable
from services.projections.generations import Generations


@pytest.fixture
def generations(client: redis.Redis) -> Generations:
    """A current generation at position 10 of log `a`."""
    generations = Generations(client, "demo")
    first = generations.begin("a")
    assert generations.apply(first, 10, 1, [("HSET", "objects:core/nodes", "n1", b"{}")], building=True)
    assert generations.switch(first.generation, 10)
    return generations


def test_a_build_behind_the_current_generation_is_not_switched_to(generations: Generations):
    second = generations.begin("a")
    assert generations.apply(second, 9, 0, [], building=True)
    assert not generations.switch(second.generation, 10)
    assert generations.apply(replace(second, position=9), 10, 0, [], building=True)
    assert generations.switch(second.generation, 10)
    current = generations.current()
    assert current is not None and (current.generation, current.position) == ("2", 10)


def test_a_current_position_that_the_log_has_lost_does_not_hold_up_a_build(generations: Generations):
    second = generations.begin("a")
    assert generations.apply(second, 9, 0, [], building=True)
    assert generations.switch(second.generation, 9)


def test_a_build_that_has_expired_is_not_switched_to(generations: Generations, client: redis.Redis):
    second = generations.begin("a")
    client.delete("{demo}:views:2:building")
    with pytest.raises(Unavailable, match="stood still"):
        generations.switch(second.generation, 0)


def test_nothing_is_written_from_another_checkpoint(generations: Generations, client: redis.Redis):
    current = generations.current()
    assert current is not None
    for other in (replace(current, position=9), replace(current, generation="7")):
        assert not generations.apply(
            other, 20, 1, [("HSET", "objects:core/nodes", "n2", b"{}")], building=False
        )
    assert generations.current() == current
    assert client.hkeys("{demo}:views:1:objects:core/nodes") == [b"n1"]


def test_a_state_read_while_another_projector_wrote_is_not_used(generations: Generations):
    current = generations.current()
    assert current is not None
    assert generations.state_at(replace(current, position=9)) is None


def test_a_command_that_the_keys_do_not_allow_asks_for_a_rebuild(generations: Generations):
    current = generations.current()
    assert current is not None
    with pytest.raises(LostHistory, match="WRONGTYPE"):
        generations.apply(current, 11, 0, [("LPUSH", "objects:core/nodes", "x")], building=False)
    assert generations.current() == current
