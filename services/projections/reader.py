"""Reading the projections: a commit's Reader, and what people ask about a cluster.

Every call is one transaction (or two, where one names the keys of the next) of plain reads, together with the current
generation: a rebuild that switches over in between is noticed, and the call repeated. So a reader needs nothing but
read access. What it returns may be behind the log by some milliseconds; a commit that rests on it expects the heads
of what was read, so it is refused rather than wrong.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
import redis

from schemas.errors import Unavailable
from schemas.kinds import POD
from schemas.objects import Key, Object, split_key
from schemas.positions import Position, position_of
from services.broker.keys import Keys as QueueKeys
from services.projections import keys
from services.projections.errors import reaching
from services.projections.keys import FORMAT, Generation, in_generation, views_key

NOT_BUILT = "the projections are not built yet: is the projector running?"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.01
_ATTEMPTS = 5

Objects = list[Object]
_Answers = list[Any]
_Command = tuple[str, ...]
"""A Redis read: the command, a name inside the generation, the rest of its arguments."""


class Change(NamedTuple):
    """One change of an object, as its event told it. `cause` is 0 where a person's wish was the beginning."""

    position: Position
    time: str
    """RFC 3339, by the log server's clock."""
    type: str
    actor: str
    claim: str
    """What the actor calls itself."""
    cause: Position
    command: str


class Rollout(NamedTuple):
    """How far the rollout of a StatefulSet or DaemonSet is."""

    current: str
    update: str
    desired: int
    replicas: int
    ready: int
    available: int
    updated: int
    done: bool
    started: Position
    """The event that brought the template being rolled out."""
    done_since: Position
    """0 while it is not done."""


class Waiting(NamedTuple):
    """What a key waits for, as its worker saw it at a position."""

    text: str
    position: Position


class Parked(NamedTuple):
    """An object whose projection stands still, since an event of it could not be projected."""

    position: Position
    type: str
    error: str


class Views:
    """The projections of a cluster, read with the views server's client; `queue` is the queue server's, for `waiting`.

    Every method raises Unavailable where the server does not answer, where there are no projections yet, or where they
    have a format that this program does not read; Forbidden where the server refuses this user.
    """

    def __init__(self, client: redis.Redis, cluster: str, queue: redis.Redis | None = None) -> None:
        self._client: Any = client
        self._queue: Any = queue
        self._cluster = cluster
        self._generation: Generation = ""

    def position(self) -> Position:
        """Return the position up to which the projections are. Read before objects, it is a lower bound of theirs."""
        with reaching():
            found = self._client.hmget(views_key(self._cluster), "generation", "position", "format")
        return _checked(found)[1]

    def log_id(self) -> str:
        """Return the id of the log that is projected; empty where there are no projections."""
        with reaching():
            found = self._client.hget(views_key(self._cluster), "log")
        return found.decode() if found else ""

    def wait_for(self, position: Position, timeout: float) -> bool:
        """Wait until the projections are at `position` or later; False when `timeout` seconds have passed."""
        deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
        while self.position() < position:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        return True

    def get(self, key: Key) -> Object | None:
        """Return the object under `key` with its resourceVersion, or None."""
        (text,) = self._read(("HGET", keys.objects(split_key(key)[0]), keys.field_of(key)))
        return orjson.loads(text) if text else None

    def list(self, resource: str, namespace: str = "") -> Objects:
        """Return the objects of a resource (`core/pods`), of one namespace or of all; in no particular order."""
        (rows,) = self._read(("HGETALL", keys.objects(resource)))
        prefix = f"{namespace}/".encode() if namespace else b""
        return [orjson.loads(text) for field, text in rows.items() if field.startswith(prefix)]

    def pods_on(self, node: str) -> Objects:
        """Return the pods bound to a node; with "" those bound to none."""
        (fields,) = self._read(("SMEMBERS", keys.pods_on(node)))
        return self._fetch({POD.resource: [field.decode() for field in fields]})

    def owned_by(self, uid: str) -> Objects:
        """Return the objects that have an owner reference to `uid`."""
        (members,) = self._read(("SMEMBERS", keys.owned_by(uid)))
        wanted = defaultdict(list)
        for key in map(bytes.decode, members):
            wanted[split_key(key)[0]].append(keys.field_of(key))
        return self._fetch(wanted)

    def kept_revisions(self, owner_uid: str) -> Objects:
        """Return every ControllerRevision that a workload ever had, by number; those since deleted too.

        They go a week after the workload itself. A deleted one is as it was last.
        """
        (rows,) = self._read(("HVALS", keys.revisions(owner_uid)))
        return sorted(map(orjson.loads, rows), key=lambda revision: int(revision["revision"]))

    def kept_revision(self, owner_uid: str, number: int) -> Object | None:
        """Return the ControllerRevision that last had a number, though it may have been renumbered or deleted since."""
        (name,) = self._read(("HGET", keys.revision_numbers(owner_uid), str(number)))
        if name is None:
            return None
        (text,) = self._read(("HGET", keys.revisions(owner_uid), name.decode()))
        return orjson.loads(text) if text else None

    def changes_of(self, key: Key) -> Sequence[Change]:
        """Return the last changes of an object (at most 100), newest first; of a deleted one for a week."""
        (rows,) = self._read(("LRANGE", keys.changes(key), "0", "-1"))
        return [_change_of(orjson.loads(row)) for row in rows]

    def rollout_of(self, key: Key) -> Rollout | None:
        """Return how far the rollout of a StatefulSet or DaemonSet is; None where there is no such object."""
        (row,) = self._read(("HGETALL", keys.rollout(key)))
        return _rollout_of({name.decode(): value.decode() for name, value in row.items()}) if row else None

    def parked(self) -> dict[Key, Parked]:
        """Return the objects whose projection stands still, and why; a rebuild tries them again."""
        (rows,) = self._read(("HGETALL", keys.PARKED))
        return {key.decode(): _parked_of(orjson.loads(row)) for key, row in rows.items()}

    def waiting(self) -> dict[tuple[str, str], Waiting]:
        """Return what each key waits for, as {("statefulset", "apps/statefulsets/default/db"): ...}.

        Empty without a queue client.
        """
        if self._queue is None:
            return {}
        with reaching("the queue's server"):
            rows = self._queue.hgetall(QueueKeys(self._cluster).sentences)
        return {_hint_of(name.decode()): _waiting_of(value.decode()) for name, value in rows.items()}

    def _fetch(self, wanted: Mapping[str, Sequence[str]]) -> Objects:
        """Return the objects of the fields named, by resource; those gone meanwhile are left out."""
        named = [(resource, fields) for resource, fields in wanted.items() if fields]
        if not named:
            return []
        answers = self._read(*(("HMGET", keys.objects(resource), *fields) for resource, fields in named))
        return [orjson.loads(text) for texts in answers for text in texts if text]

    def _read(self, *commands: _Command) -> _Answers:
        """Return the answers to reads inside the current generation, all of one moment."""
        for _ in range(_ATTEMPTS):
            with reaching():
                found, *answers = self._transaction(commands)
            generation, _position = _checked(found)
            if generation == self._generation:
                return answers
            self._generation = generation
        raise Unavailable("the projections are being rebuilt again and again: what does the projector say?")

    def _transaction(self, commands: tuple[_Command, ...]) -> _Answers:
        pipeline = self._client.pipeline(transaction=True)
        pipeline.hmget(views_key(self._cluster), "generation", "position", "format")
        for command, name, *rest in commands:
            pipeline.execute_command(command, in_generation(self._cluster, self._generation, name), *rest)
        answers: _Answers = pipeline.execute()
        return answers


def _checked(found: list[bytes | None]) -> tuple[Generation, Position]:
    generation, position, layout = found
    if generation is None or position is None or layout is None:
        raise Unavailable(NOT_BUILT)
    if layout.decode() != FORMAT:
        raise Unavailable(
            f"the projections have format {layout.decode()}, this program reads {FORMAT}: "
            "run the same version here and there"
        )
    return generation.decode(), position_of(position)


def _change_of(row: dict[str, str]) -> Change:
    return Change(
        position_of(row["position"]),
        row["time"],
        row["type"],
        row["actor"],
        row["claim"],
        position_of(row["cause"]) if row["cause"] else 0,
        row["command"],
    )


def _rollout_of(row: dict[str, str]) -> Rollout:
    return Rollout(
        row["current"],
        row["update"],
        int(row["desired"]),
        int(row["replicas"]),
        int(row["ready"]),
        int(row["available"]),
        int(row["updated"]),
        row["done"] == "true",
        position_of(row["started"]),
        position_of(row["doneSince"]) if row["doneSince"] else 0,
    )


def _parked_of(row: dict[str, str]) -> Parked:
    return Parked(position_of(row["position"]), row["type"], row["error"])


def _hint_of(name: str) -> tuple[str, str]:
    controller, _, key = name.partition("/")
    return controller, key


def _waiting_of(value: str) -> Waiting:
    stream_id, _, text = value.partition(" ")
    return Waiting(text, position_of(stream_id))
