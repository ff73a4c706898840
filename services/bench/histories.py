"""The past: any moment, any object, any difference, in a generated log of any length that is sealed as it grows."""

from __future__ import annotations

import gc
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from events.archive import Archive
from events.archive_index import ArchiveIndex
from events.archived_log import ArchivedLog
from events.codec import Entry, decode, encode
from events.history import History
from events.log import Sealable
from events.memory import MemoryLog
from events.redis_log import RedisLog
from events.replay import replay
from events.restoring import put_back
from events.sealing import Limits, Sealer
from events.stores import Folder
from schemas.envelopes import CREATE, READER_VERSION, SCHEMA_VERSION, UPDATE, Actor, Event
from schemas.objects import Key, Object, key_of
from schemas.positions import SEQUENCE_BITS, Position
from services.bench.floors import server
from services.bench.gates import Gate, Reading
from services.bench.worlds import a_running_pod
from services.settings import Durability

EVENTS = 200_000
OBJECTS = 20_000
MANY_OBJECTS = 150_000
FEWEST_FOR_MANY = 1_000_000
"""Events of a run that also measures `MANY_OBJECTS`, which takes minutes more."""
CHANGES = 100
_SAMPLES = 9
_DECODED = 20_000
_BEGAN = 1_795_401_564_000
_ACTOR = Actor("node:n1", "cert")


def histories(place: Path, events: int = EVENTS) -> Iterator[Reading]:
    """Seal a log of so many events with 20,000 live objects, and ask it about its past, each time with cold caches.

    Of a long one the state is also asked for with 150,000 live objects, in a log of its own.
    """
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=place) as directory:
        folder = Path(directory)
        growing = Growing(min(OBJECTS, events // 10))
        seconds = grow(growing, folder, events)
        yield Reading(
            "history-seal",
            f"generate and seal {events:,} events, with snapshots",
            events / seconds,
            "events/s",
        )
        size = sum(path.stat().st_size for path in folder.rglob("*.seg")) / events
        yield Reading("history-size", "sealed bytes an event, without snapshots", size, "bytes")
        kept = sum(path.stat().st_size for path in folder.rglob("*.snap")) / events
        yield Reading("history-snapshots", "bytes of snapshots an event", kept, "bytes")
        with server(place, Durability.EVERYSEC) as client:
            manifest = Archive(Folder(folder), lambda: growing.sealed().manifest).refresh()
            state = replay(
                ArchivedLog(growing, Archive(Folder(folder), lambda: growing.sealed().manifest)),
                growing.last(),
            )
            put_back(client, "bench", state, growing.read(manifest.end, 1 << 30), growing.sealed())
            yield from _asked(RedisLog(client, "bench"), folder, growing.hot)
    if events >= FEWEST_FOR_MANY:
        yield from _many(place)


def _many(place: Path) -> Iterator[Reading]:
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=place) as directory:
        folder, growing = Path(directory), Growing(MANY_OBJECTS)
        grow(growing, folder, 2 * MANY_OBJECTS)
        chance, last = random.Random(1), growing.last()
        at = [chance.randrange(growing.position_of(MANY_OBJECTS), last) for _ in range(3)]
        times = _timed(lambda: _opened(growing, folder).state_at(at.pop()), 3)
        gate, floor = Gate(6000, False, 600_000, "no-op fold"), 1000 / _decoded(growing, folder)
        what = f"state at any moment with {MANY_OBJECTS:,} live objects"
        yield _reading("history-state-many", f"{what}, p50", times, gate, floor)
        yield _reading("history-state-many-worst", "the slowest of 3", times[-1:], gate, floor)


def _asked(log: RedisLog, folder: Path, hot: list[Key]) -> Iterator[Reading]:
    chance = random.Random(1)
    first, last = (
        Archive(Folder(folder), lambda: log.sealed().manifest).refresh().segments[0].first,
        log.last(),
    )
    moments = [chance.randrange(first, last) for _ in range(2 * _SAMPLES)]
    at = iter(moments)
    rate = _decoded(log, folder)
    yield Reading("history-decode", "sealed events, read and decoded", rate, "events/s")
    times = _timed(lambda: _opened(log, folder).state_at(next(at)), _SAMPLES)
    gate = Gate(1000, False, 100_000, "no-op fold")
    floor = 2000 / (rate + _decoded(log, folder))
    yield _reading("history-state", "state at any moment, p50", times, gate, floor)
    yield _reading("history-state-worst", f"the slowest of {_SAMPLES}", times[-1:], gate, floor)
    times = _timed(lambda: _opened(log, folder).state_at(last), 3)
    yield _reading("history-now", "state now: what a program starts with", times, gate, floor)
    keys = iter(chance.sample(hot, _SAMPLES))
    times = _timed(lambda: _opened(log, folder).changes_of(next(keys), CHANGES), _SAMPLES)
    gate = Gate(50, False, 5_000, "no-op fold")
    yield _reading("history-object", f"the last {CHANGES} changes of one object, p50", times, gate, floor)
    pairs = iter(list(zip(moments[::2], moments[1::2], strict=True)))
    times = _timed(lambda: _opened(log, folder).differences(*next(pairs)), 5)
    gate, floor = Gate(2000, False, 200_000, "no-op fold"), 1000 / _decoded(log, folder)
    yield _reading("history-difference", "difference of two moments, p50", times, gate, floor)


def _decoded(log: Sealable, folder: Path) -> float:
    """Return how many sealed events are read and decoded in a second of CPU time: no state is there sooner."""
    archive = Archive(Folder(folder), lambda: log.sealed().manifest)
    archive.refresh()
    begun, count, after = time.process_time(), 0, 0
    while count < _DECODED and (entries := archive.read(after, 1000)):
        count, after = count + len(list(map(decode, entries))), entries[-1].position
    return count / (time.process_time() - begun)


def _opened(log: Sealable, folder: Path) -> History:
    archive = Archive(Folder(folder), lambda: log.sealed().manifest)
    return History(ArchivedLog(log, archive), ArchiveIndex(folder / "index.sqlite"))


class _Time(NamedTuple):
    """Milliseconds of CPU time, for which other programs of the machine do not count, and by the clock."""

    cpu: float
    clock: float


def _timed(ask: Callable[[], object], count: int) -> list[_Time]:
    """Return how long it took each time, collector and all, as in a command that asks once; the slowest at the end."""
    times = []
    for _ in range(count):
        gc.collect()
        begun, cpu = time.perf_counter(), time.process_time()
        answer = ask()
        times.append(_Time(1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - begun)))
        del answer
    return sorted(times)


def _reading(name: str, what: str, times: Sequence[_Time], gate: Gate, floor: float) -> Reading:
    """Return a reading; `floor` is what decoding one event took meanwhile, which nothing here can do without."""
    clock = f"{median(each.clock for each in times):,.0f} ms by the clock"
    return Reading(name, what, median(each.cpu for each in times), "ms CPU", gate, clock, floor)


def grow(log: Growing, folder: Path, events: int) -> float:
    """Write so many events and seal them as they come; return the seconds that took."""
    begun = time.perf_counter()
    sealer = Sealer(log, Folder(folder), Limits(5_000, 1 << 60, 0), ArchiveIndex(folder / "index.sqlite"))
    sealer.open()
    while log.count < events:
        log.write(min(5_000, events - log.count))
        sealer.look(0)
    return time.perf_counter() - begun


@dataclass(slots=True)
class _Pod:
    key: Key
    uid: str
    version: Position


class Growing(MemoryLog):
    """A log that makes its own events: so many pods are created, then report, in turn and some of them by chance.

    `hot` are the pods with a hundred changes over the whole log, `count` the events so far.
    """

    def __init__(self, objects: int) -> None:
        super().__init__("bench", lambda: _BEGAN)
        self.create()
        self.count = 1
        self.hot: list[Key] = []
        self._pods: list[_Pod] = []
        self._objects = objects
        self._chance = random.Random(0)
        self._template = a_running_pod()

    def position_of(self, number: int) -> Position:
        """Return the position of the event of a number, from 0."""
        return (_BEGAN + number) << SEQUENCE_BITS

    def write(self, count: int) -> None:
        """Append so many events."""
        for _ in range(count):
            if len(self._pods) < self._objects:
                self._create_pod()
            else:
                self._report()
            self.count += 1

    def _create_pod(self) -> None:
        number = len(self._pods)
        name = f"web-{number}"
        pod = _Pod(key_of("core/pods", "default", name), str(uuid.UUID(int=self._chance.getrandbits(128))), 0)
        metadata = {**self._template["metadata"], "name": name, "uid": pod.uid}
        spec = {**self._template["spec"], "nodeName": f"n{number % 1000}", "hostname": name}
        self._add(pod, CREATE, "PodCreated", {**self._template, "metadata": metadata, "spec": spec})
        self._pods.append(pod)
        if number % 100 == 0:
            self.hot.append(pod.key)

    def _report(self) -> None:
        is_hot = self._chance.random() < 0.1
        number = (
            100 * self._chance.randrange(len(self.hot)) if is_hot else self._chance.randrange(len(self._pods))
        )
        container = {**self._template["status"]["containerStatuses"][0], "restartCount": self.count}
        patch = {"status": {"containerStatuses": [container], "podIP": f"10.0.0.{self.count % 256}"}}
        self._add(self._pods[number], UPDATE, "PodStatusChanged", patch)

    def _add(self, pod: _Pod, op: str, type_: str, body: Object) -> None:
        ms = _BEGAN + self.count
        position = ms << SEQUENCE_BITS
        event = Event(
            position, pod.key, type_, self._positions[-1], SCHEMA_VERSION, READER_VERSION, op, pod.uid, body,
            pod.version, ms, _ACTOR, 0, f"{self._chance.getrandbits(64):016x}", 0, 1, "", 0,
        )  # fmt: skip
        self._push(Entry(position, pod.key, type_, event.after, encode(event)))
        pod.version = position
