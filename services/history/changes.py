"""What an event, or the time between two moments, did to an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from events.fold import folded
from schemas.envelopes import CREATE, DELETE, EPOCH, GENESIS, UPDATE, Event
from schemas.objects import Object, uid_of
from services.history.fields import FieldChange, field_changes

CREATED, DELETED, CHANGED, REPLACED = "created", "deleted", "changed", "replaced"


@dataclass(frozen=True, slots=True)
class Change:
    """One event of an object, and what the object was before and after it (None: it was not there)."""

    event: Event
    before: Object | None
    after: Object | None

    @property
    def fields(self) -> list[FieldChange]:
        """The fields that the event changed."""
        return field_changes(self.before, self.after)


def changes_of(
    events: Iterable[Event], beginning: Callable[[], Object | None] = lambda: None
) -> Iterator[Change]:
    """Yield the changes of one object from all its events that are kept; also of those that had its name before it.

    `beginning` returns the object before the first of them, where others were before that and are kept no more. Raises
    LostHistory where an event does not say what the object was after it.
    """
    before: Object | None = None
    is_first = True
    for event in events:
        if event.op in (GENESIS, EPOCH):
            continue
        if is_first and event.previous:
            before = beginning()
        is_first = False
        after = None if event.op == DELETE else folded(event, None if event.op == CREATE else before)
        yield Change(event, before, after)
        before = after


def what_happened(before: Object | None, after: Object | None) -> str:
    """Return created, deleted, changed, or replaced (by another of the same name)."""
    if before is None:
        return CREATED
    if after is None:
        return DELETED
    return CHANGED if uid_of(before) == uid_of(after) else REPLACED


def is_status_only(event: Event) -> bool:
    """Say whether an event changed nothing that anybody had wished for, only what was found to be so."""
    if event.op != UPDATE or not event.body:
        return False
    return set(event.body) <= {"status", "metadata"} and not set(event.body.get("metadata") or ()) - {
        "generation"
    }
