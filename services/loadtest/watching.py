"""Follows the log of a measured cluster, and knows which sets are where a phase is to bring them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from events.log import Log
from events.replica import Applied, Replica
from events.state import State
from schemas.counts import counted
from schemas.errors import Unavailable
from schemas.kinds import DAEMON_SET, NODE, POD, STATEFUL_SET
from schemas.objects import Key, controller_of, key_of, uid_of
from schemas.taints import taints_of
from services.loadtest.sets import is_settled

_BY_KIND = {kind.kind: kind.resource for kind in (STATEFUL_SET, DAEMON_SET)}
_SETS = tuple(f"{resource}/" for resource in _BY_KIND.values())
_PODS = f"{POD.resource}/"


NODES_PATIENCE = 60.0
"""Seconds that the nodes have to take pods, before anything is measured."""


class Settled(NamedTuple):
    """A set that came to rest: when it was to be changed, and when it had (time.monotonic)."""

    begun: float
    ended: float


class Watch:
    """A live replica. `events` counts what was folded since the start, `settled` tells of each set that was awaited.

    With `glance` it looks at the log only while somebody waits, every so many seconds, as who polls does: a follower
    takes as much of the two cores that it measures as the writer beside it.
    """

    def __init__(self, log: Log, glance: float | None = None) -> None:
        self.events = 0
        self.settled: list[Settled] = []
        self.replica = Replica(log, on_applied=self._note, every=glance)
        self._glance = glance
        self._moved = threading.Condition()
        self._uids: dict[Key, str] = {}
        self._awaited: dict[Key, float] = {}
        self._is_there: Callable[[State, Key], bool] = self._is_settled
        self.replica.load()
        if glance is None:
            self.replica.start()

    def stop(self) -> None:
        """Follow no more."""
        self.replica.stop()

    def wait_for_nodes(self, count: int) -> None:
        """Wait until so many nodes take pods: who registers over the API is tainted until a controller has looked.

        Raises Unavailable.
        """
        deadline = time.monotonic() + NODES_PATIENCE
        while sum(not taints_of(node) for node in self.replica.list(NODE.resource)) < count:
            if time.monotonic() > deadline:
                raise Unavailable(f"of {counted(count, 'node')} not all take pods")
            time.sleep(0.05)
            self._look()

    def await_settled(self, keys: Iterable[Key], more: bool = False) -> None:
        """From now on `wait` is for these sets to have come to rest. Call it before they are changed.

        `more`: besides those that are not yet where they were to be.
        """
        self._await(keys, self._is_settled, more)

    def await_gone(self, keys: Iterable[Key], more: bool = False) -> None:
        """From now on `wait` is for these sets and their pods to be gone. Call it before they are deleted."""
        self._await(keys, self._is_gone, more)

    @property
    def waiting(self) -> int:
        """How many sets are not yet where they are to be."""
        return len(self._awaited)

    def wait(
        self, deadline: float, progress: Callable[[int, int], None], every: float = 0.5
    ) -> Sequence[Key]:
        """Wait until all are there, or `deadline` (time.monotonic); return those that are not.

        `progress` is told how many sets still are not, and the events so far, every `every` seconds.
        """
        if self._glance is not None:
            every = self._glance
        while True:
            self._look()
            with self._moved:
                self._moved.wait_for(
                    lambda: not self._awaited, max(0.0, min(every, deadline - time.monotonic()))
                )
                left = sorted(self._awaited)
            progress(len(left), self.events)
            with self.replica.reading():
                pass
            if not left or time.monotonic() >= deadline:
                return left

    def _look(self) -> None:
        if self._glance is not None:
            self.replica.catch_up()

    def _await(self, keys: Iterable[Key], is_there: Callable[[State, Key], bool], more: bool) -> None:
        with self._moved:
            now = time.monotonic()
            before = self._awaited if more else {}
            self._is_there, self._awaited = is_there, {**dict.fromkeys(keys, now), **before}

    def _is_settled(self, state: State, key: Key) -> bool:
        found = state.get(key)
        return found is not None and is_settled(found)

    def _is_gone(self, state: State, key: Key) -> bool:
        return state.get(key) is None and not state.count_owned(self._uids.get(key, ""))

    def _note(self, applied: Sequence[Applied]) -> None:
        with self._moved, self.replica.reading() as state:
            self.events += len(applied)
            touched = {key for each in applied for key in self._set_of(each)}
            now = time.monotonic()
            for key in touched & self._awaited.keys():
                if self._is_there(state, key):
                    self.settled.append(Settled(self._awaited.pop(key), now))
            if not self._awaited:
                self._moved.notify_all()

    def _set_of(self, applied: Applied) -> list[Key]:
        key, obj = applied.event.key, applied.new or applied.old
        if key.startswith(_SETS) and obj is not None:
            self._uids[key] = uid_of(obj)
            return [key]
        owner = controller_of(obj) if obj is not None and key.startswith(_PODS) else None
        if obj is None or owner is None or owner["kind"] not in _BY_KIND:
            return []
        return [key_of(_BY_KIND[owner["kind"]], obj["metadata"]["namespace"], owner["name"])]
