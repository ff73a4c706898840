"""Whether a log is what was written: each entry follows the one before, each object its own last change, and what
follows from an event by a rule is what stands there.

The fold itself refuses much (a gap, a foreign uid, a `prev` that is not the object's). This is the rest. What an edit
leaves consistent in all of that can be seen only in what was made of the log before: projections, snapshots, and the
digests of sealed segments.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from events.codec import Entry, decode
from events.fold import apply
from events.log import MAX_CLOCK_SKEW_MS, MAX_EVENTS
from events.snapshots import states_differ
from events.state import State
from schemas.changes import Change, Create, Delete, Replace
from schemas.envelopes import CREATE, DELETE, EPOCH, GENESIS, LOG_KEY, UPDATE, Event
from schemas.errors import Damaged, LostHistory
from schemas.generations import moved_generation_before, moves_generation
from schemas.kinds import BY_RESOURCE, CONTROLLER_REVISION, DAEMON_SET, STATEFUL_SET
from schemas.objects import (
    Key,
    Object,
    is_terminating,
    key_of_object,
    namespace_of,
    split_key,
    uid_of,
    with_metadata,
)
from schemas.patching import strictly_equal
from schemas.positions import Position, stream_id_of, time_of
from schemas.retention import is_kept
from schemas.revisions import DERIVATION, derive
from schemas.times import rfc3339

_DERIVING = (STATEFUL_SET.resource, DAEMON_SET.resource)
_DERIVED_OF = frozenset({*_DERIVING, CONTROLLER_REVISION.resource})
_GIVEN = {"uid": None, "creationTimestamp": None, "resourceVersion": None, "generation": None}
"""What the commit gives an object; all else of a derived one follows from its workload."""


class _Step(NamedTuple):
    event: Event
    old: Object | None
    new: Object | None


class Verifier:
    """Folds entries and checks each. `take` raises Damaged at the first one that is wrong; then it is of no more use.

    `state` is where it stands, at the end of a batch. Given one, it begins there, and what lies before is not checked.
    Over a stretch without the events of some kinds (`skip`) it checks all that does not need them.
    """

    def __init__(self, state: State | None = None) -> None:
        self.state = state or State()
        self.events = 0
        self.derived = 0
        self._begin = self.state.position
        self._uids: set[str] = {uid_of(obj) for obj in self.state.objects.values()}
        self._positions = array("Q")
        self._pending: list[Event] = []
        self._last = self.state.position
        self._without: frozenset[str] = frozenset()

    def skip(self, resources: frozenset[str], until: Position) -> None:
        """Go on without the objects of some resources, since their events up to `until` are kept no more."""
        self._without |= resources
        self._begin = max(self._begin, until)
        for key, obj in list(self.state.objects.items()):
            if not is_kept(key, resources):
                self.state.remove(key, obj)

    def resume(self, state: State) -> None:
        """Go on with all objects, as they were kept where a stretch ends that was gone over without some.

        Raises Damaged where the others are not what the events gave.
        """
        self._fold_pending()
        if what := states_differ(self.state, state, self._without):
            raise Damaged(
                f"the state kept at {stream_id_of(state.position)} differs in {what}", state.position
            )
        self.state, self._last, self._without = state, state.position, frozenset()
        self._uids |= {uid_of(obj) for obj in state.objects.values()}

    def take(self, entries: Iterable[Entry]) -> None:
        """Check the next entries. Raises Damaged, which names the position."""
        for entry in entries:
            self._check_link(entry)
            if not is_kept(entry.key, self._without):
                continue
            try:
                event = decode(entry)
            except LostHistory as error:
                raise Damaged(str(error), entry.position) from error
            if self._without and self._pending[-1:] and not _same_batch(self._pending[-1], event):
                self._fold_pending()
            self._check_batch(event)
            self._pending.append(event)
            if event.offset == event.size - 1:
                self._fold_pending()

    def end(self, tail: Position) -> None:
        """Check that the log ends where it says it does. Raises Damaged."""
        if self._pending:
            raise _wrong(self._pending[-1], "the batch that it belongs to is not whole: the log breaks off")
        if self.state.position != tail:
            where = "nothing" if not self._last else stream_id_of(self._last)
            raise Damaged(
                f"after {where} entries are missing: the log ended at {stream_id_of(tail)}", self._last
            )

    def _check_link(self, entry: Entry) -> None:
        is_gone_before = self._without and entry.after > self._last
        if (entry.after != self._last and not is_gone_before) or entry.position <= entry.after:
            expected = stream_id_of(self._last) if self._last else "nothing: it is the log's first"
            raise Damaged(
                f"the entry at {stream_id_of(entry.position)} ({entry.type} {entry.key}) follows "
                f"{stream_id_of(entry.after)}, but before it is {expected}",
                entry.position,
            )
        self._last = entry.position

    def _check_batch(self, event: Event) -> None:
        before = self._pending[-1] if self._pending else None
        place = before.offset + 1 if before else 0
        fits = event.offset >= place if self._without else event.offset == place
        if not 1 <= event.size <= MAX_EVENTS or not fits or event.offset >= event.size:
            raise _wrong(
                event, f"it is number {event.offset + 1} of a batch of {event.size}, which does not fit there"
            )
        if before is None:
            return
        if event.position - event.offset != before.position - before.offset:
            raise _wrong(event, "a batch has no gaps")
        for name in ("size", "command", "at", "guard", "origin", "version", "min_reader"):
            if getattr(event, name) != getattr(before, name):
                raise _wrong(event, f"its {name} is not the one of its batch")
        if any(each.key == event.key for each in self._pending):
            raise _wrong(event, "its object is changed twice in one batch")

    def _fold_pending(self) -> None:
        if self._pending:
            self._fold(self._pending)
            self._pending = []

    def _fold(self, batch: Sequence[Event]) -> None:
        steps = []
        for event in batch:
            old = self.state.objects.get(event.key)
            if self._without:
                self.state.position = event.after
            try:
                apply(self.state, event)
            except LostHistory as error:
                raise Damaged(str(error), event.position) from error
            steps.append(_Step(event, old, self.state.objects.get(event.key)))
        for step in steps:
            self._check_step(step)
            self._positions.append(step.event.position)
        if not self._without & _DERIVED_OF:
            self._check_derivations(steps)
        self.events += len(steps)

    def _check_step(self, step: _Step) -> None:
        event = step.event
        if event.op in (GENESIS, EPOCH):
            return
        self._check_envelope(event)
        resource = split_key(event.key)[0] if event.key.count("/") in (2, 3) else ""
        kind = BY_RESOURCE.get(resource)
        if kind is None:
            raise _wrong(event, "there are no objects of this kind")
        if not event.type.startswith(kind.kind):
            raise _wrong(event, f"its type is not one of a {kind.kind}")
        for op, ending in ((CREATE, f"{kind.kind}Created"), (DELETE, f"{kind.kind}Deleted")):
            if (event.op == op) is not (event.type == ending):
                raise _wrong(event, f"its type does not fit its op {event.op}")
        if step.new is not None:
            self._check_object(event, step.old, step.new)

    def _check_envelope(self, event: Event) -> None:
        if event.at > time_of(event.position) + MAX_CLOCK_SKEW_MS:
            raise _wrong(
                event, f"its writer's clock says {rfc3339(event.at)}, the log's server would have refused it"
            )
        if event.cause and not self._is_cause(event):
            raise _wrong(event, f"its cause {stream_id_of(event.cause)} is no earlier event")
        controller = event.guard.split("/")[1] if event.guard.count("/") >= 2 else ""
        if controller and not event.derivation and event.actor.name != f"controller:{controller}":
            raise _wrong(event, f"it is by {event.actor.name}, but holds the guard of {controller}")

    def _is_cause(self, event: Event) -> bool:
        """Say whether there was an event where the cause points; what lies before the beginning is taken on trust."""
        if event.cause <= self._begin:
            return True
        at = bisect_left(self._positions, event.cause)
        found = at < len(self._positions) and self._positions[at] == event.cause
        return event.cause < event.position and (found or event.cause >= event.position - event.offset)

    def _check_object(self, event: Event, old: Object | None, new: Object) -> None:
        metadata = new["metadata"]
        if key_of_object(new) != event.key:
            raise _wrong(event, f"the object in it is {key_of_object(new)}")
        if metadata.get("uid") != event.uid:
            raise _wrong(event, f"the object in it has uid {metadata.get('uid')}")
        if old is None:
            if event.uid in self._uids:
                raise _wrong(event, f"uid {event.uid} was another object's")
            self._uids.add(event.uid)
            if metadata.get("creationTimestamp") != rfc3339(event.at):
                raise _wrong(
                    event,
                    f"it was written at {rfc3339(event.at)}, the object says {metadata.get('creationTimestamp')}",
                )
            return
        if metadata.get("creationTimestamp") != old["metadata"].get("creationTimestamp"):
            raise _wrong(event, "an object's creationTimestamp never changes")
        if event.op == UPDATE and not _is_minimal(event.body, old):
            raise _wrong(event, "its patch sets what was so already")
        if "generation" in old["metadata"]:
            before = old["metadata"]["generation"]
            moved = {before + rule(old, new) for rule in (moves_generation, moved_generation_before)}
            if metadata.get("generation") not in moved:
                raise _wrong(
                    event,
                    f"its generation is {metadata.get('generation')} after {before}",
                )

    def _check_derivations(self, steps: Sequence[_Step]) -> None:
        """Check that the revisions in a batch are the ones that follow from its workloads, no more and no fewer."""
        derived = {step.event.key: step for step in steps if step.event.derivation}
        for step in steps:
            event, new = step.event, step.new
            if (
                event.derivation
                or new is None
                or event.key == LOG_KEY
                or split_key(event.key)[0] not in _DERIVING
            ):
                continue
            moved = step.old is None or not strictly_equal(
                step.old["spec"]["template"], new["spec"]["template"]
            )
            if moved and not is_terminating(new):
                self._check_revisions(step, new, steps, derived)
        for step in derived.values():
            raise _wrong(step.event, "it says that it was derived, but follows from no change of its batch")

    def _check_revisions(
        self, workload: _Step, new: Object, steps: Sequence[_Step], derived: dict[Key, _Step]
    ) -> None:
        before = {
            key_of_object(obj): obj
            for obj in self.state.list(CONTROLLER_REVISION.resource, namespace_of(new))
        }
        for step in steps:
            if step.event.key in before or (
                step.old is not None and step.old["kind"] == CONTROLLER_REVISION.kind
            ):
                before.pop(step.event.key, None)
                if step.old is not None:
                    before[step.event.key] = step.old
        for change in derive(new, list(before.values())).changes:
            if isinstance(change, Replace) and strictly_equal(change.old, change.new):
                continue
            found = derived.pop(change.key, None)
            if found is None:
                raise _wrong(workload.event, f"{change.key}, which follows from it, is not in its batch")
            self._check_derived(workload.event, found, change)

    def _check_derived(self, workload: Event, found: _Step, change: Change) -> None:
        event = found.event
        if event.derivation != DERIVATION:
            raise _wrong(
                event,
                f"it was derived by rule {event.derivation}, this program knows rule {DERIVATION}: upgrade it first",
            )
        if event.cause != workload.position:
            raise _wrong(event, f"it follows from {stream_id_of(workload.position)}, but names another cause")
        if event.actor.name != f"controller:{split_key(workload.key)[0].split('/')[1].removesuffix('s')}":
            raise _wrong(event, f"it was derived, but is by {event.actor.name}")
        match change:
            case Create(expected) | Replace(_, expected):
                same = found.new is not None and strictly_equal(_content(found.new), _content(expected))
                same = same and isinstance(change, Create) is (found.old is None)
            case Delete():
                same = found.new is None
        if not same:
            raise _wrong(
                event, f"it is not what follows from {stream_id_of(workload.position)} by rule {DERIVATION}"
            )
        self.derived += 1


def _same_batch(one: Event, other: Event) -> bool:
    return one.resource_version == other.resource_version


def _content(obj: Object) -> Object:
    return with_metadata(obj, **_GIVEN)


def _is_minimal(patch: Any, old: Any) -> bool:
    """Say whether every part of a merge patch changes something, as those do that the commit writes."""
    for name, value in patch.items():
        before = old.get(name)
        if value is None:
            if name not in old:
                return False
        elif isinstance(value, dict) and isinstance(before, dict) and value:
            if not _is_minimal(value, before):
                return False
        elif name in old and strictly_equal(value, before):
            return False
    return True


def _wrong(event: Event, why: str) -> Damaged:
    return Damaged(
        f"the event at {stream_id_of(event.position)} ({event.type} {event.key}) is wrong: {why}",
        event.position,
    )
