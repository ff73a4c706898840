"""The scenarios by which Kubernetes was measured on such a machine, and ours beside its numbers.

Kubernetes 1.36 (etcd, kube-apiserver, controller-manager, scheduler) on two cores, 500 hollow nodes whose pods are
Ready as soon as they are bound; each figure is from the first request until the status says that all is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from schemas.objects import Key, Object
from services.loadtest.sets import (
    a_daemonset,
    a_set,
    key_of_daemons,
    key_of_set,
    with_image,
    with_max_unavailable,
)

ORDERED, PARALLEL, NODES = 50, 500, 500
SMALL_SETS, SMALL_REPLICAS = 200, 2
MEMORY = "memory of the whole control plane after it"


class Hand(Protocol):
    """How the sets are reached: straight in the log, or over the API. Each raises Unavailable when time is over."""

    def create(self, key: Key, obj: Object) -> None:
        """Create a set, by a request of its own."""

    def change(self, key: Key, change: Callable[[Object], Object]) -> None:
        """Change a set by what `change` makes of it."""

    def delete(self, key: Key) -> None:
        """Delete a set with its pods."""

    def wait_settled(self, keys: list[Key], pods: int) -> None:
        """Wait until these sets, of so many pods each, have come to rest."""

    def wait_gone(self, keys: list[Key]) -> None:
        """Wait until these sets and their pods are gone."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the comparison: Kubernetes with its client limits off and as it comes, what ours must be and aims at.

    Numbers are in `unit`; a measured value at most `must` passes.
    """

    name: str
    unit: str
    unlimited: str
    default: str
    must: float
    aim: float


_POD, _SET = "ms/pod", "ms/set"
ROWS = (
    Row("StatefulSet OrderedReady, 50 pods, create", _POD, "31-42", "106", 14, 7),
    Row("the same, rolling update", _POD, "46-65", "202", 20, 10),
    Row("StatefulSet Parallel, 500 pods, create", _POD, "7.7-8.8", "48", 3, 1.6),
    Row("delete of it with its pods", _POD, "3.8-5.3", "49", 1.8, 0.9),
    Row("DaemonSet on 500 nodes, create", _POD, "7.0", "49", 3, 1.4),
    Row("its update, maxUnavailable 100 %", _POD, "11.4", "101", 4.5, 2.4),
    Row("its update, maxUnavailable 10 %", _POD, "12.6", "102", 5, 2.4),
    Row("200 StatefulSets of 2 pods at once, accepted", _SET, "10.4", "", 3, 2),
    Row("200 StatefulSets of 2 pods at once, all Ready", _POD, "19.8", "177", 8, 4),
    Row(MEMORY, "MB PSS", "938", "730", 450, 300),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a scenario came to: `count` pods or sets, in so many seconds."""

    row: Row
    count: int
    seconds: float

    @property
    def value(self) -> float:
        """The measured number, in the row's unit."""
        return 1000 * self.seconds / self.count


def scenarios(hand: Hand) -> Iterator[Measured]:
    """Play the scenarios one after another on a cluster of NODES nodes; each leaves nothing behind."""
    yield from _ordered(hand)
    yield from _parallel(hand)
    yield from _daemons(hand)
    yield from _small(hand)


def _ordered(hand: Hand) -> Iterator[Measured]:
    key = key_of_set("ordered")
    create, update = ROWS[0], ROWS[1]
    yield _settled(
        create, hand, key, ORDERED, lambda: hand.create(key, a_set("ordered", ORDERED, "OrderedReady"))
    )
    yield _settled(update, hand, key, ORDERED, _updated(hand, key, "app:2"))
    _removed(hand, [key])


def _parallel(hand: Hand) -> Iterator[Measured]:
    key = key_of_set("parallel")
    create, delete = ROWS[2], ROWS[3]
    yield _settled(
        create, hand, key, PARALLEL, lambda: hand.create(key, a_set("parallel", PARALLEL, "Parallel"))
    )
    yield _timed(delete, PARALLEL, lambda: hand.delete(key), lambda: hand.wait_gone([key]))


def _daemons(hand: Hand) -> Iterator[Measured]:
    key = key_of_daemons("everywhere")
    create, at_once, by_tenths = ROWS[4], ROWS[5], ROWS[6]
    yield _settled(create, hand, key, NODES, lambda: hand.create(key, a_daemonset("everywhere", "100%")))
    yield _settled(at_once, hand, key, NODES, _updated(hand, key, "app:2"))
    hand.change(key, lambda old: with_max_unavailable(old, "10%"))
    hand.wait_settled([key], NODES)
    yield _settled(by_tenths, hand, key, NODES, _updated(hand, key, "app:3"))
    _removed(hand, [key])


def _small(hand: Hand) -> Iterator[Measured]:
    accepted, ready = ROWS[7], ROWS[8]
    names = [f"small-{number}" for number in range(SMALL_SETS)]
    keys = [key_of_set(name) for name in names]
    begun = time.monotonic()
    for key, name in zip(keys, names, strict=True):
        hand.create(key, a_set(name, SMALL_REPLICAS, "OrderedReady"))
    yield Measured(accepted, SMALL_SETS, time.monotonic() - begun)
    hand.wait_settled(keys, SMALL_REPLICAS)
    yield Measured(ready, SMALL_SETS * SMALL_REPLICAS, time.monotonic() - begun)
    _removed(hand, keys)


def _removed(hand: Hand, keys: list[Key]) -> None:
    for key in keys:
        hand.delete(key)
    hand.wait_gone(keys)


def _updated(hand: Hand, key: Key, image: str) -> Callable[[], None]:
    return lambda: hand.change(key, lambda old: with_image(old, image))


def _settled(row: Row, hand: Hand, key: Key, pods: int, begin: Callable[[], None]) -> Measured:
    """Return how long it takes until a set has come to rest after what `begin` does."""
    return _timed(row, pods, begin, lambda: hand.wait_settled([key], pods))


def _timed(row: Row, count: int, begin: Callable[[], None], wait: Callable[[], None]) -> Measured:
    begun = time.monotonic()
    begin()
    wait()
    return Measured(row, count, time.monotonic() - begun)
