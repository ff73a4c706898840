"""The projector: keeps the projections up with the log.

It is a Replica whose events become effects on Redis, many batches at a time. Effects and checkpoint move in one script
call that names the checkpoint it starts from. So of two projectors one wins, and the other carries on behind what was
done; and a crash, or a lost answer, neither loses nor repeats anything.

At a start the State is made of the projected objects themselves, so that no log is too long to start with. Where the
projections cannot be carried on (none are there, another format, objects missing, events that do not fit) they are
built anew from the log, or of a long one from a snapshot (beginnings), and that is said. Projections of another log, or
of more than the log holds, stay as they are: then it is the log that is wrong, and the last that people can read of the
right one is not taken from them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import redis
import structlog

from events.log import Log
from events.replica import Applied, Replica
from events.state import State
from schemas.envelopes import CREATE, DELETE, Event
from schemas.errors import LostHistory, Unavailable
from schemas.objects import Key, Object
from schemas.positions import Position, stream_id_of
from services.projections import keys
from services.projections.beginnings import beginning_of, standing_objects, told_events
from services.projections.effects import (
    Command,
    check_types,
    effects_beside,
    effects_of,
    object_effects,
    parked_effects,
    standing_event,
)
from services.projections.generations import Checkpoint, Generations

EVENTS_AT_ONCE = 100
BYTES_AT_ONCE = 4 * 1024 * 1024
"""Where one call of the script ends, at the next end of a batch: some 2 ms of the server's time."""
PAUSE = 0.02
"""Seconds between two reads: what is projected is seen that much later, for a third of the wakes."""
INSPECTION = 1.0
"""Seconds between two looks at whether the projections are still there."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5

_log = structlog.get_logger("chronoset.projector")


class Outdated(Exception):
    """The projections are no longer what this projector has written to; it must open them again."""


@dataclass(frozen=True, slots=True)
class Built:
    """A generation that was built and switched to."""

    generation: keys.Generation
    position: Position
    objects: int


def run(log: Log, client: redis.Redis, stopping: threading.Event | None = None) -> None:
    """Keep the projections up with the log until `stopping` is set.

    Waits while the views' server is away. Raises Unavailable where a server is away at the start, NotFound where there
    is no log, LostHistory where the log is not the one that was projected, ends before that, or (naming the position)
    does not fold from its beginning.
    """
    stopping = stopping or threading.Event()
    projector = Projector(log, client, stopping)
    try:
        while not stopping.is_set():
            try:
                projector.open()
                projector.follow()
            except Outdated as why:
                if not stopping.is_set():
                    _log.warning("opening the projections again", cluster=log.cluster, why=str(why))
    finally:
        projector.close()


def rebuild(log: Log, client: redis.Redis) -> Built:
    """Build the projections anew beside the current ones, switch over, and delete the old ones.

    A projector that runs meanwhile carries on in the new ones. Raises as `run` does.
    """
    try:
        return Projector(log, client, threading.Event()).build("asked to")
    except Outdated as why:
        raise Unavailable(f"the projections were not built: {why}") from why


class Projector:
    """One projector. `open` brings the projections up to the log's end, `follow` keeps them there."""

    def __init__(self, log: Log, client: redis.Redis, stopping: threading.Event) -> None:
        self._log = log
        self._generations = Generations(client, log.cluster)
        self._stopping = stopping
        self._replica: Replica | None = None
        self._writer: Writer | None = None

    def open(self) -> None:
        """Carry on at the checkpoint, or build; returns at the log's end.

        Raises Outdated where a rival was faster, LostHistory where they are of another log or beyond its end.
        """
        self.close()
        current = self._generations.current()
        if current is None:
            self.build("there are none")
        elif current.format != keys.FORMAT:
            self.build(f"they have format {current.format}, this program writes {keys.FORMAT}")
        else:
            self._check_history(current)
            try:
                self._carry_on(current)
            except LostHistory as why:
                self.build(str(why))

    def follow(self) -> None:
        """Project what the log brings, until told to stop. Raises Outdated, or what a bug in the projector raised."""
        replica, writer = self._replica, self._writer
        assert replica is not None and writer is not None
        replica.start()
        unreachable = ""
        while not self._stopping.is_set():
            writer.ended.wait(INSPECTION)
            try:
                writer.check()
            except LostHistory as why:
                raise Outdated(str(why)) from why
            if replica.failure:
                raise Outdated(str(replica.failure))
            if replica.unreachable != unreachable:
                unreachable = replica.unreachable
                _log.warning("the log is away" if unreachable else "the log is back", why=unreachable)
            writer.inspect()

    def build(self, why: str) -> Built:
        """Build a new generation up to the log's end and make it the current one."""
        begun = time.monotonic()
        state = beginning_of(self._log)
        checkpoint = self._generations.begin(self._log.log_id(), state.position)
        since = stream_id_of(state.position)
        _log.warning("building projections", why=why, generation=checkpoint.generation, since=since)
        writer = Writer(self._generations, checkpoint, self._stopping, building=True)
        if state.position:
            writer.fill(standing_objects(self._log, state), told_events(self._log, state), state.position)
        replica = Replica(self._log, state, writer.observe, pause=PAUSE)
        _load(replica, writer)
        while not self._generations.switch(checkpoint.generation, self._log.last()):
            _load(replica, writer)
        built = writer.switched()
        self._generations.delete_abandoned()
        self._replica, self._writer = replica, writer
        _log.info(
            "projections built",
            generation=built.generation,
            position=stream_id_of(built.position),
            objects=built.objects,
            seconds=round(time.monotonic() - begun, 3),
        )
        return Built(built.generation, built.position, built.objects)

    def close(self) -> None:
        """Stop following."""
        if self._replica is not None and self._writer is not None:
            self._writer.end()
            self._replica.stop()
        self._replica = self._writer = None

    def _check_history(self, current: Checkpoint) -> None:
        found, last = self._log.log_id(), self._log.last()
        way_on = "name the right server, or give them up: chronoset projections rebuild"
        if current.log != found:
            raise LostHistory(f"the projections are of log {current.log}, the server holds {found}: {way_on}")
        if last < current.position:
            raise LostHistory(
                f"the projections stand at {stream_id_of(current.position)}, the log ends at {stream_id_of(last)}: "
                f"{way_on}",
                last,
            )

    def _carry_on(self, current: Checkpoint) -> None:
        while (state := self._generations.state_at(current)) is None:
            current = self._after_a_pause()
        writer = Writer(self._generations, current, self._stopping, building=False)
        replica = Replica(self._log, state, writer.observe, pause=PAUSE)
        _load(replica, writer)
        self._generations.delete_abandoned()
        self._replica, self._writer = replica, writer
        _log.info(
            "projections carried on", generation=current.generation, position=stream_id_of(current.position)
        )

    def _after_a_pause(self) -> Checkpoint:
        """Another projector is at work: wait, since there is no hurry then, and look again."""
        self._stopping.wait(_LONGEST_PAUSE)
        current = self._generations.current()
        if current is None or self._stopping.is_set():
            raise Outdated("they were emptied, or the projector was told to stop")
        return current


def _load(replica: Replica, writer: Writer) -> None:
    replica.load()
    writer.check()
    with replica.reading() as state:
        writer.catch_up(state)


class _Group(NamedTuple):
    """Whole batches, as one call of the script."""

    end: int
    """Index behind the last of the events."""
    position: Position
    objects: int
    commands: list[Command]


class Writer:
    """Writes the effects of events to one generation, each once, whoever else writes them."""

    def __init__(
        self,
        generations: Generations,
        checkpoint: Checkpoint,
        stopping: threading.Event,
        *,
        building: bool,
    ) -> None:
        self.failure: Exception | None = None
        self.ended = threading.Event()
        self._generations = generations
        self._checkpoint = checkpoint
        self._stopping = stopping
        self._building = building
        self._parked = generations.parked(checkpoint.generation)
        self._unwritten: dict[Key, Event] = {}

    def fill(self, standing: Iterator[tuple[Key, Object]], told: Iterator[Applied], until: Position) -> None:
        """Fill an empty generation with what a build begins with. Each step moves the checkpoint: none is repeated."""
        step = 0
        while some := list(islice(standing, EVENTS_AT_ONCE)):
            step += 1
            commands = [command for key, obj in some for command in self._standing(key, obj)]
            self._apply(_Group(0, step, len(some), commands))
        while events := list(islice(told, EVENTS_AT_ONCE)):
            self._write(events)
        if self._checkpoint.position < until:
            self._apply(_Group(0, until, 0, []))

    def _standing(self, key: Key, obj: Object) -> list[Command]:
        """Return the effects of what an object is: all but its changes."""
        commands = self._commands(Applied(standing_event(key, obj), None, obj))
        return [command for command in commands if command[1] != keys.changes(key)]

    def observe(self, applied: Sequence[Applied]) -> None:
        """Write the effects of whole batches; waits while the views' server is away.

        What goes wrong is kept for `check`, since this is called in the replica's thread.
        """
        if self.ended.is_set():
            return
        try:
            self._write(applied)
        except Exception as error:  # noqa: BLE001 - raised again by check, in the thread that waits for it
            self.failure = error
            self.ended.set()

    def catch_up(self, state: State) -> None:
        """Write the objects that a build has left for its end, as they are now: what they were before nobody reads."""
        commands: list[Command] = []
        left, size = self._unwritten, 0
        self._unwritten = {}
        for key, event in left.items():
            obj = state.get(key)
            added = self._row(event if obj is None else event._replace(op=CREATE), obj)
            commands += added
            size += _size_of(added)
            if len(commands) >= 2 * EVENTS_AT_ONCE or size >= BYTES_AT_ONCE:
                self._apply(_Group(0, self._checkpoint.position, 0, commands))
                commands, size = [], 0
        if commands:
            self._apply(_Group(0, self._checkpoint.position, 0, commands))

    def _row(self, event: Event, obj: Object | None) -> list[Command]:
        """Return the effects on an object itself; one that is no JSON is parked, and a restart builds anew."""
        try:
            return object_effects(event, obj)
        except TypeError as error:
            return [] if event.key in self._parked else self._park(event, error)

    def check(self) -> None:
        """Raise what has gone wrong while writing."""
        if self.failure:
            raise self.failure

    def inspect(self) -> None:
        """Raise Outdated where the projections are not there any more, or were put back. A server away says nothing."""
        known = self._checkpoint
        try:
            _required(self._generations.current(), known)
        except Unavailable:
            return

    def switched(self) -> Checkpoint:
        """Return the checkpoint, from now on that of the current generation."""
        self._building = False
        return self._checkpoint

    def end(self) -> None:
        """Write no more."""
        self.ended.set()

    def _write(self, applied: Sequence[Applied]) -> None:
        at = 0
        while at < len(applied):
            if applied[at].event.position <= self._checkpoint.position:
                at += 1
                continue
            group = self._group(applied, at)
            if self._apply(group):
                at = group.end

    def _group(self, applied: Sequence[Applied], start: int) -> _Group:
        """Return the whole batches from `start` on that one call may carry."""
        commands: list[Command] = []
        objects = size = 0
        for index in range(start, len(applied)):
            each = applied[index]
            event = each.event
            added = self._commands(each)
            commands += added
            size += _size_of(added)
            objects += (event.op == CREATE) - (event.op == DELETE)
            full = index - start >= EVENTS_AT_ONCE - 1 or size >= BYTES_AT_ONCE
            if index == len(applied) - 1 or (full and event.offset == event.size - 1):
                return _Group(index + 1, event.position, objects, commands)
        raise AssertionError("there is an event to write")

    def _commands(self, applied: Applied) -> list[Command]:
        """Return the effects of an event. One that cannot be projected parks its object, and stops nothing else.

        The object itself is still kept up, since a restart makes the State of the objects; by a build, at its end.
        """
        event, old, new = applied.event, applied.old, applied.new
        if self._building:
            self._unwritten[event.key] = event
        if event.key in self._parked:
            return [] if self._building else self._row(event, new)
        try:
            commands = (effects_beside if self._building else effects_of)(event, old, new)
            check_types(commands)
        except Exception as error:  # noqa: BLE001 - whatever an event does wrong, the others must go on
            parked = self._park(event, error)
            return parked if self._building else [*parked, *self._row(event, new)]
        return commands

    def _park(self, event: Event, error: Exception) -> list[Command]:
        """Project an object no further; return the effects that say so."""
        self._parked.add(event.key)
        _log.error(
            "event cannot be projected",
            key=event.key,
            position=stream_id_of(event.position),
            type=event.type,
            error=f"{type(error).__name__}: {error}",
        )
        return parked_effects(event, error)

    def _apply(self, group: _Group) -> bool:
        """Apply a group; False where a rival moved the checkpoint, which is then ours too."""
        pause = _FIRST_PAUSE
        while True:
            if self._stopping.is_set():
                raise Outdated("the projector was told to stop")
            try:
                at = self._checkpoint
                if self._generations.apply(at, group.position, group.objects, group.commands, self._building):
                    self._checkpoint = replace(
                        at, position=group.position, objects=at.objects + group.objects
                    )
                    return True
                self._rebase()
                return False
            except Unavailable as error:
                if pause == _FIRST_PAUSE:
                    _log.warning("waiting for the views", why=str(error))
            self._stopping.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _rebase(self) -> None:
        """Take over the checkpoint that a rival, a rebuild or an answer lost on the way has left."""
        generation = self._checkpoint.generation
        found = self._generations.building(generation) if self._building else self._generations.current()
        self._checkpoint = _required(found, self._checkpoint)
        self._parked = self._generations.parked(self._checkpoint.generation)


def _required(found: Checkpoint | None, known: Checkpoint) -> Checkpoint:
    """Return the checkpoint found, if what was written up to the one known is still there."""
    if found is None:
        raise Outdated("they were emptied, or a build stood still for too long")
    if found.log != known.log or found.format != known.format:
        raise Outdated(f"they are now of log {found.log} in format {found.format}")
    if found.position < known.position:
        raise Outdated(
            f"they went back from {stream_id_of(known.position)} to {stream_id_of(found.position)}"
        )
    return found


def _size_of(commands: Iterable[Command]) -> int:
    return sum(len(command[-1]) for command in commands if isinstance(command[-1], bytes))
