"""Sets created, changed and deleted straight in the log, and what follows of it seen in a replica."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

from events.commit import Committer, Edges, Intent, Proposal
from events.log import Log
from events.memory import wall_clock
from schemas.changes import Change, Create, Replace
from schemas.deletion import deletion_of
from schemas.envelopes import Actor
from schemas.errors import NotFound, Unavailable
from schemas.objects import Key, Object
from schemas.positions import Position
from services.loadtest.watching import Watch

ACTOR = Actor("socket:loadtest", "socket", "user:loadtest")


class LogHand:
    """A services.loadtest.comparisons.Hand without the API. `patience` is how many seconds a wait may take."""

    def __init__(self, log: Log, watch: Watch, edges: Edges, patience: float) -> None:
        self._watch = watch
        self._patience = patience
        self._committer = Committer(log, watch.replica, self._catch_up, edges)

    def create(self, key: Key, obj: Object) -> None:
        self._watch.await_settled([key], more=True)
        self.commit(lambda: [Create(obj)])

    def change(self, key: Key, change: Callable[[Object], Object]) -> None:
        self._watch.await_settled([key], more=True)
        self.commit(lambda: [Replace(old := self._found(key), change(old))])

    def delete(self, key: Key) -> None:
        self._watch.await_gone([key], more=True)
        self.commit(lambda: [deletion_of(self._found(key), wall_clock())])

    def wait_settled(self, keys: list[Key], pods: int) -> None:  # noqa: ARG002 - told by the sets themselves
        self._wait(keys, "do not come to rest")

    def wait_gone(self, keys: list[Key]) -> None:
        self._wait(keys, "are not gone")

    def commit(self, changes: Callable[[], Sequence[Change]]) -> Position:
        """Commit changes at once; decided again where an object has moved."""
        intent = Intent(ACTOR, uuid.uuid4().hex)
        return self._committer.commit(lambda: Proposal(changes()), intent).appended.last

    def _found(self, key: Key) -> Object:
        found = self._watch.replica.get(key)
        if found is None:
            raise NotFound(f"{key} is not there")
        return found

    def _wait(self, keys: Sequence[Key], what: str) -> None:
        left = self._watch.wait(time.monotonic() + self._patience, lambda _left, _events: None)
        if left:
            raise Unavailable(
                f"of {len(keys)} sets {len(left)} {what} within {self._patience:.0f} s: {left[0]}"
            )

    def _catch_up(self, position: Position) -> None:
        if not self._watch.replica.wait_for(position, 10):
            raise Unavailable("the load test's own replica does not keep up with the log")
