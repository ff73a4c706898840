"""Writes: decided from what the replica has, committed, and decided again where that was not the truth.

A decision is first taken from the state at hand, without asking where the log ends: the commit checks every head it
rests upon, so what it appends is right. What the state at hand refuses may be wrong, so a refusal is only told after
it was decided once more from a state at the log's head.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from events.commit import (
    REMEMBER_CONTROLLER,
    REMEMBER_PERSON,
    Committer,
    Edges,
    Intent,
    Proposal,
    batch_of,
    prepare,
)
from events.log import Log
from events.replica import Replica
from schemas.changes import Create, Delete
from schemas.deletion import BACKGROUND, FOREGROUND, ORPHAN, deletion_of
from schemas.envelopes import Actor, Origin
from schemas.errors import ChronosetError, Conflict, Unavailable
from schemas.kinds import NODE
from schemas.objects import Key, Object, is_terminating, key_of_object, version_of, with_metadata
from schemas.positions import Position, stream_id_of
from schemas.times import Milliseconds
from services.api.requests import Caller, Options, User
from services.api.seams import AtOnce
from services.commands.deciding import Decided
from services.commands.objects import check_preconditions
from services.commands.sources import existing

PATIENCE = 10.0
NAME_LENGTH = 63
SUFFIX_LENGTH = 5
SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""As apimachinery/pkg/util/rand: no vowels, so no words."""
NAMES_TRIED = 8
_SYSTEM_NODE, _NODE = "system:node:", "node:"

T = TypeVar("T")
Decide = Callable[["ReplicaSources", Milliseconds], Decided]


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a write: the object as it is now (of a deletion: as it was), and warnings.

    `gone` is True where the object does not exist any more, `made` where it did not before, `tried` where nothing was
    written: then it is not what is stored as its version.
    """

    object: Object
    warnings: tuple[str, ...] = ()
    gone: bool = False
    made: bool = False
    tried: bool = False


class ReplicaSources:
    """A replica as services.commands.sources.Sources. A revision that was truncated is not in it."""

    def __init__(self, replica: Replica, unseal: Callable[[Object], Object]) -> None:
        self.replica = replica
        self._unseal = unseal

    def get(self, key: Key) -> Object | None:
        return self.replica.get(key)

    def list(self, resource: str, namespace: str = "") -> Sequence[Object]:
        return self.replica.list(resource, namespace)

    def related(self, resource: str, namespace: str, uid: str) -> Sequence[Object]:
        return self.replica.related(resource, namespace, uid)

    def kept_revisions(self, _uid: str) -> Sequence[Object]:
        return []

    def kept_revision(self, _uid: str, _number: int) -> Object | None:
        return None

    def unseal(self, obj: Object) -> Object:
        return self._unseal(obj)


class Writes:
    """Carries decisions out: quick ones on the event loop, others, and what does not succeed at once, on threads of an
    executor, each with a log of its own.

    Handing over to a thread and back costs as much as an append. What the event loop appends goes out together, and
    shares an fsync.
    """

    def __init__(
        self,
        open_log: Callable[[], Log],
        at_once: AtOnce,
        sources: ReplicaSources,
        edges: Edges,
        executor: Executor,
    ) -> None:
        self._open_log = open_log
        self._at_once_log = at_once
        self._replica = sources.replica
        self._sources = sources
        self._edges = edges
        self._executor = executor
        self._mine = threading.local()
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def write(self, key: Key, decide: Decide, intent: Intent, is_quick: bool = False) -> Written:
        """Decide and commit; of the writes of one key one after the other, since they would only conflict.

        A decision that is quick is taken at once, here. Raises what `decide` and Committer.commit raise.
        """
        async with self._turn(key):
            written = await self._at_once(decide, intent) if is_quick else None
            if written is None:
                written = await self._on_thread(partial(self._carry_out, decide, intent))
            return written

    async def try_out(self, key: Key, decide: Decide, intent: Intent) -> Written:
        """As `write`, but append nothing (dryRun)."""
        return await self.in_turn(key, partial(self._try, decide, intent))

    async def in_turn(self, key: Key, write: Callable[[], T]) -> T:
        """Run what writes an object on a thread; of those of one key one after the other."""
        async with self._turn(key):
            return await self._on_thread(write)

    @property
    def log(self) -> Log:
        """The log of the thread that asks."""
        return self._tools()[0]

    def catch_up(self, position: Position) -> None:
        """Wait until what decisions read is at a position. Raises Unavailable."""
        if not self._replica.wait_for(position, PATIENCE):
            at, wanted = stream_id_of(self._replica.position), stream_id_of(position)
            raise Unavailable(f"this server's replica is at {at}, not yet at {wanted}")

    def _turn(self, key: Key) -> asyncio.Lock:
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = asyncio.Lock()
        return turn

    async def _at_once(self, decide: Decide, intent: Intent) -> Written | None:
        """Decide here and append; None: that did not succeed, and nothing was appended. Raises Unavailable."""
        try:
            decided = self._decided(decide)
            prepared = prepare(_proposal(decided, intent), self._sources, intent, self._edges)
            batch = batch_of(prepared, intent, self._edges.clock())
        except Exception:  # noqa: BLE001 - it is decided again, from what is true then, and told then
            return None
        try:
            appended = await self._at_once_log.append(batch)
            if appended is None:
                appended = await self._on_thread(lambda: self.log.append(batch))
        except Unavailable:
            raise
        except ChronosetError:
            return None
        return _written(decided, prepared.changed, appended.last)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _try(self, decide: Decide, intent: Intent) -> Written:
        """Decide as if to commit, and append nothing; a Secret gets no key, since its values go nowhere."""
        log, _ = self._tools()
        self.catch_up(log.last())
        decided = self._decided(decide)
        unsealed = Edges(self._edges.clock, self._edges.new_uid)
        prepared = prepare(_proposal(decided, intent), self._sources, intent, unsealed)
        return replace(_written(decided, prepared.changed, 0), tried=True)

    def _carry_out(self, decide: Decide, intent: Intent) -> Written:
        log, committer = self._tools()
        decided = Decided(())

        def proposal() -> Proposal:
            nonlocal decided
            decided = self._decided(decide)
            return _proposal(decided, intent)

        position = self._replica.position
        try:
            committed = committer.commit(proposal, intent)
        except (Conflict, Unavailable):
            raise
        except ChronosetError:
            head = log.last()
            if head <= position:
                raise
            self.catch_up(head)
            committed = committer.commit(proposal, intent)
        return _written(decided, committed.changed, committed.appended.last)

    def _decided(self, decide: Decide) -> Decided:
        return decide(self._sources, self._edges.clock())

    def _tools(self) -> tuple[Log, Committer]:
        """Return this thread's log and committer."""
        found: tuple[Log, Committer] | None = getattr(self._mine, "tools", None)
        if found is None:
            log = self._open_log()
            found = self._mine.tools = log, Committer(log, self._sources, self.catch_up, self._edges)
        return found


def _proposal(decided: Decided, intent: Intent) -> Proposal:
    """Return what to commit. What a node tells of others than itself follows from what it was told of them."""
    is_report = intent.actor.name.startswith(_NODE)
    known = [each.old for each in decided.changes if is_report and not isinstance(each, Create)]
    told = (version_of(each) for each in known if each["kind"] != NODE.kind)
    return Proposal(decided.changes, decided.rests_on, cause=max(told, default=0))


def _written(
    decided: Decided, changed: tuple[tuple[Object | None, Object | None], ...], version: Position
) -> Written:
    """Return what became of the first object that was decided upon; without events it is as it was."""
    if not decided.changes:
        return Written({}, decided.warnings)
    first = decided.changes[0]
    subject = first.object if isinstance(first, Create) else first.old
    key = key_of_object(subject)
    for old, new in changed:
        if new is not None and key_of_object(new) == key:
            now = with_metadata(new, resourceVersion=str(version)) if version else new
            return Written(now, decided.warnings, made=old is None)
        if new is None and old is not None and key_of_object(old) == key:
            last = first.old if isinstance(first, Delete) else getattr(first, "new", old)
            return Written(
                with_metadata(last, resourceVersion=str(version or version_of(old))), (), gone=True
            )
    return Written(subject, decided.warnings)


def intent_of(user: User, caller: Caller) -> Intent:
    """Return who wants a write, as the log will say it: `user:alice`, `node:n1`; the request is the command.

    It is remembered as long as others of its kind are: a person's longer than a program's.
    """
    name = user.name
    is_node = name.startswith(_SYSTEM_NODE)
    known = f"{_NODE}{name.removeprefix(_SYSTEM_NODE)}" if is_node else f"user:{name}"
    remember = REMEMBER_CONTROLLER if is_node else REMEMBER_PERSON
    origin = Origin(user.groups, caller.address, caller.agent[:256])
    actor = Actor(known, user.authenticated)
    if user.impersonator:
        actor = Actor(f"user:{user.impersonator}", user.authenticated, known)
    return Intent(actor, caller.request, remember=remember, origin=origin)


def decide_delete(key: Key, options: Options, sources: ReplicaSources, now: Milliseconds) -> Decided:
    """Conclude what a request to delete comes to (DeleteOptions). Raises NotFound, Outdated."""
    live = existing(sources, key)
    check_preconditions(key, live, options.expected_uid, options.expected_version)
    return Decided((deletion_of(live, now, options.grace_seconds, propagation_of(options, live)),))


def propagation_of(options: Options, live: Object) -> str:
    """Return what becomes of dependents: what is asked for, else what was asked before, else Background."""
    if options.propagation:
        return options.propagation
    if options.orphan is not None:
        return ORPHAN if options.orphan else BACKGROUND
    finalizers = live["metadata"].get("finalizers", ()) if is_terminating(live) else ()
    return (
        ORPHAN if "orphan" in finalizers else FOREGROUND if "foregroundDeletion" in finalizers else BACKGROUND
    )


def with_generated_name(obj: Object) -> Object:
    """Return an object that has only a generateName with a name made of it (apiserver/pkg/storage/names)."""
    base = obj["metadata"]["generateName"][: NAME_LENGTH - SUFFIX_LENGTH]
    suffix = "".join(random.choices(SUFFIX_LETTERS, k=SUFFIX_LENGTH))
    return with_metadata(obj, name=base + suffix)
