"""What the questions of this package need of a log's memory, besides what events.history answers itself."""

from __future__ import annotations

from collections.abc import Sequence

from events.codec import decode
from events.history import History
from schemas.envelopes import Event
from schemas.errors import BadRequest
from schemas.objects import Key, Object
from schemas.positions import Position, stream_id_of
from services.history.causes import Dropped


class Past:
    """A log's memory, as services.history.causes reads it."""

    def __init__(self, history: History) -> None:
        self._history = history

    def changes_of(self, key: Key, limit: int, until: Position | None = None) -> list[Event]:
        """Return the last `limit` events of an object up to `until`, oldest first."""
        return self._history.changes_of(key, limit, until)

    def beginning_of(self, key: Key) -> Object | None:
        """Return an object as it was where its thinned part ends; None where it was not there, or all is kept."""
        return self._history.beginning_of(key)

    def batch_at(self, position: Position) -> Sequence[Event]:
        """Return the batch of the event at a position, as far as it is kept; empty where the event is not."""
        found = self._history.log.read(position - 1, 1, position)
        if not found:
            return ()
        event = decode(found[0])
        first = position - event.offset
        entries = self._history.log.read(first - 1, event.size, first + event.size - 1)
        return [decode(entry) for entry in entries]

    def dropped_at(self, position: Position) -> Dropped | None:
        """Return what retention policies have dropped of the events of a time; None: nothing."""
        rows = [each for each in self._history.thinned() if position <= each.until]
        if not rows:
            return None
        policies = dict.fromkeys(each.policy for each in rows)
        return Dropped(
            tuple(each.resource for each in rows), max(each.until for each in rows), tuple(policies)
        )

    def checked(self, position: Position, option: str) -> Position:
        """Return the end of the batch that a named position is in, itself where it is in none.

        Raises BadRequest where the log does not reach so far, or began later.
        """
        last = self._history.log.last()
        if position > last:
            raise BadRequest(
                f"{option}: {stream_id_of(position)} is beyond the log, which ends at {stream_id_of(last)}"
            )
        (first,) = self._history.log.read(0, 1)
        if position < first.position:
            raise BadRequest(
                f"{option}: {stream_id_of(position)} is before the log: it began at {stream_id_of(first.position)}"
            )
        batch = self.batch_at(position)
        return batch[-1].resource_version if batch else position
