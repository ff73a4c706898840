"""What a node knows of the cluster: lists that watches keep up to date (client-go tools/cache/reflector.go)."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from schemas.errors import ChronosetError, LostHistory, Unavailable
from schemas.objects import Object, uid_of, version_of
from schemas.positions import Position
from services.agent.remote.connections import Api, Gone, error_of
from services.headless import Port, Record
from services.node_protocol import NAMES_PATH

PAUSE = 0.5
"""Seconds between two attempts to reach an API that is away, more or less."""
WATCH_SECONDS = 300
"""How long a watch lasts, more or less: now and then each is begun anew, on whichever server answers then."""
NAMES_SECONDS = 30
_log = structlog.get_logger("chronoset.agent")


class Moves:
    """Tells threads that something was learned, and why nothing may be relied upon."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._mark: Position = 0
        self._troubles: dict[object, ChronosetError] = {}

    def tell(self, position: Position = 0) -> None:
        """Something was learned, as of a position. The mark grows though another feed may be further."""
        with self._moved:
            self._mark = max(position, self._mark + 1)
            self._moved.notify_all()

    def trouble(self, whose: object, error: ChronosetError | None) -> None:
        """What keeps a feed from learning more; None: nothing any more."""
        with self._moved:
            if error is None:
                self._troubles.pop(whose, None)
            else:
                self._troubles[whose] = error
            self._moved.notify_all()

    def wait(self, after: Position, timeout: float) -> Position:
        """Return the mark, once it is beyond `after` or the time is over. Raises what troubles a feed."""
        with self._moved:
            self._moved.wait_for(lambda: self._mark > after or bool(self._troubles), timeout)
            for error in self._troubles.values():
                raise error
            return self._mark


@dataclass(frozen=True, slots=True)
class Source:
    """A list of the API: its path, and which of its objects (a field selector).

    `is_vital`: without it an agent cannot go on, and holds still.
    """

    path: str
    fields: str = ""
    is_vital: bool = False

    @property
    def query(self) -> Mapping[str, str]:
        return {"fieldSelector": self.fields} if self.fields else {}


class Feed:
    """The objects of one source. Fed by a coroutine of the API's thread, read by any thread."""

    def __init__(self, api: Api, source: Source, moves: Moves) -> None:
        self.error: ChronosetError | None = None
        self._api = api
        self._source = source
        self._moves = moves
        self._lock = threading.Lock()
        self._known = threading.Event()
        self._objects: dict[str, Object] = {}
        self._ended: dict[str, Position] = {}
        """uid -> where the object was removed by ourselves, until the watch is there too."""
        self._position: Position = 0
        self._following: Future[None] = api.spawn(self._follow())

    def objects(self, patience: float) -> list[Object]:
        """Return what there is. Raises what keeps a feed that has never known from knowing."""
        if not self._known.is_set():
            if self.error is None:
                self._known.wait(patience)
            if not self._known.is_set():
                raise self.error or Unavailable(f"the API at {self._api.server.url} does not answer")
        with self._lock:
            return list(self._objects.values())

    def put(self, obj: Object) -> None:
        """Take what a write of ours has answered: the watch will tell no other."""
        with self._lock:
            is_new = self._take(obj)
        if is_new:
            self._moves.tell(version_of(obj))

    def remove(self, obj: Object, position: Position) -> None:
        """Take that a write of ours has removed an object of this uid, as of a position."""
        with self._lock:
            self._objects.pop(uid_of(obj), None)
            self._ended[uid_of(obj)] = position
        self._moves.tell(position)

    def stop(self) -> None:
        """Follow no more."""
        self._following.cancel()
        self._moves.trouble(self, None)

    async def _follow(self) -> None:
        is_sure = False
        while True:
            try:
                if not self._known.is_set():
                    await self._list()
                elif not is_sure:
                    await self._check_length()
                is_sure = True
                self._fine()
                await self._watch()
            except Gone:
                self._known.clear()
                is_sure = False
            except ChronosetError as error:
                is_sure = False
                self._fail(error)
                await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))
            except (ValueError, KeyError, TypeError, AttributeError):
                _log.exception("what the API sends cannot be read", path=self._source.path)
                self._fail(Unavailable("what the API sends cannot be read"))
                await asyncio.sleep(PAUSE)

    async def _list(self) -> None:
        found = await self._api.answered("GET", self._source.path, **self._source.query)
        position = int(found["metadata"]["resourceVersion"])
        if position < self._position:
            raise LostHistory("the log is shorter than this node has seen", self._position)
        kind = {"apiVersion": found["apiVersion"], "kind": found["kind"].removesuffix("List")}
        with self._lock:
            self._objects = {uid_of(obj): {**kind, **obj} for obj in found["items"]}
            self._ended = {}
            self._position = position
        self._known.set()
        self._moves.tell(position)

    async def _check_length(self) -> None:
        """Ask for what is not older than what we know: a log that has lost its end cannot answer."""
        version = str(self._position)
        query = {**self._source.query, "limit": "1", "resourceVersion": version}
        await self._api.answered("GET", self._source.path, resourceVersionMatch="NotOlderThan", **query)

    async def _watch(self) -> None:
        query = {
            **self._source.query,
            "watch": "true",
            "resourceVersion": str(self._position),
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(round(WATCH_SECONDS * random.uniform(1, 2))),
        }
        async with self._api.stream(self._source.path, query) as lines:
            async for line in lines:
                self._receive(orjson.loads(line))

    def _receive(self, event: Any) -> None:
        obj = event["object"]
        if event["type"] == "ERROR":
            raise error_of(int(obj.get("code", 500)), orjson.dumps(obj))
        position = version_of(obj)
        is_new = False
        with self._lock:
            if event["type"] == "DELETED":
                is_new = self._objects.pop(uid_of(obj), None) is not None
            elif event["type"] != "BOOKMARK":
                is_new = self._take(obj)
            self._position = max(self._position, position)
            self._ended = {uid: at for uid, at in self._ended.items() if at > self._position}
        if is_new:
            self._moves.tell(position)

    def _take(self, obj: Object) -> bool:
        """Keep an object unless it is no newer than what is known, or removed since. Return whether it was news."""
        uid = uid_of(obj)
        known = self._objects.get(uid)
        if uid in self._ended or (known is not None and version_of(known) >= version_of(obj)):
            return False
        self._objects[uid] = obj
        return True

    def _fine(self) -> None:
        self.error = None
        self._api.is_down = False
        if self._source.is_vital:
            self._moves.trouble(self, None)

    def _fail(self, error: ChronosetError) -> None:
        self.error = error
        if self._source.is_vital:
            self._api.is_down = isinstance(error, Unavailable)
            self._moves.trouble(self, error)


@dataclass(slots=True)
class NamesFeed:
    """The names that headless services publish, asked for again as soon as there are others."""

    api: Api
    moves: Moves
    _records: tuple[Record, ...] | None = None
    _known: threading.Event = field(default_factory=threading.Event)
    _following: Future[None] | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._following = self.api.spawn(self._follow())

    def stop(self) -> None:
        """Ask no more."""
        if self._following is not None:
            self._following.cancel()

    def records(self, patience: float) -> tuple[Record, ...]:
        """Return what was told last. Raises Unavailable where nothing ever was."""
        if self._records is None:
            self._known.wait(0.0 if self.api.is_down else patience)
        if self._records is None:
            raise Unavailable(f"the API at {self.api.server.url} has not told the names of pods yet")
        return self._records

    async def _follow(self) -> None:
        version = ""
        while True:
            try:
                found = await self._ask(version)
            except ChronosetError:
                version = ""
                await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))
                continue
            if found["version"] == version:
                await asyncio.sleep(PAUSE)
            else:
                version, records = found["version"], tuple(map(_record_of, found["records"]))
                if records != self._records:
                    self._records = records
                    self._known.set()
                    self.moves.tell()

    async def _ask(self, version: str) -> Any:
        """Return an answer that may take its time."""
        query = {"after": version, "timeoutSeconds": str(NAMES_SECONDS)}
        async with self.api.stream(NAMES_PATH, query) as lines:
            async for line in lines:
                return orjson.loads(line)
        raise Unavailable("the API told no names")


def _record_of(raw: Any) -> Record:
    ports = tuple(Port(each["name"], each["protocol"], each["number"]) for each in raw["ports"])
    return Record(raw["address"], raw["host"], raw["service"], raw["namespace"], ports)
