"""The event envelope: what one entry of the log says.

docs/event.schema.json is its JSON Schema; docs/architecture.md explains each field once more for other languages.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.objects import Key, Object
from schemas.positions import Position
from schemas.times import Milliseconds

SCHEMA_VERSION = 1
"""The version this program writes."""
READER_VERSION = 1
"""The newest `min_reader` this program may fold."""

CREATE = "create"
UPDATE = "update"
REPLACE = "replace"
DELETE = "delete"
GENESIS = "genesis"
EPOCH = "epoch"

LOG_KEY: Key = "chronoset/log"
"""The key of events that concern the log itself: its genesis and its epochs."""


class Actor(NamedTuple):
    """Who wrote: `controller:statefulset`, `node:n1`, `socket:0@host`; how that is known; what it calls itself."""

    name: str
    authenticated: str = "none"
    """`none`, `socket`, `token` or `cert`."""
    claim: str = ""

    def __str__(self) -> str:
        return f"{self.claim} ({self.name})" if self.claim else self.name


class Origin(NamedTuple):
    """Where a write came from, as the HTTP API saw it: the user's groups, the peer's address, its User-Agent."""

    groups: tuple[str, ...] = ()
    address: str = ""
    agent: str = ""


NOWHERE = Origin()
"""What is known of a write that came over no wire."""


class Event(NamedTuple):
    """A fact in the log. A tuple, not a dataclass: the fold makes 50,000 of them a second."""

    position: Position
    key: Key
    type: str
    after: Position
    """The position of the entry before this one."""
    version: int
    min_reader: int
    op: str
    """create | update | replace | delete | genesis | epoch"""
    uid: str
    body: Object | None
    """The whole object (create, replace), a merge patch (update), or nothing (delete)."""
    previous: Position
    """The object's resourceVersion before this event; 0 where it did not exist."""
    at: Milliseconds
    """The writer's wall clock."""
    actor: Actor
    cause: Position
    """The position that led to this event; 0 where a person's wish is the beginning."""
    command: str
    offset: int
    """Place in the batch, from 0."""
    size: int
    guard: str
    """The head that this batch advanced besides its objects' own; empty where none."""
    derivation: int
    """The version of the rule that derived this event from another of its batch; 0 where it was not derived."""
    origin: Origin = NOWHERE

    @property
    def resource_version(self) -> Position:
        """The position of the last entry of this event's batch: the version all objects of the batch carry."""
        return self.position + self.size - 1 - self.offset
