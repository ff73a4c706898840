"""A census that has followed a state all along sees what one sees that looks for the first time."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from events.state import State
from schemas.objects import Key, Object, key_of_object
from services.scheduler.census import Census, ClusterView
from services.scheduler.controller import KEY
from tests.builders import a_controller, a_node, a_pod, a_volume

OWNERS = [a_controller(name) for name in ("web", "db")]


class Walk:
    """A state that changes by chance: nodes, pods and volumes come, change, move and go."""

    def __init__(self, seed: int) -> None:
        self.state = State()
        self._random = random.Random(seed)

    def step(self) -> None:
        self._random.choice(
            [self._node, self._node, self._pod, self._pod, self._pod, self._volume, self._remove]
        )()

    def put(self, obj: Object) -> None:
        key = key_of_object(obj)
        self.state.put(key, self.state.get(key), obj)

    def _node(self) -> None:
        name = f"n{self._random.randrange(6)}"
        host = self._random.choice([name, "n0", "elsewhere"])
        taints = [{"key": "a", "effect": self._random.choice(["NoSchedule", "PreferNoSchedule"])}]
        spec = self._random.choice([{}, {"unschedulable": True}, {"taints": taints}])
        self.put(a_node(name, labels={"kubernetes.io/hostname": host}, **spec))

    def _pod(self) -> None:
        node = self._random.choice(["", *(f"n{number}" for number in range(7))])
        phase = self._random.choice(["Pending", "Running", "Failed"])
        name = f"p{self._random.randrange(12)}"
        self.put(a_pod(name, node, self._random.choice(OWNERS), {"cpu": "100m"}, phase=phase))

    def _volume(self) -> None:
        host = f"n{self._random.randrange(6)}"
        self.put(a_volume(f"v{self._random.randrange(4)}", node=host))

    def _remove(self) -> None:
        if self.state.objects:
            key: Key = self._random.choice(sorted(self.state.objects))
            self.state.remove(key, self.state.objects[key])


def plain(view: ClusterView | None) -> object:
    """What a view says, nodes by their values and not by identity."""
    if view is None:
        return None
    nodes = [
        (each.name, each.free, each.load, dict(each.controllers), each.is_open, each.ports, each.hard_taints)
        for each in view.nodes
    ]
    return (
        nodes,
        {uid: dict(counts) for uid, counts in view.spread.items()},
        replace(view, nodes=(), spread={}),
    )


@pytest.mark.parametrize("seed", range(8))
def test_following_sees_what_looking_anew_sees(seed: int) -> None:
    walk, census, seen = Walk(seed), Census(), 0
    for number in range(250):
        walk.step()
        if number % 3 == 0:
            expected = plain(Census().view_of(walk.state, KEY))
            assert plain(census.view_of(walk.state, KEY)) == expected
            seen += expected is not None
    assert seen > 20


def test_another_state_is_looked_at_anew() -> None:
    census, first, second = Census(), Walk(1), Walk(2)
    for _ in range(60):
        first.step()
        second.step()
    for state in (first.state, second.state, first.state.copy()):
        assert plain(census.view_of(state, KEY)) == plain(Census().view_of(state, KEY))


def test_a_state_tells_where_something_has_changed_since_a_mark_and_nothing_else() -> None:
    walk = Walk(0)
    for name in ("n1", "n2", "n3"):
        walk.put(a_node(name))
    mark, moved = walk.state.moved_since(0)
    assert set(moved) == {"n1", "n2", "n3"}
    assert walk.state.moved_since(mark) == (mark, ())
    walk.put(a_pod("p", "n2"))
    later, moved = walk.state.moved_since(mark)
    assert moved == ("n2",) and later > mark
    walk.put(a_pod("p", "n3"))
    assert set(walk.state.moved_since(later)[1]) == {"n2", "n3"}
