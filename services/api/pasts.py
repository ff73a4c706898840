"""The API as it was: what a path below `/at/<time or position>/` is answered with, read-only.

A moment is named so that it is the same for whoever asks again: a time with its zone, or a position. Its objects come
from the ring where that reaches so far back, else from a fold of the log up to there. A watch tells what was there,
and then nothing: who watches the past, as clients do that keep a list up to date, shall not come back every second.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from starlette.responses import Response

from events.history import History
from events.state import State
from schemas.errors import BadRequest
from schemas.objects import Key, Object, key_of_object
from schemas.positions import Position, position_of, time_of
from schemas.times import Milliseconds, parse_rfc3339, rfc3339
from services.api.failures import Failure, bad_request, failure, too_new
from services.api.hub import Encoding, Hub, Selection
from services.api.identity.nodes import GROUP
from services.api.notices import Notice
from services.api.reads import Reads, Snapshot, sorted_objects
from services.api.requests import Target
from services.api.streams import Course, WatchResponse
from services.api.verbs import SHOWN_PARTS, Asked, Tools, answer, beginning, selection_of
from services.history.past import Past

PREFIX = "/at/"
ACCEPTED = "write a time with its zone as 2026-11-22T10:00:00Z, or a position as 1763864279000-0"
KEPT_MOMENTS = 256
SETTLED_MS = 60_000
"""How long ago a moment must be for nothing to be added to it: clocks may differ by so much (events.append)."""
_READ = ("get", "list", "watch")
_FEWEST_POSITION = 10**15
_is_stream_id = re.compile(r"[0-9]{1,15}-[0-9]{1,7}", re.ASCII).fullmatch
_NOTHING = Selection("")
"""What a watch of the past is told of from now on."""


class Moment(NamedTuple):
    """A place in the log, and the time that clocks showed there."""

    position: Position
    at: Milliseconds


def split_path(path: str) -> tuple[str, str]:
    """Return the moment that a path names, and the rest: (`2026-11-22T10:00:00Z`, `/api/v1/pods`); ("", path): none."""
    if not path.startswith(PREFIX):
        return "", path
    moment, _, rest = path.removeprefix(PREFIX).partition("/")
    return moment, f"/{rest}"


def read_only(method: str) -> Failure:
    """405: the past is not written to."""
    return failure(
        405, "MethodNotAllowed", f"the past cannot be changed: {method} below {PREFIX} is not allowed"
    )


def check_readable(target: Target, groups: Sequence[str]) -> None:
    """Raise Failure for what is not served of the past: writes, what only nodes have, and nodes' own requests."""
    if target.verb not in _READ:
        raise read_only(target.verb)
    if target.subresource not in SHOWN_PARTS:
        what = f"{target.kind.plural}/{target.subresource}"
        raise failure(
            405, "MethodNotAllowed", f"{what} is not kept: the past has objects, not what their nodes have"
        )
    if GROUP in groups:
        raise failure(403, "Forbidden", f"{target.resource} is forbidden: the past is not for nodes")


@dataclass(slots=True)
class Pasts:
    """Answers of moments of the past. Belongs to the event loop."""

    history: History
    reads: Reads
    executor: Executor
    clock: Callable[[], Milliseconds]
    _moments: OrderedDict[str, Moment] = field(default_factory=OrderedDict)

    async def answer(self, asked: Asked, tools: Tools, text: str) -> Response:
        """Carry out a verb at the moment that `text` names. Raises ChronosetError."""
        check_readable(asked.target, asked.user.groups)
        moment = await self.moment_of(text)
        reads = await self._reads_at(moment, asked.target)
        then = replace(tools, reads=reads, renderer=tools.renderer.at(moment.at))
        return await (watch(asked, then) if asked.target.verb == "watch" else answer(asked, then))

    async def moment_of(self, text: str) -> Moment:
        """Return the moment that a path's `text` names. Raises BadRequest: no moment, none of this log, to come."""
        found = self._moments.get(text)
        if found is None:
            loop = asyncio.get_running_loop()
            now = self.clock()
            found = await loop.run_in_executor(self.executor, moment_in, self.history, text, now)
            if found.at < now - SETTLED_MS:
                self._moments[text] = found
        while len(self._moments) > KEPT_MOMENTS:
            self._moments.popitem(last=False)
        await self.reads.at_least(found.position)
        return found

    async def _reads_at(self, moment: Moment, target: Target) -> PastReads:
        ring = self.reads.hub.ring
        if not ring.holds(moment.position):
            resource = target.kind.stored_as or target.kind.resource
            state = await self.reads.state_at(moment.position, resource)
            return PastReads(self.reads, state.position, state)
        version = ring.version_at(moment.position)
        found = PastReads(self.reads, version)
        if target.name:
            resource = target.kind.stored_as or target.kind.resource
            there = await self.reads.past(resource, target.namespace, version)
            found.objects = {key_of_object(obj): obj for obj in there.objects}
        return found


def moment_in(history: History, text: str, now: Milliseconds) -> Moment:
    """Return the moment of a log that `text` names; a position within a batch means its end. Raises BadRequest."""
    where = f"{PREFIX}{text[:60]}"
    if _is_stream_id(text) or (text.isascii() and text.isdecimal() and len(text) < 20):
        position = Past(history).checked(_position_in(text), where)
        return Moment(position, time_of(position))
    try:
        time = parse_rfc3339(text)
    except (ValueError, OverflowError) as error:
        problem = "the time has no zone" if "zone" in str(error) else "this is neither a time nor a position"
        raise bad_request(f"{where}: {problem}: {ACCEPTED}") from None
    if time > now:
        raise bad_request(f"{where}: this is in the future: it is {rfc3339(now)}, and the past ends there")
    try:
        return Moment(history.position_at(time), time)
    except BadRequest as error:
        raise bad_request(f"{where}: {error}") from None


def _position_in(text: str) -> Position:
    try:
        position = position_of(text) if "-" in text else int(text)
    except ValueError as error:
        raise bad_request(f"{PREFIX}{text}: this is no position: {error}") from None
    if position < _FEWEST_POSITION:
        raise bad_request(f"{PREFIX}{text}: this is no position: {ACCEPTED}")
    return position


async def watch(asked: Asked, tools: Tools) -> Response:
    """Return the stream of what was there, which then says nothing until its time is over, but where it stands."""
    target, form, hub = asked.target, asked.form, tools.reads.hub
    position, first = await beginning(asked, tools, selection_of(target), form)
    place = tools.in_flight.watch(asked.user.name)
    place.take()
    watcher = hub.watch(_NOTHING, Encoding("", lambda _type, _obj: b""), hub.position)
    line = tools.renderer.bookmark(target.kind, position, form)
    bookmark = (lambda _position: line) if target.options.allow_bookmarks else None
    course = Course(bookmark, float(target.options.timeout_seconds))
    return WatchResponse(hub, watcher, first, course, place)


class PastReads:
    """What was there at a version: services.api.reads.Reading, of one moment."""

    def __init__(self, present: Reads, version: Position, state: State | None = None) -> None:
        self.objects: Mapping[Key, Object] = state.objects if state else {}
        self._present = present
        self._version = version
        self._state = state

    @property
    def hub(self) -> Hub:
        return self._present.hub

    async def catch_up(self) -> None:
        """Do nothing: what was there is known."""

    async def at_least(self, version: Position) -> None:
        if version > self._version:
            raise too_new(version, self._version)

    def get(self, key: Key) -> Object | None:
        return self.objects.get(key)

    async def snapshot(self, resource: str, namespace: str) -> Snapshot:
        if self._state is None:
            return await self._present.past(resource, namespace, self._version)
        return Snapshot(self._version, sorted_objects(self._state.list(resource, namespace)))

    async def past(self, resource: str, namespace: str, version: Position) -> Snapshot:
        if version == self._version:
            return await self.snapshot(resource, namespace)
        await self.at_least(version)
        return await self._present.past(resource, namespace, version)

    def keep(self, which: tuple[str, str, Position], snapshot: Snapshot) -> None:
        self._present.keep(which, snapshot)

    async def troubles(self, _wanted: Mapping[str, str]) -> Sequence[Notice]:
        """Nothing: what could not be done then is not kept."""
        return ()

    async def notices(self, wanted: Mapping[str, str], version: Position) -> Sequence[Notice]:
        return await self._present.notices(wanted, min(version, self._version))

    def notice(self, namespace: str, name: str) -> Notice | None:
        found = self._present.notice(namespace, name)
        return found if found is not None and found.version <= self._version else None
