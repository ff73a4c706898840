"""From changes to one atomic batch: what a commit writes, and what it expects.

`prepare` is pure: changes, a reader and an intent in, a batch out. `Committer` gives it a clock, uids and a log, and
decides again when another writer was faster.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import NamedTuple, Protocol, cast, runtime_checkable

from events.admission import admitted_pod
from events.codec import decode, encode
from events.ids import random_uid
from events.log import MAX_EVENTS, Appended, Batch, Draft, Log
from events.memory import wall_clock
from schemas.changes import Change, Create, Delete, Replace
from schemas.envelopes import (
    CREATE,
    DELETE,
    NOWHERE,
    READER_VERSION,
    REPLACE,
    SCHEMA_VERSION,
    UPDATE,
    Actor,
    Event,
    Origin,
)
from schemas.errors import (
    BadRequest,
    Cause,
    ChronosetError,
    CommandReused,
    Conflict,
    Forbidden,
    NotFound,
)
from schemas.event_types import changed_type, created_type, deleted_type
from schemas.generations import moves_generation
from schemas.kinds import CONTROLLER_REVISION, NAMESPACE, POD
from schemas.objects import (
    Key,
    Object,
    is_terminating,
    key_of,
    key_of_object,
    namespace_of,
    uid_of,
    version_of,
    with_metadata,
)
from schemas.patching import apply_merge_patch, is_json, merge_patch_between, strictly_equal
from schemas.positions import Position
from schemas.revisions import DERIVATION, derive, revisions_of
from schemas.times import Milliseconds, rfc3339

ATTEMPTS = 5
"""How often a decision is taken again when its commit conflicts."""
REMEMBER_PERSON = 86_400
REMEMBER_CONTROLLER = 600
"""Seconds a command id is remembered. A controller's late retry is refused by its guard anyway (docs/adr)."""
NOTHING = Appended(0, 0, 0, False)
"""What comes of a commit with nothing to do that is not remembered; it costs no round trip."""
_DERIVING = ("StatefulSet", "DaemonSet")
_GENERATIONS = ("StatefulSet", "DaemonSet", "Pod", "PodDisruptionBudget")


Changed = tuple[Object | None, Object | None]
"""An object before and after an event."""


class Reader(Protocol):
    """What a commit reads: the State of a replica, or the projections."""

    def get(self, key: Key) -> Object | None:
        """Return the object under `key` with its resourceVersion, or None."""

    def list(self, resource: str, namespace: str = "") -> Sequence[Object]:
        """Return the objects of a resource in a namespace."""


@runtime_checkable
class Indexed(Reader, Protocol):
    """A reader that need not look at all revisions of a namespace for those of one workload."""

    def related(self, resource: str, namespace: str, uid: str) -> Sequence[Object]:
        """Return the objects of a resource and a namespace that `uid` owns, or may adopt."""


@dataclass(frozen=True, slots=True)
class Intent:
    """Who wants a commit, and why.

    command       id of the command; a retry with the same id and digest returns the first result
    digest        of the command's content as the user gave it; empty: the digest of the events themselves
    origin        where the wish came from, for those that came over a wire
    """

    actor: Actor
    command: str
    digest: str = ""
    remember: int = REMEMBER_PERSON
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be committed, as decided from one reading.

    rests_on      objects, as read, that must not have moved, besides those that change
    guard         (name, position at which it was read): checked and advanced, so that of two workers one wins
    cause         the position that led here; 0 for a person's wish
    """

    changes: Iterable[Change]
    rests_on: Iterable[Object] = ()
    guard: tuple[str, Position] | None = None
    cause: Position = 0

    @property
    def guard_name(self) -> str:
        """The guard's name; empty where there is none."""
        return self.guard[0] if self.guard else ""


@dataclass(frozen=True, slots=True)
class Edges:
    """What a commit takes from the world: a clock, uids, and the sealing of Secrets' values."""

    clock: Callable[[], Milliseconds] = wall_clock
    new_uid: Callable[[], str] = random_uid
    seal: Callable[[Object, Object | None], Object] = field(default=lambda new, _old: new)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The events of a batch, not yet positioned, and the heads they rest upon."""

    events: tuple[Event, ...]
    expected: dict[str, Position]
    guard: str
    changed: tuple[Changed, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """What came of a commit: where it stands, and its events with their positions (none: nothing to do)."""

    appended: Appended
    events: tuple[Event, ...]
    changed: tuple[Changed, ...] = ()
    """Each event's object before and after (the latter not yet with its new resourceVersion); empty for a repeat."""


def prepare(proposal: Proposal, reader: Reader, intent: Intent, edges: Edges) -> Prepared:
    """Return the events that a proposal comes to, with every head they expect.

    A change that changes nothing appends nothing. A StatefulSet or DaemonSet whose template changed brings its
    ControllerRevisions along (SEMANTICS: derivation); a new pod is completed (events.admission). Raises Conflict,
    NotFound, Forbidden (namespace, admission), BadRequest.
    """
    now = edges.clock()
    batch = _Preparation(reader, edges, now)
    for change in proposal.changes:
        batch.add(change)
    for obj in proposal.rests_on:
        batch.expect(key_of_object(obj), version_of(obj))
    if proposal.guard:
        batch.expect(*proposal.guard)
    if len(batch.steps) > MAX_EVENTS:
        raise BadRequest(
            f"{len(batch.steps)} changes are too many for one atomic batch: at most {MAX_EVENTS}"
        )
    size = len(batch.steps)
    events = tuple(
        _event(step, (index, size), intent, proposal, now) for index, step in enumerate(batch.steps)
    )
    changed = tuple((step.old, step.new) for step in batch.steps)
    return Prepared(events, batch.expected, proposal.guard_name, changed)


@dataclass(frozen=True, slots=True)
class _Step:
    """One change on its way to become an event; `derived_from` is the index of the step it follows from."""

    key: Key
    old: Object | None
    new: Object | None
    derived_from: int = -1


class _Preparation:
    """The batch while it is being put together."""

    def __init__(self, reader: Reader, edges: Edges, now: Milliseconds) -> None:
        self.steps: list[_Step] = []
        self.expected: dict[str, Position] = {}
        self._reader = reader
        self._edges = edges
        self._now = now
        self._touched: set[Key] = set()

    def expect(self, key: Key, position: Position) -> None:
        if self.expected.setdefault(key, position) != position:
            raise Conflict(key, position, self.expected[key])

    def add(self, change: Change, derived_from: int = -1) -> None:
        key = change.key
        if key in self._touched:
            raise BadRequest(f"{key} is changed twice in one batch")
        match change:
            case Create(obj):
                self._create(key, obj, derived_from)
            case Replace(old, new):
                self._replace(key, old, new, derived_from)
            case Delete(old):
                self._append(_Step(key, old, None, derived_from))

    def _append(self, step: _Step) -> None:
        self.expect(step.key, version_of(step.old) if step.old else 0)
        self._touched.add(step.key)
        self.steps.append(step)

    def _create(self, key: Key, obj: Object, derived_from: int) -> None:
        self._expect_namespace(obj)
        if obj["kind"] == POD.kind:
            obj = admitted_pod(obj, self._reader.get, self._reader.list)
        metadata = dict(obj["metadata"])
        metadata.pop("resourceVersion", None)
        metadata["uid"] = self._edges.new_uid()
        metadata["creationTimestamp"] = rfc3339(self._now)
        if obj["kind"] in _GENERATIONS:
            metadata["generation"] = 1
        new = self._edges.seal({**obj, "metadata": metadata}, None)
        self._write(key, None, new, derived_from)

    def _replace(self, key: Key, old: Object, new: Object, derived_from: int) -> None:
        kept = {
            name: old["metadata"].get(name)
            for name in ("uid", "creationTimestamp", "resourceVersion", "generation")
        }
        if old["kind"] in _GENERATIONS and moves_generation(old, new):
            kept["generation"] = old["metadata"].get("generation", 0) + 1
        new = self._edges.seal(with_metadata(new, **kept), old)
        if _is_finished(new):
            self._append(_Step(key, old, None, derived_from))
        elif not strictly_equal(old, new):
            self._write(key, old, new, derived_from)
        else:
            self.expect(key, version_of(old))

    def _write(self, key: Key, old: Object | None, new: Object, derived_from: int) -> None:
        if new["kind"] not in _DERIVING or is_terminating(new) or not _template_moved(old, new):
            self._append(_Step(key, old, new, derived_from))
            return
        revisions = self._revisions(new)
        derivation = derive(new, revisions, find=partial(self._revision, namespace_of(new)))
        index = len(self.steps)
        self._append(_Step(key, old, derivation.workload, derived_from))
        for revision in revisions_of(new, revisions):
            self.expect(key_of_object(revision), version_of(revision))
        for change in derivation.changes:
            self.add(change, derived_from=index)

    def _revisions(self, workload: Object) -> Sequence[Object]:
        """Return at least the revisions that a workload owns or may adopt."""
        place = CONTROLLER_REVISION.resource, namespace_of(workload)
        reader = self._reader
        if _is_indexed(type(reader)):
            return cast(Indexed, reader).related(*place, uid_of(workload))
        return reader.list(*place)

    def _revision(self, namespace: str, name: str) -> Object | None:
        return self._reader.get(key_of(CONTROLLER_REVISION.resource, namespace, name))

    def _expect_namespace(self, obj: Object) -> None:
        namespace = namespace_of(obj)
        if not namespace:
            return
        key = key_of(NAMESPACE.resource, "", namespace)
        found = self._reader.get(key)
        if found is None:
            raise NotFound(f'namespaces "{namespace}" not found', key)
        if is_terminating(found):
            raise Forbidden(
                f"{key_of_object(obj)}: unable to create new content in namespace {namespace} "
                "because it is being terminated",
                (
                    Cause(
                        "metadata.namespace",
                        f"namespace {namespace} is being terminated",
                        "NamespaceTerminating",
                    ),
                ),
            )
        self.expect(key, version_of(found))


@cache
def _is_indexed(kind: type[Reader]) -> bool:
    """Say whether readers of a type are Indexed; asked once, since typing takes long to tell."""
    return issubclass(kind, Indexed)


def _template_moved(old: Object | None, new: Object) -> bool:
    return old is None or not strictly_equal(old["spec"]["template"], new["spec"]["template"])


def _is_finished(obj: Object) -> bool:
    """True for a terminating object that nothing holds: no finalizer, no grace that an agent must confirm.

    A namespace has finalizers in its spec, too: `kubernetes`, until garbage collection has emptied it.
    """
    metadata = obj["metadata"]
    return (
        is_terminating(obj)
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not obj.get("spec", {}).get("finalizers")
    )


def _event(
    step: _Step, place: tuple[int, int], intent: Intent, proposal: Proposal, now: Milliseconds
) -> Event:
    index, size = place
    op, kind_of_event, body = _content(step)
    subject = step.new if step.new is not None else step.old
    assert subject is not None
    derived = step.derived_from >= 0
    actor = intent.actor
    if derived:
        actor = Actor(f"controller:{_owner_kind(subject)}", actor.authenticated)
    return Event(
        position=0,
        key=step.key,
        type=kind_of_event,
        after=0,
        version=SCHEMA_VERSION,
        min_reader=READER_VERSION,
        op=op,
        uid=uid_of(subject),
        body=body,
        previous=version_of(step.old) if step.old else 0,
        at=now,
        actor=actor,
        cause=step.derived_from - index if derived else proposal.cause,
        command=intent.command,
        offset=index,
        size=size,
        guard=proposal.guard_name,
        derivation=DERIVATION if derived else 0,
        origin=intent.origin,
    )


def _owner_kind(revision: Object) -> str:
    return str(revision["metadata"]["ownerReferences"][0]["kind"]).lower()


def _content(step: _Step) -> tuple[str, str, Object | None]:
    """Return op, type and body of a step: a merge patch where it says exactly the change, else the whole object."""
    match step.old, step.new:
        case None, new if new is not None:
            return CREATE, created_type(new["kind"]), new
        case old, None if old is not None:
            return DELETE, deleted_type(old["kind"]), None
        case old, new:
            assert old is not None and new is not None
            patch = merge_patch_between(old, new)
            if patch is not None and strictly_equal(apply_merge_patch(old, patch), new):
                return UPDATE, changed_type(old, new), patch
            whole = with_metadata(new, resourceVersion=None)
            return REPLACE, changed_type(old, new), whole
    raise AssertionError("a step has an old or a new object")


def batch_of(prepared: Prepared, intent: Intent, clock: Milliseconds) -> Batch:
    """Return the batch to append. Raises BadRequest where an event would not be read as it was written."""
    drafts = tuple(_draft(event) for event in prepared.events)
    digest = intent.digest or digest_of(b"".join(draft.data for draft in drafts))
    guards = (prepared.guard,) if prepared.guard and drafts else ()
    return Batch(drafts, prepared.expected, guards, intent.command, digest, clock, intent.remember)


def digest_of(content: bytes) -> str:
    """Return the digest under which a command's content is remembered."""
    return hashlib.sha256(content).hexdigest()[:32]


def _draft(event: Event) -> Draft:
    try:
        data = encode(event)
    except (ValueError, OverflowError, TypeError) as error:
        raise BadRequest(f"{event.key} cannot be written to the log: {error}") from error
    if not is_json(event.body):
        raise BadRequest(f"{event.key} would not be read as it is written: use JSON values only")
    return Draft(event.key, event.type, data, event.op == DELETE)


Decide = Callable[[], Proposal]
"""Reads and decides. Called again after a conflict."""


class Wish(NamedTuple):
    """A decision to be taken and committed, and who wants it."""

    decide: Decide
    intent: Intent


class _Ready(NamedTuple):
    """What a decision came to, and what of it is to be appended."""

    prepared: Prepared
    batch: Batch | None


class Committer:
    """Commits decisions to a log, and decides again, with jitter, when another writer was faster.

    `catch_up(position)` makes the reader see at least that position.
    """

    def __init__(
        self, log: Log, reader: Reader, catch_up: Callable[[Position], None], edges: Edges | None = None
    ) -> None:
        self.conflicts = 0
        self._log = log
        self._reader = reader
        self._catch_up = catch_up
        self._edges = edges or Edges()

    def commit_all(self, wishes: Sequence[Wish]) -> list[Committed | Exception]:
        """Carry out several decisions, each as by `commit` and by itself; what goes wrong with one is its result.

        All are taken on what the reader shows at first, and appended in one round trip; those that another writer was
        faster with are taken again one by one.
        """
        ready = [self._ready(wish) for wish in wishes]
        answers = iter(
            self._log.append_all([each.batch for each in ready if isinstance(each, _Ready) and each.batch])
        )
        return [self._outcome(wish, each, answers) for wish, each in zip(wishes, ready, strict=True)]

    def _ready(self, wish: Wish) -> _Ready | Exception:
        try:
            prepared = prepare(wish.decide(), self._reader, wish.intent, self._edges)
            return _Ready(prepared, self._batch(prepared, wish.intent))
        except Exception as error:  # noqa: BLE001 - the boundary of a decision among several
            return error

    def _outcome(
        self, wish: Wish, ready: _Ready | Exception, answers: Iterator[Appended | ChronosetError]
    ) -> Committed | Exception:
        try:
            if isinstance(ready, Exception):
                error = ready
            elif ready.batch is None:
                return Committed(NOTHING, ())
            else:
                answer = next(answers)
                if isinstance(answer, Appended):
                    return self._committed(ready.prepared, answer)
                error = answer
            if not isinstance(error, Conflict):
                return error
            self._lost(error, 1)
            return self.commit(wish.decide, wish.intent, ATTEMPTS - 1)
        except Exception as error:  # noqa: BLE001 - the boundary of a decision among several
            return error

    def commit(self, decide: Decide, intent: Intent, attempts: int = ATTEMPTS) -> Committed:
        """Carry out what `decide` concludes, once. Raises Conflict when it lost `attempts` times in a row."""
        for attempt in range(1, attempts + 1):
            try:
                return self.append(prepare(decide(), self._reader, intent, self._edges), intent)
            except Conflict as conflict:
                if attempt == attempts:
                    self.conflicts += 1
                    raise
                self._lost(conflict, attempt)
        raise AssertionError("unreachable")

    def _lost(self, conflict: Conflict, attempt: int) -> None:
        """Wait until another try can come to something else."""
        self.conflicts += 1
        self._catch_up(max(conflict.actual, conflict.expected))
        time.sleep(random.uniform(0, 0.002 * 2**attempt))

    def append(self, prepared: Prepared, intent: Intent) -> Committed:
        """Append what was prepared. Nothing to do is remembered only for commands of people."""
        batch = self._batch(prepared, intent)
        return Committed(NOTHING, ()) if batch is None else self._committed(prepared, self._log.append(batch))

    def _batch(self, prepared: Prepared, intent: Intent) -> Batch | None:
        """Return what is to be appended, if anything is."""
        if not prepared.events and intent.remember != REMEMBER_PERSON:
            return None
        return batch_of(prepared, intent, self._edges.clock())

    def _committed(self, prepared: Prepared, appended: Appended) -> Committed:
        if appended.repeated:
            return Committed(appended, self.events_of(appended))
        events = tuple(
            event._replace(position=appended.first + event.offset, cause=_absolute(event, appended.first))
            for event in prepared.events
        )
        return Committed(appended, events, prepared.changed)

    def earlier(self, intent: Intent) -> Committed | None:
        """Return the result of a command that was carried out before. Raises CommandReused for other content."""
        found = self._log.command(intent.command)
        if found is None:
            return None
        if found.digest != intent.digest:
            raise CommandReused(f"command id {intent.command} was used before with other content")
        return Committed(replace(found.result, repeated=True), self.events_of(found.result))

    def events_of(self, appended: Appended) -> tuple[Event, ...]:
        """Return the events of a batch by reading them back from the log."""
        if appended.count == 0:
            return ()
        return tuple(map(decode, self._log.read(appended.first - 1, appended.count, appended.last)))


def _absolute(event: Event, first: Position) -> Position:
    return first + event.offset + event.cause if event.cause < 0 else event.cause
