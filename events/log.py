"""The log as a small protocol with two complete implementations: events.memory and events.redis_log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from events.codec import Entry
from events.state import Facts
from schemas.errors import ChronosetError
from schemas.objects import Key
from schemas.positions import Position

MAX_EVENTS = 1000
"""Events in one batch."""
MAX_BYTES = 4 * 1024 * 1024
"""Bytes of data in one batch."""
MAX_CLOCK_SKEW_MS = 60_000


class Draft(NamedTuple):
    """An entry before the log has given it a position."""

    key: Key
    type: str
    data: bytes
    ends: bool
    """True where the object does not exist afterwards."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one append asks for: all of it happens, or none.

    expected      head (position of the batch that last moved it; 0: must not exist) of each object or guard named
    guards        the heads to advance besides those of the drafts' objects
    command       the id under which the result is remembered for `remember` seconds
    digest        of the command's content: the same id with another digest is refused
    clock         the writer's wall clock in milliseconds
    """

    drafts: tuple[Draft, ...]
    expected: Mapping[str, Position]
    guards: tuple[str, ...]
    command: str
    digest: str
    clock: int
    remember: int = 86_400


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a batch stands. `count` 0: there was nothing to do, and `last` is the log's end at that time."""

    first: Position
    last: Position
    count: int
    repeated: bool
    """True where the command had been carried out before and this is its first result."""


class Remembered(NamedTuple):
    """The result of an earlier command."""

    digest: str
    result: Appended


class Gap(NamedTuple):
    """What a stretch of a log lacks: of these resources it has no events up to `until`, only states at some moments.

    `before` and `behind` are the moments next to the stretch's end: the last one up to there (0: none), and the first
    one later.
    """

    resources: frozenset[str]
    until: Position
    before: Position
    behind: Position


def attempted(append: Callable[[], Appended]) -> Appended | ChronosetError:
    """Return what an append comes to, its error as a value (Log.append_all)."""
    try:
        return append()
    except ChronosetError as error:
        return error


class Log(Protocol):
    """An append-only sequence of entries with optimistic concurrency by heads.

    Every method raises schemas.errors.Unavailable where the server cannot be reached within the log's patience.
    """

    cluster: str

    def create(self) -> str:
        """Create the log with its genesis entry and return its random id. Raises AlreadyExists."""

    def log_id(self) -> str:
        """Return the id that `create` gave. Raises NotFound where there is no log."""

    def append(self, batch: Batch) -> Appended:
        """Append a batch atomically.

        Raises Conflict (a head has moved), CommandReused, LostHistory (another log than this object knew),
        Forbidden (the log refuses writes for now; the message says why), BadRequest (clock skew, limits).
        """

    def append_all(self, batches: Sequence[Batch]) -> list[Appended | ChronosetError]:
        """Append several batches, each by itself, in one round trip; what `append` would raise is in its place."""

    def command(self, command: str) -> Remembered | None:
        """Return what an earlier command came to, while it is remembered."""

    def set_read_only(self, reason: str) -> None:
        """Refuse every append from now on, with `reason`; an empty one lets them in again. Raises NotFound."""

    def last(self) -> Position:
        """Return the position of the last entry. Raises NotFound where there is no log."""

    def heads(self, keys: list[str]) -> dict[str, Position]:
        """Return the heads of the keys or guards; 0 for those that do not exist."""

    def read(self, after: Position, limit: int, until: Position | None = None) -> list[Entry]:
        """Return at most `limit` entries behind `after`, in order, at once; none beyond `until`."""

    def follow(self, after: Position, limit: int, timeout: float) -> list[Entry]:
        """As `read`, but wait up to `timeout` seconds for the first entry."""

    def snapshot(self, until: Position | None = None) -> Facts | None:
        """Return the newest state that was kept, of a position up to `until`, to begin a fold with; else None.

        It has no indexes yet: `State.of` makes them.
        """

    def gap(self, after: Position, until: Position) -> Gap | None:
        """Return what of the events behind `after` up to `until` a retention policy has dropped; None: nothing."""

    def interrupt(self) -> None:
        """Have a `follow` that waits in another thread return, or raise Unavailable, at once: its user ends."""

    def close(self) -> None:
        """Let go of the connections."""


class Sealed(NamedTuple):
    """What a log's server knows of the archive: the manifest that holds (empty: none yet), and where it ends."""

    manifest: str = ""
    end: Position = 0


class Sealable(Log, Protocol):
    """A log whose beginning one historian at a time may move into an archive.

    Who takes over gets a new epoch. With an older one nothing can be changed any more: a historian that was paused and
    outrun neither takes back a manifest nor trims.
    """

    def sealed(self) -> Sealed:
        """Return which manifest holds. Raises NotFound where there is no log."""

    def take_over(self) -> int:
        """Return a new epoch, greater than every one before. Raises NotFound where there is no log."""

    def switch(self, epoch: int, sealed: Sealed) -> bool:
        """Let another manifest hold, that ends no earlier; False where the epoch is not the last."""

    def trim(self, epoch: int, until: Position) -> bool:
        """Drop the entries up to `until`, a sealed end of a batch; False where the epoch is not the last.

        Raises BadRequest where they are not sealed, or nothing would be left.
        """

    def held(self) -> tuple[Position, int]:
        """Return the position of the first entry that is still here, and how many are."""
