"""The control plane as the simulated nodes of a load test have it: in batches, straight into the event store.

Thousands of them are one process, and what is measured is not the API. Nodes of machines are clients of that
(services.agent.remote): nothing on a node touches Redis.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import takewhile

from events.commit import REMEMBER_CONTROLLER, Committer, Edges, Intent, Proposal
from events.log import MAX_EVENTS, Log
from events.replica import Applied, Replica
from schemas.canonical import canonical
from schemas.changes import Change, Create, Delete, Replace
from schemas.envelopes import Actor
from schemas.errors import Conflict, Unavailable
from schemas.kinds import POD
from schemas.objects import (
    Key,
    Object,
    key_of_object,
    name_of,
    uid_of,
    version_of,
    with_fields,
    with_metadata,
)
from schemas.positions import Position
from services.agent.registrations import registered
from services.broker.leases import Heartbeats

CATCH_UP_SECONDS = 10.0
OWN_WRITE_SECONDS = 1.0
"""How long a write waits to be folded here; after that it is done all the same."""
_PODS = f"{POD.resource}/"


class EventStore:
    """A Plane (services.agent.simulated_nodes) with a replica of its own, by which it knows which pods have changed."""

    def __init__(self, log: Log, heartbeats: Heartbeats | None, edges: Edges) -> None:
        self._changed: dict[Key, Position] = {}
        self._noted: Position = 0
        self._moved = threading.Condition()
        self._heartbeats = heartbeats
        self._clock = edges.clock
        self.replica = Replica(log, on_applied=self._note)
        self._committer = Committer(log, self.replica, self._catch_up, edges)
        self.replica.load()
        self.replica.start()

    def close(self) -> None:
        """Follow the log no more."""
        self.replica.stop()

    def register_many(self, nodes: Sequence[Object]) -> None:
        """Create nodes, or bring their labels and status up to date, in one batch; at most 1,000."""
        wanted = [canonical(node).object for node in nodes]
        self._commit(name_of(nodes[0]), lambda: Proposal(map(self._registration, wanted)))

    def heartbeat_many(self, nodes: Sequence[str]) -> None:
        """Say that nodes live."""
        if self._heartbeats:
            self._heartbeats.write(nodes, self._clock())

    def changed_pods(self, after: Position, timeout: float) -> tuple[Position, Sequence[Object]]:
        """Wait for pods changed after `after` and return them as they are now, and the position to ask from next.

        A pod may be returned again though it did not change. Cost: the pods that have changed, not those there are.
        """
        with self._moved:
            self._moved.wait_for(lambda: self._noted > after, timeout)
            position = max(self._noted, after)
            newest_first = takewhile(lambda key: self._changed[key] > after, reversed(self._changed))
            keys = list(newest_first)
        found = [self.replica.get(key) for key in reversed(keys)]
        return position, [pod for pod in found if pod is not None]

    def report_many(self, reports: Sequence[tuple[Object, Object]]) -> None:
        """Report several (pod, status); pods that are gone are left out.

        A pod that moves meanwhile makes its batch be decided again.
        """
        for start in range(0, len(reports), MAX_EVENTS):
            chunk = reports[start : start + MAX_EVENTS]
            self._commit(str(chunk[0][0]["spec"]["nodeName"]), partial(self._statuses, chunk))

    def confirm_many(self, pods: Sequence[Object]) -> None:
        """Remove terminating pods of these uids for good; those that are gone are left out."""
        for start in range(0, len(pods), MAX_EVENTS):
            chunk = pods[start : start + MAX_EVENTS]
            self._commit(str(chunk[0]["spec"].get("nodeName", "")), partial(self._endings, chunk))

    def _registration(self, wanted: Object) -> Change:
        found = self.replica.get(key_of_object(wanted))
        return Create(wanted) if found is None else Replace(found, registered(found, wanted))

    def _statuses(self, reports: Sequence[tuple[Object, Object]]) -> Proposal:
        changes: list[Replace] = []
        for pod, status in reports:
            found = self._same(pod)
            if found is not None:
                changes.append(Replace(found, with_fields(found, status=status)))
        return Proposal(changes, cause=_newest(change.old for change in changes))

    def _endings(self, pods: Sequence[Object]) -> Proposal:
        found = [same for pod in pods if (same := self._same(pod)) is not None]
        return Proposal(map(_ending, found), cause=_newest(found))

    def _same(self, pod: Object) -> Object | None:
        found = self.replica.get(key_of_object(pod))
        return found if found is not None and uid_of(found) == uid_of(pod) else None

    def _commit(self, node: str, decide: Callable[[], Proposal]) -> None:
        """Commit as the node, and wait until the next read sees it: nothing is reported or confirmed twice."""
        actor = Actor(f"node:{node}", "socket")
        try:
            committed = self._committer.commit(
                decide, Intent(actor, uuid.uuid4().hex, remember=REMEMBER_CONTROLLER)
            )
        except Conflict as conflict:
            raise Unavailable(
                f"the status could not be written, others were faster: {conflict}"
            ) from conflict
        if committed.events:
            self.replica.wait_for(committed.appended.last, OWN_WRITE_SECONDS)

    def _catch_up(self, position: Position) -> None:
        if not self.replica.wait_for(position, CATCH_UP_SECONDS):
            raise Unavailable("this agent's replica does not keep up with the log")

    def _note(self, applied: Sequence[Applied]) -> None:
        with self._moved:
            for each in applied:
                key = each.event.key
                if key.startswith(_PODS):
                    self._changed.pop(key, None)
                    if each.new is not None:
                        self._changed[key] = each.event.position
            self._noted = applied[-1].event.position
            self._moved.notify_all()


def _newest(objects: Iterable[Object]) -> Position:
    """Return the last of the positions that a batch follows from, which stands for all of them."""
    return max(map(version_of, objects), default=0)


def _ending(pod: Object) -> Change:
    """Return what removes a pod whose processes are gone: at once, or once its last finalizer goes."""
    if pod["metadata"].get("finalizers"):
        return Replace(pod, with_metadata(pod, deletionGracePeriodSeconds=0))
    return Delete(pod)
