"""The state of a cluster at a position: every object, and the indexes that controllers read.

A State is moved forward only by `events.fold.apply`. The objects in it are never edited: an event puts a new
object in the place of the old one and shares what did not change, so a reader may keep an object for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import NamedTuple

from schemas.objects import Key, Object, controller_of, has_ended, split_key
from schemas.positions import Position
from schemas.storage import marks_of
from schemas.times import Milliseconds

UNSCHEDULED = ""
_ADOPTABLE = frozenset({"core/pods", "apps/controllerrevisions"})
"""What controllers adopt where it has no controller."""
_MARKED = frozenset({"core/persistentvolumeclaims", "core/persistentvolumes"})
"""What is found by its marks (schemas.storage)."""
_GONE_REMEMBERED = 1_000
"""How many objects that an owner no longer has are remembered; whoever has not looked since then looks at all."""
_PLACES = "volumes/at/"
"""How the marks begin that tell where volumes take room."""
Objects = list[Object]


@dataclass(frozen=True, slots=True)
class Failure:
    """How often a pod was removed while Failed, and when it last was.

    A StatefulSet's is counted by its name, since it was last Ready. A DaemonSet's is counted by its node
    (`daemon_place`), within one `generation` of the set, until it has not failed for half an hour.
    """

    count: int
    last: Milliseconds
    generation: int = 0


def daemon_place(node: str) -> str:
    """Return what stands for a DaemonSet's pod on a node in `State.failures`; no pod has such a name."""
    return f"node/{node}"


class _Owned:
    """What an owner owns, and what it owned until of late: keys, each with the number of the move that touched it last.

    keys    by resource, the one touched last at the end
    since   the number of the move before its first object; lower marks know nothing of this owner, or too little
    """

    __slots__ = ("gone", "keys", "since")

    def __init__(self, since: int) -> None:
        self.keys: dict[str, dict[Key, int]] = {}
        self.gone: dict[Key, int] = {}
        self.since = since

    def __iter__(self) -> Iterator[Key]:
        return chain.from_iterable(self.keys.values())

    def __len__(self) -> int:
        return sum(map(len, self.keys.values()))

    def drop(self, resource: str, key: Key, move: int) -> None:
        self.keys.get(resource, {}).pop(key, None)
        self.gone[key] = move
        if len(self.gone) > _GONE_REMEMBERED:
            self.gone, self.since = {}, move

    def touched_after(self, move: int) -> Iterator[Key]:
        for keys in (*self.keys.values(), self.gone):
            for key in reversed(keys):
                if keys[key] <= move:
                    break
                yield key

    def copy(self) -> _Owned:
        other = _Owned(self.since)
        other.keys = {resource: dict(keys) for resource, keys in self.keys.items()}
        other.gone = dict(self.gone)
        return other


class _Place(NamedTuple):
    """The objects of one resource and namespace, and the keys of each owner's (by uid), while indexes are made."""

    resource: str
    namespace: str
    objects: dict[Key, Object]
    is_adoptable: bool
    owned: dict[str, dict[Key, int]]


class Facts:
    """Objects by key, and what only a fold can know: all that a State is, but the indexes, which follow from it.

    A fold through a stretch of the past at which nobody looks meanwhile is done with these, in half the time.

    position      the last event folded; readers see it only at the end of a batch
    guards        guard -> the position that last advanced it
    ever_ready    uids of the pods that were Ready at least once since they were created
    failures      (uid of the owner, pod name; for a DaemonSet's pods `daemon_place`) -> Failure
    ended         keys of the pods that have Succeeded or Failed
    """

    __slots__ = ("ended", "ever_ready", "failures", "guards", "log_id", "objects", "position")

    def __init__(self) -> None:
        self.position: Position = 0
        self.log_id = ""
        self.objects: dict[Key, Object] = {}
        self.guards: dict[str, Position] = {}
        self.ever_ready: set[str] = set()
        self.failures: dict[tuple[str, str], Failure] = {}
        self.ended: dict[Key, None] = {}

    def put(self, key: Key, old: Object | None, new: Object) -> None:  # noqa: ARG002 - for the indexes of a State
        """Set the object under `key`. For the fold only."""
        self.objects[key] = new
        if key.startswith("core/pods/"):
            if has_ended(new):
                self.ended[key] = None
            elif self.ended:
                self.ended.pop(key, None)

    def remove(self, key: Key, old: Object) -> None:  # noqa: ARG002 - for the indexes of a State
        """Remove the object under `key`. For the fold only."""
        del self.objects[key]
        self.ended.pop(key, None)

    def facts(self) -> Facts:
        """Return what can be moved forward without moving this. The objects are shared."""
        other = Facts()
        self._tell(other)
        return other

    def _tell(self, other: Facts) -> None:
        other.position, other.log_id = self.position, self.log_id
        other.objects = dict(self.objects)
        other.guards = dict(self.guards)
        other.ever_ready = set(self.ever_ready)
        other.failures = dict(self.failures)
        other.ended = dict(self.ended)


class State(Facts):
    """Facts with indexes: by kind and namespace, owner and node."""

    __slots__ = ("_by_kind", "_by_mark", "_by_node", "_by_owner", "_moved", "_moves", "_orphans")

    def __init__(self) -> None:
        super().__init__()
        self._by_kind: dict[str, dict[str, dict[Key, Object]]] = {}
        self._by_owner: dict[str, _Owned] = {}
        self._by_node: dict[str, dict[Key, None]] = {}
        self._by_mark: dict[str, dict[Key, None]] = {}
        self._orphans: dict[tuple[str, str], dict[Key, None]] = {}
        self._moved: dict[str, int] = {}
        self._moves = 0

    @classmethod
    def of(cls, facts: Facts) -> State:
        """Return the State of some facts, which are of no more use themselves; a State is returned as it is.

        All its indexes are made at once, in half the time that it takes to put each object.
        """
        if isinstance(facts, State):
            return facts
        state = cls()
        state.position, state.log_id, state.objects = facts.position, facts.log_id, facts.objects
        state.guards, state.ever_ready = facts.guards, facts.ever_ready
        state.failures, state.ended = facts.failures, facts.ended
        state._moves = 1
        places: dict[str, _Place] = {}
        by_node = state._by_node
        for key, obj in facts.objects.items():
            prefix = key.rpartition("/")[0]
            place = places.get(prefix)
            if place is None:
                place = places[prefix] = state._place(key)
            place.objects[key] = obj
            is_controlled = False
            for reference in obj["metadata"].get("ownerReferences", ()):
                owned = place.owned.get(reference["uid"])
                if owned is None:
                    owned = place.owned[reference["uid"]] = state._owned_of(place.resource, reference["uid"])
                owned[key] = 1
                is_controlled |= reference.get("controller", False)
            if place.is_adoptable and not is_controlled:
                state._orphans.setdefault((place.resource, place.namespace), {})[key] = None
            if place.resource == "core/pods":
                node = obj["spec"].get("nodeName", UNSCHEDULED)
                try:
                    by_node[node][key] = None
                except KeyError:
                    by_node[node] = {key: None}
            elif place.resource == "core/nodes":
                state._moved[obj["metadata"]["name"]] = 1
            elif place.resource in _MARKED:
                state._mark(key, None, obj)
        state._moved |= dict.fromkeys(filter(None, by_node), 1)
        return state

    def _place(self, key: Key) -> _Place:
        resource, namespace, _ = split_key(key)
        objects = self._by_kind.setdefault(resource, {}).setdefault(namespace, {})
        return _Place(resource, namespace, objects, resource in _ADOPTABLE, {})

    def _owned_of(self, resource: str, uid: str) -> dict[Key, int]:
        """Return what an owner owns of a resource, as it is before anything has moved."""
        return self._by_owner.setdefault(uid, _Owned(0)).keys.setdefault(resource, {})

    def get(self, key: Key) -> Object | None:
        """Return the object under `key`, or None."""
        return self.objects.get(key)

    def list(self, resource: str, namespace: str = "") -> Objects:
        """Return the objects of a resource (`core/pods`), of one namespace or of all; in no particular order."""
        namespaces = self._by_kind.get(resource, {})
        if namespace:
            return [*namespaces.get(namespace, {}).values()]
        return [obj for objects in namespaces.values() for obj in objects.values()]

    def owned_by(self, uid: str) -> Objects:
        """Return the objects that have an owner reference to `uid`."""
        return [self.objects[key] for key in self._by_owner.get(uid, ())]

    def count_owned(self, uid: str) -> int:
        """Return how many objects have an owner reference to `uid`."""
        return len(self._by_owner.get(uid, ()))

    def owned_since(self, uid: str, mark: int) -> tuple[int, Sequence[Key] | None]:
        """Return a new mark, and the keys of what `uid` owns or owned that has changed since an old one of this State.

        None: that is not known any more (or `mark` is 0), and all that `owned_by` returns may have changed. Costs what
        has changed, not what there is.
        """
        owned = self._by_owner.get(uid)
        if owned is None or mark <= owned.since:
            return self._moves, None
        return self._moves, tuple(owned.touched_after(mark))

    def orphans(self, resource: str, namespace: str) -> Objects:
        """Return the pods or ControllerRevisions of a namespace that have no controller, so that one may adopt them."""
        return [self.objects[key] for key in self._orphans.get((resource, namespace), ())]

    def related(self, resource: str, namespace: str, uid: str) -> Objects:
        """Return the pods or ControllerRevisions of a namespace that `uid` owns, or may adopt."""
        owned = self._by_owner.get(uid)
        own = owned.keys.get(resource, ()) if owned is not None else ()
        keys = dict.fromkeys((*own, *self._orphans.get((resource, namespace), ())))
        return [self.objects[key] for key in keys if key.startswith(f"{resource}/{namespace}/")]

    def pods_on(self, node: str) -> Objects:
        """Return the pods bound to a node; with "" those bound to none."""
        return [self.objects[key] for key in self._by_node.get(node, ())]

    def marked(self, mark: str) -> Objects:
        """Return the claims or volumes that have a mark (schemas.storage.marks_of)."""
        return [self.objects[key] for key in self._by_mark.get(mark, ())]

    def moved_since(self, mark: int) -> tuple[int, Sequence[str]]:
        """Return a new mark, and where something has changed since an old one of this State (0: since ever).

        That is the name of a node for itself and its pods, and the mark (`volumes_at`) of a host for its volumes. Costs
        what has changed, not what there is.
        """
        newest_first = takewhile(lambda name: self._moved[name] > mark, reversed(self._moved))
        return self._moves, tuple(newest_first)

    def heads(self) -> Iterator[tuple[Key, Position]]:
        """Yield what the log's heads must be at this position: every object's, then every guard's."""
        for key, obj in self.objects.items():
            yield key, int(obj["metadata"]["resourceVersion"])
        yield from self.guards.items()

    def copy(self) -> State:
        """Return a State that can be moved forward without moving this one. The objects are shared."""
        other = State()
        self._tell(other)
        other._by_kind = {
            resource: {namespace: dict(objects) for namespace, objects in namespaces.items()}
            for resource, namespaces in self._by_kind.items()
        }
        other._by_owner = {uid: owned.copy() for uid, owned in self._by_owner.items()}
        other._by_node = {node: dict(keys) for node, keys in self._by_node.items()}
        other._by_mark = {mark: dict(keys) for mark, keys in self._by_mark.items()}
        other._orphans = {place: dict(keys) for place, keys in self._orphans.items()}
        other._moved, other._moves = dict(self._moved), self._moves
        return other

    def put(self, key: Key, old: Object | None, new: Object) -> None:
        """Set the object under `key`. For the fold only."""
        self.objects[key] = new
        resource, namespace, _ = split_key(key)
        try:
            self._by_kind[resource][namespace][key] = new
        except KeyError:
            self._by_kind.setdefault(resource, {}).setdefault(namespace, {})[key] = new
        owners = new["metadata"].get("ownerReferences")
        old_owners = old["metadata"].get("ownerReferences") if old else None
        if owners is not old_owners:
            self._disown(resource, key, old_owners)
        if owners:
            for reference in owners:
                self._own(resource, key, reference["uid"])
        if resource in _ADOPTABLE and (old is None or owners is not old_owners):
            self._forget_orphan(resource, namespace, key)
            if controller_of(new) is None:
                self._orphans.setdefault((resource, namespace), {})[key] = None
        if resource == "core/pods":
            node = new["spec"].get("nodeName", UNSCHEDULED)
            if old is None or new["spec"] is not old["spec"]:
                old_node = old["spec"].get("nodeName", UNSCHEDULED) if old else None
                if node != old_node:
                    if old_node is not None:
                        self._leave(old_node, key)
                    self._by_node.setdefault(node, {})[key] = None
            if node:
                self._move(node)
            if has_ended(new):
                self.ended[key] = None
            elif self.ended:
                self.ended.pop(key, None)
        elif resource in _MARKED:
            self._mark(key, old, new)
        elif resource == "core/nodes":
            self._move(new["metadata"]["name"])

    def remove(self, key: Key, old: Object) -> None:
        """Remove the object under `key`. For the fold only."""
        del self.objects[key]
        resource, namespace, _ = split_key(key)
        namespaces = self._by_kind[resource]
        del namespaces[namespace][key]
        if not namespaces[namespace]:
            del namespaces[namespace]
        self._disown(resource, key, old["metadata"].get("ownerReferences"))
        self._forget_orphan(resource, namespace, key)
        if resource == "core/pods":
            self._leave(old["spec"].get("nodeName", UNSCHEDULED), key)
            self.ended.pop(key, None)
        elif resource in _MARKED:
            self._mark(key, old, None)
        elif resource == "core/nodes":
            self._move(old["metadata"]["name"])

    def _move(self, place: str) -> None:
        """Note that something has changed on a node, or among a host's volumes; no node is no place."""
        if not place:
            return
        self._moves += 1
        self._moved.pop(place, None)
        self._moved[place] = self._moves

    def _mark(self, key: Key, old: Object | None, new: Object | None) -> None:
        before = set(marks_of(old)) if old else set()
        after = set(marks_of(new)) if new else set()
        for mark in before - after:
            marked = self._by_mark[mark]
            del marked[key]
            if not marked:
                del self._by_mark[mark]
        for mark in after - before:
            self._by_mark.setdefault(mark, {})[key] = None
        for mark in before | after:
            if mark.startswith(_PLACES):
                self._move(mark)

    def _own(self, resource: str, key: Key, uid: str) -> None:
        owned = self._by_owner.get(uid)
        if owned is None:
            owned = self._by_owner[uid] = _Owned(self._moves)
        self._moves = move = self._moves + 1
        keys = owned.keys.get(resource)
        if keys is None:
            keys = owned.keys[resource] = {}
        keys.pop(key, None)
        keys[key] = move
        if owned.gone:
            owned.gone.pop(key, None)

    def _disown(self, resource: str, key: Key, references: Objects | None) -> None:
        for reference in references or ():
            owned = self._by_owner.get(reference["uid"])
            if owned is not None:
                self._moves += 1
                owned.drop(resource, key, self._moves)
                if not owned:
                    del self._by_owner[reference["uid"]]

    def _forget_orphan(self, resource: str, namespace: str, key: Key) -> None:
        orphans = self._orphans.get((resource, namespace))
        if orphans is not None and orphans.pop(key, key) is None and not orphans:
            del self._orphans[resource, namespace]

    def _leave(self, node: str, key: Key) -> None:
        pods = self._by_node[node]
        del pods[key]
        if not pods:
            del self._by_node[node]
        self._move(node)
