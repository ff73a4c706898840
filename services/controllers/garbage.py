"""Garbage collection: what goes when its owner or its namespace goes.

Without it, deleting a StatefulSet would leave its pods. The rules are those of pkg/controller/garbagecollector and
pkg/controller/namespace. A key names an owner, by key and uid (`apps/statefulsets/default/web@<uid>`), for the owner
may be gone, and another of its name there: whoever is gone is known by those who still refer to it. All dependents
of an owner go in one batch, of at most `MOST_CHANGES`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from events.state import State
from schemas.changes import Change, Decision, Replace
from schemas.deletion import (
    BACKGROUND,
    FOREGROUND,
    FOREGROUND_FINALIZER,
    ORPHAN,
    ORPHAN_FINALIZER,
    deletion_of,
)
from schemas.kinds import BY_NAME, CLAIM, DAEMON_SET, KINDS, NAMESPACE, POD, STATEFUL_SET
from schemas.objects import (
    Key,
    Object,
    is_terminating,
    key_of,
    key_of_object,
    kind_of,
    name_of,
    namespace_of,
    split_key,
    uid_of,
    with_metadata,
)
from schemas.times import Milliseconds
from services.controllers.controller import Controller
from services.controllers.finalizers import finalized, has_finalizer, without_finalizer
from services.controllers.leftovers import next_look, said_of

MOST_CHANGES = 500

_FIRST_WAVE = frozenset({POD.kind, STATEFUL_SET.kind, DAEMON_SET.kind})


class Standing(Enum):
    """What an owner reference is worth."""

    SOLID = "the owner is there, or of a kind that cannot be looked up"
    DANGLING = "the owner is gone, though another may have its name"
    WAITING = "the owner is there only until its dependents are gone"


@dataclass(frozen=True, slots=True)
class Dependent:
    """An object with an owner reference to the owner in question.

    standings       uid of each of its owners -> what that reference is worth
    waits           it is an owner itself, and stays until its own dependents are gone where its owner does
    is_in_cycle     one of its own dependents waits for its dependents: they may wait for each other
    """

    object: Object
    standings: dict[str, Standing]
    waits: bool = False
    is_in_cycle: bool = False


@dataclass(frozen=True, slots=True)
class OwnerView:
    """An owner, or None where it is gone, and those who refer to its uid."""

    uid: str
    owner: Object | None
    dependents: tuple[Dependent, ...]


@dataclass(frozen=True, slots=True)
class NamespaceView:
    """A namespace that is being deleted, and what is still in it."""

    namespace: Object
    contents: tuple[Object, ...]


View = OwnerView | NamespaceView


def triggers(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    """Yield the owners that the event concerns: the object itself, its owners, its namespace."""
    if new is None:
        assert old is not None
        if state.owned_by(uid_of(old)):
            yield _key(old)
        if namespace_of(old) and (namespace := _terminating_namespace(state, old)):
            yield _key(namespace)
    elif is_terminating(new) and _is_owner_to_end(new) and (old is None or _end_of(old) != _end_of(new)):
        yield _key(new)
    before = old["metadata"].get("ownerReferences") if old else None
    after = new["metadata"].get("ownerReferences") if new else None
    if before is not after and before != after:
        yield from _owners_concerned(state, old, new)


def keys(state: State) -> Iterable[Key]:
    """Return the owners that are gone though someone refers to them, and those that wait for their dependents."""
    found: dict[Key, None] = {}
    for kind in KINDS:
        for obj in state.list(kind.resource):
            if is_terminating(obj) and _is_owner_to_end(obj):
                found[_key(obj)] = None
            if "ownerReferences" in obj["metadata"]:
                found.update((key, None) for key in _owners_concerned(state, None, obj))
    return found


def view_of(state: State, key: Key) -> View | None:
    """Return an owner with its dependents, or a namespace with its contents; None where there is nothing to do."""
    object_key, _, uid = key.rpartition("@")
    owner = state.get(object_key)
    if owner is not None and uid_of(owner) != uid:
        owner = None
    if owner is not None and not (is_terminating(owner) and _is_owner_to_end(owner)):
        return None
    if owner is not None and kind_of(owner) is NAMESPACE and not _policy_of(owner):
        return NamespaceView(owner, tuple(_contents_of(state, name_of(owner))))
    dependents = tuple(_dependent(state, obj) for obj in state.owned_by(uid))
    return OwnerView(uid, owner, dependents) if owner is not None or dependents else None


def reconcile(view: View, now: Milliseconds) -> Decision:
    """Delete, or set free, what an owner or a namespace leaves behind, and let it go when nothing is left.

    That an object is being deleted is never taken back, and a uid never returns: no other head needs to hold still.
    """
    match view:
        case NamespaceView(namespace, contents):
            return _empty(namespace, contents, now)
        case OwnerView(_, None, dependents):
            return _bounded(_collected(dependents, now), now)
        case OwnerView(uid, owner, dependents):
            assert owner is not None
            if _policy_of(owner) == ORPHAN:
                return _orphan(owner, uid, dependents, now)
            return _collect_first(owner, uid, dependents, now)


GARBAGE: Controller[View] = Controller("garbage", triggers, keys, view_of, reconcile)


def _orphan(owner: Object, uid: str, dependents: Sequence[Dependent], now: Milliseconds) -> Decision:
    changes = [_without_owners(dependent.object, {uid}) for dependent in dependents]
    return _bounded([*changes, without_finalizer(owner, ORPHAN_FINALIZER)], now)


def _collect_first(owner: Object, uid: str, dependents: Sequence[Dependent], now: Milliseconds) -> Decision:
    """Delete the dependents; the owner waits for those that block it."""
    changes = _collected(dependents, now)
    blocking = [dependent.object for dependent in dependents if _is_blocking(dependent.object, uid)]
    if not blocking:
        return _bounded([*changes, without_finalizer(owner, FOREGROUND_FINALIZER)], now)
    waiting_for = f"{len(blocking)} dependents to be gone before {key_of_object(owner)}: {_names(blocking)}"
    return _bounded(changes, now, waiting_for)


def _collected(dependents: Iterable[Dependent], now: Milliseconds) -> list[Change]:
    return [change for dependent in dependents if (change := _collection_of(dependent, now))]


def _collection_of(dependent: Dependent, now: Milliseconds) -> Change | None:
    """Return what becomes of a dependent whose owner is gone or waits (attemptToDeleteItem); None for nothing."""
    obj = dependent.object
    worthless = {uid for uid, standing in dependent.standings.items() if standing is not Standing.SOLID}
    if is_terminating(obj) or not worthless:
        return None
    if len(worthless) < len(dependent.standings):
        return _without_owners(obj, worthless)
    if Standing.WAITING in dependent.standings.values() and dependent.waits:
        marked = deletion_of(_unblocking(obj) if dependent.is_in_cycle else obj, now, propagation=FOREGROUND)
        assert isinstance(marked, Replace)
        return Replace(obj, marked.new)
    return deletion_of(obj, now, propagation=_policy_of(obj) or BACKGROUND)


def _empty(namespace: Object, contents: Sequence[Object], now: Milliseconds) -> Decision:
    """Delete what is in a namespace, then the namespace (pkg/controller/namespace/deletion).

    Pods first, as ordered namespace deletion has it, so that they end with what they use still there; and with them
    the workloads, which would only make new ones.
    """
    changes: list[Change] = []
    if not contents:
        changes.append(finalized(namespace, {**namespace, "spec": _without_finalizers(namespace)}))
        return Decision(tuple(changes))
    said = said_of(namespace, contents, now)
    status = {**namespace.get("status", {}), "phase": "Terminating", **({"conditions": said} if said else {})}
    if status != namespace.get("status"):
        changes.append(Replace(namespace, {**namespace, "status": status}))
    wave = [obj for obj in contents if obj["kind"] in _FIRST_WAVE] or contents
    changes += [deletion_of(obj, now) for obj in wave if not is_terminating(obj)]
    counts = Counter(kind_of(obj).resource for obj in contents)
    left = ", ".join(f"{count} {resource}" for resource, count in sorted(counts.items()))
    decision = _bounded(changes, now, f"namespace {name_of(namespace)} to be empty: {left} ({_names(wave)})")
    if decision.requeue_at is None and (later := next_look(namespace)) > now:
        return replace(decision, requeue_at=later)
    return decision


def _bounded(changes: Sequence[Change], now: Milliseconds, waiting_for: str = "") -> Decision:
    """Return the first changes, and look again at once if there are more. What must come last comes last."""
    has_more = len(changes) > MOST_CHANGES
    return Decision(tuple(changes[:MOST_CHANGES]), (), waiting_for, now if has_more else None)


def _key(obj: Object) -> Key:
    return f"{key_of_object(obj)}@{uid_of(obj)}"


def _end_of(obj: Object) -> tuple[object, ...]:
    """What of an object that is being deleted decides how it ends."""
    return (is_terminating(obj), obj["metadata"].get("finalizers"), obj.get("spec", {}).get("finalizers"))


def _is_owner_to_end(obj: Object) -> bool:
    return bool(_policy_of(obj)) or kind_of(obj) is NAMESPACE


def _policy_of(obj: Object) -> str:
    """Return the propagation policy that an object's finalizers keep it for; empty where none does."""
    if has_finalizer(obj, ORPHAN_FINALIZER):
        return ORPHAN
    return FOREGROUND if has_finalizer(obj, FOREGROUND_FINALIZER) else ""


def _owner_key(reference: Object, namespace: str) -> Key | None:
    """Return the key that a reference means; None for a kind we do not know, or one no such object can be in."""
    kind = BY_NAME.get((reference["apiVersion"], reference["kind"]))
    if kind is None or (kind.namespaced and not namespace):
        return None
    return key_of(kind.resource, namespace if kind.namespaced else "", reference["name"])


def _standing_of(state: State, reference: Object, namespace: str) -> Standing:
    key = _owner_key(reference, namespace)
    if key is None:
        return Standing.SOLID
    owner = state.get(key)
    if owner is None or uid_of(owner) != reference["uid"]:
        return Standing.DANGLING
    return Standing.WAITING if _waits_for_dependents(owner) else Standing.SOLID


def _waits_for_dependents(owner: Object) -> bool:
    return is_terminating(owner) and has_finalizer(owner, FOREGROUND_FINALIZER)


def _owners_concerned(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    """Yield the owners that must look at an object whose references have changed.

    One that waits for it wants to know in any case; one that is gone, if the object is not going already.
    """
    for obj in (old, new):
        for reference in (obj["metadata"].get("ownerReferences") or ()) if obj else ():
            assert obj is not None
            standing = _standing_of(state, reference, namespace_of(obj))
            is_left = standing is Standing.DANGLING and obj is new and not is_terminating(obj)
            if standing is Standing.WAITING or is_left:
                yield f"{_owner_key(reference, namespace_of(obj))}@{reference['uid']}"


def _dependent(state: State, obj: Object) -> Dependent:
    standings = {
        reference["uid"]: _standing_of(state, reference, namespace_of(obj))
        for reference in obj["metadata"]["ownerReferences"]
    }
    own = state.owned_by(uid_of(obj))
    return Dependent(obj, standings, _may_wait_for(obj, own), any(map(_waits_for_dependents, own)))


def _may_wait_for(obj: Object, own: Sequence[Object]) -> bool:
    """True for an owner, but for a pod that its claims go with (ours): they wait in turn for the pod that uses them."""
    return bool(own) and not (obj["kind"] == POD.kind and any(each["kind"] == CLAIM.kind for each in own))


def _contents_of(state: State, namespace: str) -> Iterator[Object]:
    for kind in KINDS:
        if kind.namespaced:
            yield from state.list(kind.resource, namespace)


def _terminating_namespace(state: State, obj: Object) -> Object | None:
    namespace = state.get(key_of(NAMESPACE.resource, "", namespace_of(obj)))
    return namespace if namespace is not None and is_terminating(namespace) else None


def _is_blocking(obj: Object, uid: str) -> bool:
    return any(
        reference["uid"] == uid and reference.get("blockOwnerDeletion")
        for reference in obj["metadata"]["ownerReferences"]
    )


def _without_owners(obj: Object, uids: set[str]) -> Replace:
    kept = [each for each in obj["metadata"]["ownerReferences"] if each["uid"] not in uids]
    return Replace(obj, with_metadata(obj, ownerReferences=kept or None))


def _unblocking(obj: Object) -> Object:
    references = [
        {name: value for name, value in each.items() if name != "blockOwnerDeletion"}
        for each in obj["metadata"]["ownerReferences"]
    ]
    return with_metadata(obj, ownerReferences=references)


def _without_finalizers(namespace: Object) -> Object:
    return {name: value for name, value in namespace.get("spec", {}).items() if name != "finalizers"}


def _names(objects: Sequence[Object]) -> str:
    shown = ", ".join("/".join(split_key(key_of_object(obj))[1:]).strip("/") for obj in objects[:3])
    return f"{shown}, ..." if len(objects) > 3 else shown
