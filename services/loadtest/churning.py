"""Steady change: rollouts, scaling and deaths of nodes at fixed rates, whether the cluster keeps up or not."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from events.state import State
from schemas.changes import Change, Create, Delete
from schemas.kinds import NODE, STATEFUL_SET
from schemas.objects import Key, Object, key_of, name_of
from services.loadtest.hands import LogHand
from services.loadtest.profiles import Churn
from services.loadtest.sets import with_image, with_replicas
from services.loadtest.statistics import Moment
from services.loadtest.watching import Watch

BACK_AFTER = 1.0
"""Seconds after which a node that died is there again, empty."""
_SEED = 20_262


class Due(NamedTuple):
    """Something to do, so many seconds after the beginning."""

    at: float
    what: str


def schedule(churn: Churn) -> list[Due]:
    """Return what is to be done when, evenly spread, in order."""
    rates = {"roll": churn.rollouts, "scale": churn.scales, "node": churn.node_deaths}
    found = [
        Due((number + 0.5) / rate, what)
        for what, rate in rates.items()
        if rate
        for number in range(int(rate * churn.seconds))
    ]
    return sorted(found)


class Churner:
    """Does what a schedule says to the sets of a cluster.

    `writes` tells when each change was made (time.monotonic), and how many milliseconds it took to be accepted.
    """

    def __init__(self, hand: LogHand, watch: Watch, keys: Sequence[Key], replicas: int) -> None:
        self.writes: list[Moment] = []
        self._hand = hand
        self._watch = watch
        self._all = list(keys)
        self._sets = [key for key in keys if key.startswith(f"{STATEFUL_SET.resource}/")]
        self._replicas = replicas
        self._random = random.Random(_SEED)
        self._images = 10
        self._dead: list[tuple[float, Object]] = []

    def play(self, churn: Churn, tell: Callable[[], None]) -> None:
        """Carry out the schedule of a churn, then bring the nodes back. `tell` is called now and then."""
        begun = time.monotonic()
        for due in schedule(churn):
            while (left := begun + due.at - time.monotonic()) > 0:
                time.sleep(min(left, 0.2))
                tell()
            self._bring_back(time.monotonic())
            self._timed(due.what)
        time.sleep(max(0.0, begun + churn.seconds - time.monotonic()))
        self._bring_back(float("inf"))

    def _timed(self, what: str) -> None:
        do = {"roll": self._roll, "scale": self._scale, "node": self._kill_node}[what]
        started = time.monotonic()
        if do():
            self.writes.append((started, 1000 * (time.monotonic() - started)))

    def _roll(self) -> bool:
        self._images += 1
        image = f"app:{self._images}"
        self._hand.change(self._random.choice(self._all), lambda old: with_image(old, image))
        return True

    def _scale(self) -> bool:
        if not self._sets:
            return False
        lowest, highest = max(1, self._replicas // 2), self._replicas + max(1, self._replicas // 2)
        wanted = self._random.randint(lowest, highest)
        self._hand.change(self._random.choice(self._sets), lambda old: with_replicas(old, wanted))
        return True

    def _kill_node(self) -> bool:
        """Take a node and everything on it away at once: a machine that has died for good."""
        nodes = self._watch.replica.list(NODE.resource)
        if len(nodes) < 2:
            return False
        name = name_of(self._random.choice(sorted(nodes, key=name_of)))

        def changes() -> list[Change]:
            with self._watch.replica.reading() as state:
                return [Delete(each) for each in _with_node(state, name)]

        node = self._watch.replica.get(key_of(NODE.resource, "", name))
        self._hand.commit(changes)
        assert node is not None
        self._dead.append((time.monotonic() + BACK_AFTER, node))
        return True

    def _bring_back(self, now: float) -> None:
        back = [node for at, node in self._dead if at <= now]
        self._dead = [each for each in self._dead if each[0] > now]
        for node in back:
            kept = {name: value for name, value in node["metadata"].items() if name in ("name", "labels")}
            self._hand.commit(partial(list, [Create({**node, "metadata": kept})]))


def _with_node(state: State, name: str) -> Iterator[Object]:
    node = state.get(key_of(NODE.resource, "", name))
    if node is not None:
        yield node
        yield from state.pods_on(name)
