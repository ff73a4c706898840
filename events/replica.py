"""A replica: a State, and a thread that follows the log.

Batches are applied whole and under the replica's lock; whoever decides on the state holds the same lock, for at
most some 25 ms. A gap or an event that does not fold ends the replica: it keeps what it has, says what is wrong
(`failure`) and moves no further.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from events.codec import Entry, decode
from events.fold import apply, whole_batches
from events.log import Log
from events.state import Facts, Objects, State
from schemas.envelopes import Event
from schemas.errors import ChronosetError, LostHistory, NotFound, Unavailable
from schemas.objects import Key, Object
from schemas.positions import Position, stream_id_of

CHUNK = 1000
"""Entries in one read: a whole batch always fits."""
BLOCK_SECONDS = 2.0
BUSY_PAUSE = 0.002
"""Seconds between two reads of a busy tail: waking costs more than reading."""
BUSY_READS = 8
"""Wakes in `BUSY_WINDOW` seconds from which a tail counts as busy."""
BUSY_WINDOW = 0.02
REACH_PAUSE = 0.002
COLLECT_EVERY, COLLECT_AFTER = 5.0, 5_000
"""Seconds between two looks of the cyclic garbage collector, which is off otherwise, and new objects after which a
follower does not wait for them: a look stops the process for some 300 ns for each."""


class Applied(NamedTuple):
    """One event as it was folded, with its object before and after."""

    event: Event
    old: Object | None
    new: Object | None


class _Held:
    """A replica's state while nobody moves it; made once, since it is entered a dozen times for each request."""

    __slots__ = ("_replica",)

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def __enter__(self) -> State:
        replica = self._replica
        replica._moved.acquire()
        if replica.failure:
            replica._moved.release()
            raise replica.failure
        return replica._state

    def __exit__(self, *_: object) -> None:
        self._replica._moved.release()


class Replica:
    """Follows a log. `on_applied` is called after each chunk, outside the lock, by the thread that has read it.

    `pause` seconds pass between two reads, so that several events are one wake; readers see them that much later.
    With `every` it is a replica at leisure: it reads every so many seconds, and whenever somebody asks it to
    `catch_up`. That is for those who look at the state only now and then: a wake at every event costs more.
    """

    def __init__(
        self,
        log: Log,
        state: Facts | None = None,
        on_applied: Callable[[Sequence[Applied]], None] | None = None,
        every: float | None = None,
        pause: float = 0.0,
    ) -> None:
        self.failure: ChronosetError | None = None
        self.unreachable = ""
        self.wakes = 0
        self._log = log
        self._state = State.of(state or Facts())
        self._on_applied = on_applied
        self._every = every
        self._pause = pause
        self._pending: list[Event] = []
        self._being_read = threading.Lock()
        self._moved = threading.Condition(threading.RLock())
        self._held = _Held(self)
        self._stopping = threading.Event()
        follow = self._follow if every is None else self._follow_at_leisure
        self._thread = threading.Thread(target=follow, name="replica", daemon=True)

    @property
    def position(self) -> Position:
        return self._state.position

    @property
    def log_id(self) -> str:
        """The id of the log that was folded; empty before its genesis was."""
        return self._state.log_id

    def reading(self) -> AbstractContextManager[State]:
        """Hold the state still. Raises its failure where the replica has stopped."""
        return self._held

    def get(self, key: Key) -> Object | None:
        """Return the object under `key` as of now, or None (events.commit.Reader)."""
        with self.reading() as state:
            return state.get(key)

    def list(self, resource: str, namespace: str = "") -> Objects:
        """Return the objects of a resource as of now (events.commit.Reader)."""
        with self.reading() as state:
            return state.list(resource, namespace)

    def related(self, resource: str, namespace: str, uid: str) -> Objects:
        """Return what an object owns, or may adopt, as of now (events.commit.Indexed)."""
        with self.reading() as state:
            return state.related(resource, namespace, uid)

    def tell(self, on_applied: Callable[[Sequence[Applied]], None]) -> None:
        """Call `on_applied` as the one given at the beginning would be; from now on, and instead of it."""
        self._on_applied = on_applied

    def load(self) -> None:
        """Fold the log up to its present end, in this thread. Raises NotFound, Unavailable, LostHistory."""
        self._check_identity()
        end = self._log.last()
        collecting = gc.isenabled()
        gc.disable()
        try:
            while self._state.position < end and self._fold(self._log.read(self._read_from(), CHUNK)):
                pass
        finally:
            if collecting:
                gc.enable()
        if self._state.position < end:
            raise LostHistory(
                f"the log ends at {stream_id_of(self._state.position)}, before its recorded end {stream_id_of(end)}",
                self._state.position,
            )

    def start(self) -> None:
        """Start to follow. Call `load` first to stand at the log's end."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; returns when the thread has ended."""
        self._stopping.set()
        self._log.interrupt()
        with self._moved:
            self._moved.notify_all()
        if self._thread.is_alive():
            self._thread.join(BLOCK_SECONDS + 1)

    def wait_for(self, position: Position, timeout: float) -> bool:
        """Wait until the state is at `position` or later. Raises its failure where the replica has stopped."""
        if self._every is not None:
            return self._reach(position, timeout)
        with self._moved:
            self._moved.wait_for(lambda: self._state.position >= position or self._ended(), timeout)
            if self.failure:
                raise self.failure
            return self._state.position >= position

    def catch_up(self) -> None:
        """Fold what the log holds by now, in this thread; for a replica at leisure. Raises Unavailable, its failure."""
        assert self._every is not None
        with self._being_read:
            if self.failure:
                raise self.failure
            try:
                while self._fold(self._log.read(self._read_from(), CHUNK)) == CHUNK:
                    pass
            except LostHistory as error:
                self._fail(error)
                raise

    def _reach(self, position: Position, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        self.catch_up()
        while self._state.position < position:
            if time.monotonic() > deadline or self._stopping.wait(REACH_PAUSE):
                return False
            self.catch_up()
        return True

    def _ended(self) -> bool:
        return self.failure is not None or self._stopping.is_set()

    def _follow(self) -> None:
        wakes: deque[float] = deque(maxlen=BUSY_READS)
        connected = True
        rested = time.monotonic()
        pause = 0.02
        gc.disable()
        try:
            while not self._stopping.is_set():
                try:
                    if (
                        not connected
                    ):  # nor sure of it: an idle follower hears nothing of a log that was replaced
                        self._check_identity()
                        connected, self.unreachable, pause = True, "", 0.02
                    entries = self._log.follow(self._read_from(), CHUNK, BLOCK_SECONDS)
                except Unavailable as error:
                    connected, self.unreachable = False, str(error)
                    self._stopping.wait(pause)
                    pause = min(pause * 2, 0.5)
                    continue
                now = time.monotonic()
                if now - rested > COLLECT_EVERY or gc.get_count()[0] > COLLECT_AFTER:
                    self._collect()
                    rested = now
                if not entries:
                    connected = False
                    continue
                self._fold(entries)
                self.wakes += 1
                wakes.append(now)
                if self._pause:
                    self._stopping.wait(self._pause)
                elif len(wakes) == BUSY_READS and wakes[-1] - wakes[0] < BUSY_WINDOW:
                    self._stopping.wait(BUSY_PAUSE)
        except NotFound as error:
            self._fail(LostHistory(str(error)))
        except ChronosetError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - the end of a thread: told to everyone who reads
            self._fail(
                ChronosetError(f"the replica broke at {stream_id_of(self._state.position)}: {error!r}")
            )

    def _follow_at_leisure(self) -> None:
        assert self._every is not None
        rested = 0.0
        gc.disable()
        try:
            while not self._stopping.wait(self._every):
                try:
                    if time.monotonic() - rested > COLLECT_EVERY:
                        self._check_identity()
                        self._collect()
                        rested = time.monotonic()
                    self.catch_up()
                    self.unreachable = ""
                    self.wakes += 1
                except Unavailable as error:
                    self.unreachable = str(error)
        except NotFound as error:
            self._fail(LostHistory(str(error)))
        except ChronosetError as error:
            self._fail(error)

    def _fail(self, failure: ChronosetError) -> None:
        with self._moved:
            self.failure = failure
            self._moved.notify_all()

    def _collect(self) -> None:
        """Let the cyclic collector see what is new, then take what survived out of its sight."""
        with self._moved:
            gc.unfreeze()
            gc.collect(0)
            gc.freeze()

    def _check_identity(self) -> None:
        """Raise LostHistory where the log is not the one that was followed, or ends before what was read of it."""
        found = self._log.log_id()
        if self._state.log_id and found != self._state.log_id:
            raise LostHistory(f"the log is {found}, not {self._state.log_id} that was followed until now")
        last = self._log.last()
        if last < self._read_from():
            raise LostHistory(
                f"the log ends at {stream_id_of(last)}, before {stream_id_of(self._read_from())} that was read from it",
                last,
            )

    def _read_from(self) -> Position:
        return self._pending[-1].position if self._pending else self._state.position

    def _fold(self, entries: Sequence[Entry]) -> int:
        """Apply the whole batches among what was read; keep the beginning of an unfinished one for the next read.

        Returns how many entries were read.
        """
        events = [*self._pending, *map(decode, entries)]
        count = whole_batches(events)
        self._pending = events[count:]
        applied: list[Applied] = []
        observed = self._on_applied is not None
        with self._moved:
            state = self._state
            for event in events[:count]:
                old = state.objects.get(event.key) if observed else None
                apply(state, event)
                if observed:
                    applied.append(Applied(event, old, state.objects.get(event.key)))
            self._moved.notify_all()
        if applied and self._on_applied is not None:
            self._on_applied(applied)
        return len(entries)
