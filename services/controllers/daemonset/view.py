"""What a DaemonSet is decided upon: every node with the set's pods on it; and which events concern which set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from events.state import Failure, State
from schemas.kinds import CONTROLLER_REVISION, DAEMON_SET, NODE, POD
from schemas.objects import Key, Object, controller_of, key_of, key_of_object, labels_of, namespace_of
from schemas.selectors import selector_of
from schemas.times import Milliseconds
from schemas.views import DaemonSetView, PodView
from services.controllers.daemonset.placing import Fit, offer_of


class Daemon(NamedTuple):
    """A pod of the set. `available_at` is None while it is not Ready; a terminating pod may still be ready."""

    pod: PodView
    node: str
    revision: str
    is_scheduled: bool
    is_ready: bool
    is_terminating: bool
    is_failed: bool
    is_finished: bool
    created_at: Milliseconds
    available_at: Milliseconds | None

    @property
    def name(self) -> str:
        return self.pod.name

    def is_available(self, now: Milliseconds) -> bool:
        """True if it has been Ready for minReadySeconds at `now`."""
        return self.available_at is not None and self.available_at <= now


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A node and the set's pods on it.

    node      None where it does not exist (any more)
    daemons   the pods bound to it or meant for it, scheduled ones first, then the oldest; but for those that have
              ended and only wait for a finalizer
    is_calm   exactly one pod, which may stay and runs or is about to: nothing to create or to delete
    """

    name: str
    node: Object | None
    fit: Fit
    daemons: tuple[Daemon, ...]
    is_calm: bool

    @property
    def standing(self) -> Standing:
        """What the place counts as."""
        first = self.daemons[0] if self.daemons else None
        if first is None:
            return Standing(self.fit.runs, "", False, None)
        return Standing(self.fit.runs, first.revision, first.is_ready, first.available_at)


class Standing(NamedTuple):
    """What a place counts as in the status: whether it is to run a pod, and of its first pod what is counted.

    Most places of a set share one, so that counting them is counting these.
    """

    runs: bool
    revision: str
    is_ready: bool
    available_at: Milliseconds | None


@dataclass(frozen=True, slots=True)
class View:
    """A DaemonSet and all that it is decided upon.

    places      node's name -> place, in the order of the names: every node there is, and those that pods are meant for
    standings   standing -> how many places have it; places on nodes that do not exist are left out
    unsettled   those of the places that are not calm, or whose pod is not available at all times
    pods        the pods that the set controls, raw
    strangers   those of them that its selector does not match
    orphans     pods of its namespace without a controller
    revisions   ControllerRevisions that it owns or may adopt, and where a name may be taken, all others
    failures    node -> how often the set's pods failed there in its present generation
    """

    owner: DaemonSetView
    places: Mapping[str, Place]
    standings: Mapping[Standing, int]
    unsettled: tuple[Place, ...]
    pods: tuple[Object, ...]
    strangers: tuple[PodView, ...]
    orphans: tuple[PodView, ...]
    revisions: tuple[Object, ...]
    failures: Mapping[str, Failure]


def keys(state: State) -> Iterator[Key]:
    """Yield the key of every DaemonSet."""
    return map(key_of_object, state.list(DAEMON_SET.resource))


def triggers(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    """Yield the keys of the sets that an event may concern; a key may come twice.

    A set itself; a pod's controller, before and after, or the sets that may adopt it; the owner of a revision that
    was changed or deleted (a created one triggers nothing); every set where a node comes, goes, or changes what
    decides about daemons (its labels, its taints, whether it is Ready).
    """
    obj = new if new is not None else old
    assert obj is not None
    match obj["kind"]:
        case DAEMON_SET.kind:
            yield key_of_object(obj)
        case POD.kind:
            yield from _sets_of(state, old, new)
        case CONTROLLER_REVISION.kind if old is not None:
            yield from _sets_of(state, old, new)
        case NODE.kind:
            if old is None or new is None or offer_of(old) != offer_of(new):
                yield from keys(state)


def _sets_of(state: State, old: Object | None, new: Object | None) -> Iterator[Key]:
    for obj in (old, new):
        if obj is None:
            continue
        reference = controller_of(obj)
        if reference is None:
            yield from _adopters(state, obj)
        elif reference["kind"] == DAEMON_SET.kind:
            key = key_of(DAEMON_SET.resource, namespace_of(obj), reference["name"])
            if state.get(key) is not None:
                yield key


def _adopters(state: State, orphan: Object) -> Iterator[Key]:
    for found in state.list(DAEMON_SET.resource, namespace_of(orphan)):
        if selector_of(found["spec"].get("selector")).matches(labels_of(orphan)):
            yield key_of_object(found)
