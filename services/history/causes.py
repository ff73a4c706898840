"""Why something is as it is: the chain of events from there back to the command of a person.

Every event of a controller or a node names the one that made it necessary. The chain follows these, and leaves out what
explains nothing: statuses, and the turns of a set's other pods (each of which had the same cause).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from schemas.envelopes import DELETE, Event
from schemas.kinds import POD
from schemas.objects import Key, Object, split_key, version_of
from schemas.positions import Position
from services.history.changes import Change, changes_of, is_status_only

MOST_HOPS = 20_000
"""Of one chain; a set of 5,000 pods that are updated one after the other takes some four for each."""
_BOUND = "PodBound"


class Dropped(NamedTuple):
    """Of which resources events of a time are kept no more, up to where that reaches, and which policies said so.

    A policy is the position of its event.
    """

    resources: tuple[str, ...]
    until: Position
    policies: tuple[Position, ...]


class Memory(Protocol):
    """What a chain of causes is read from."""

    def changes_of(self, key: Key, limit: int, until: Position | None = None) -> list[Event]:
        """Return the last `limit` events of an object up to `until`, oldest first."""

    def beginning_of(self, key: Key) -> Object | None:
        """Return an object as it was where its thinned part ends; None where it was not there, or all is kept."""

    def batch_at(self, position: Position) -> Sequence[Event]:
        """Return the batch of the event at a position, as far as it is kept; empty where the event is not."""

    def dropped_at(self, position: Position) -> Dropped | None:
        """Return what retention policies have dropped of the events of a time; None: nothing."""


@dataclass(frozen=True, slots=True)
class Link:
    """One event of a chain. `turns` counts the events of other pods left out between this one and its cause."""

    event: Event
    change: Change | None = None
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """Why an object is as it is (`obj`), or is gone (None), newest event first; `whole`: back to where it began.

    Where it is not whole, `dropped` says what is kept no more of the time in which it breaks off; None: all is kept.
    """

    key: Key
    obj: Object | None
    links: tuple[Link, ...]
    whole: bool
    dropped: Dropped | None = None


def chain_of(memory: Memory, key: Key, until: Position) -> Chain | None:
    """Return why an object is as it is at a position; None where no event is kept of one until then, and no state."""
    events = memory.changes_of(key, 10**9, until)
    if not events:
        return _forgotten(memory, key, until)
    changes = list(changes_of(events, lambda: memory.beginning_of(key)))
    own = {change.event.position: change for change in changes}
    hops = [change.event for change in _starts(changes)]
    if not hops:
        return Chain(key, changes[-1].after, (), False, memory.dropped_at(events[0].previous))
    missing = _followed(memory, hops[-1], hops)
    links = _told(key, hops, own, hops[-1])
    dropped = memory.dropped_at(missing) if missing else None
    return Chain(key, changes[-1].after, tuple(_with_changes(memory, links)), not missing, dropped)


def _forgotten(memory: Memory, key: Key, until: Position) -> Chain | None:
    """Return the chain of an object of which only the state is kept at which its events begin, and none since."""
    obj = memory.beginning_of(key)
    dropped = memory.dropped_at(version_of(obj)) if obj else None
    return Chain(key, obj, (), False, dropped) if dropped and dropped.until <= until else None


def cause_of(memory: Memory, event: Event) -> Event | None:
    """Return the event that led to another one, of its own object where the batch that is named holds one.

    Objects carry the version of their batch's last event, and so do causes that were taken from objects. What a node
    reports of an object without naming a cause came of what it was told of it. That a pod was bound came of its own
    wish for a node, also where what made it possible at last was a node that joined.
    """
    cause = cause_position(event)
    if not cause:
        return None
    batch = memory.batch_at(cause)
    named = next((each for each in batch if each.position == cause), None)
    if named is None or event.position <= named.resource_version or named.offset < named.size - 1:
        return named
    return next((each for each in batch if each.key == event.key), named)


def cause_position(event: Event) -> Position:
    """Return where the event is that led to another one; 0 where none did."""
    own = event.type == _BOUND or (not event.cause and event.actor.name.startswith("node:"))
    return event.previous if own else event.cause


def _starts(changes: Sequence[Change]) -> list[Change]:
    """Return the object's own events that matter for what it is now, newest first; the last leads on.

    Of a pod that runs: that it was bound, and that it was created. Of what is gone, or any other object: the last event
    that was more than a status, or else the last. None where these are kept no more.
    """
    last = changes[-1]
    if last.event.op == DELETE:
        return [last]
    born = next((at for at in range(len(changes) - 1, -1, -1) if changes[at].before is None), 0)
    present = changes[born:]
    is_begun = present[0].before is None
    if split_key(last.event.key)[0] == POD.resource:
        leaving = [each for each in present if each.event.type == "PodDeletionRequested"][-1:]
        if leaving:
            return leaving
        bound = [each for each in present if each.event.type == _BOUND][-1:]
        return [*bound, present[0]] if is_begun else bound
    telling = [each for each in present if not is_status_only(each.event)]
    return telling[-1:] or ([last] if is_begun else [])


def _followed(memory: Memory, event: Event, hops: list[Event]) -> Position:
    """Follow causes to the beginning, adding to `hops`; return where the event is that cannot be found, 0: all were."""
    for _ in range(MOST_HOPS):
        cause = cause_of(memory, event)
        if cause is None:
            return cause_position(event)
        hops.append(cause)
        event = cause
    return event.position


def _told(key: Key, hops: Sequence[Event], own: dict[Position, Change], root: Event) -> list[Link]:
    """Return the links that explain something; what is left out of other pods is counted."""
    links: list[Link] = []
    for event in hops:
        is_other_pod = (
            event.key != key and split_key(event.key)[0] == POD.resource if _has_kind(event) else False
        )
        if event is root or not (is_other_pod or is_status_only(event)):
            links.append(Link(event, own.get(event.position)))
        elif is_other_pod and not is_status_only(event) and links:
            links[-1] = Link(links[-1].event, links[-1].change, links[-1].turns + 1)
    return links


def _with_changes(memory: Memory, links: Sequence[Link]) -> list[Link]:
    """Give the last link, the wish that began it all, what it changed of its object."""
    if not links or links[-1].change is not None or not _has_kind(links[-1].event):
        return list(links)
    root = links[-1].event
    events = memory.changes_of(root.key, 10**9, root.position)
    changes = list(changes_of(events, lambda: memory.beginning_of(root.key)))
    return [*links[:-1], Link(root, changes[-1] if changes else None, links[-1].turns)]


def _has_kind(event: Event) -> bool:
    return event.key.count("/") >= 2
