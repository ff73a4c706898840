"""The control plane as an agent on the log's own machine reaches it: straight from the event store.

Agents on other machines are clients of the HTTP API (services.agent.remote): nothing on a node touches Redis.
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
from schemas.deletion import DATA_FINALIZER, deletion_of
from schemas.envelopes import Actor
from schemas.errors import Conflict, NotFound, Unavailable
from schemas.kinds import NODE, POD, SECRET, SERVICE, VOLUME
from schemas.objects import (
    Key,
    Object,
    key_of,
    key_of_object,
    name_of,
    namespace_of,
    uid_of,
    version_of,
    with_fields,
    with_metadata,
)
from schemas.positions import Position
from schemas.times import Milliseconds
from services.agent.registrations import is_on, registered, to_be_reclaimed
from services.broker.leases import Heartbeats
from services.headless import Record, records_of

CATCH_UP_SECONDS = 10.0
OWN_WRITE_SECONDS = 1.0
"""How long a write waits to be folded here; after that it is done all the same."""
_PODS = f"{POD.resource}/"


class EventStore:
    """A ControlPlane (services.agent.port) over a log and a replica that follows it."""

    def __init__(
        self,
        log: Log,
        replica: Replica,
        heartbeats: Heartbeats | None,
        edges: Edges,
        unseal: Callable[[Object], Object] = lambda obj: obj,
    ) -> None:
        self._replica = replica
        self._unseal = unseal
        self._heartbeats = heartbeats
        self._log = log
        self._clock: Callable[[], Milliseconds] = edges.clock
        self._committer = Committer(log, replica, self._catch_up, edges)

    def log_id(self) -> str:
        return self._log.log_id()

    def register(self, node: Object) -> None:
        """Create the node, or bring its labels and status up to date; what people set on it stays."""
        self.register_many([node])

    def register_many(self, nodes: Sequence[Object]) -> None:
        """As `register`, in one batch; at most 1,000."""
        wanted = [canonical(node).object for node in nodes]
        self._commit(name_of(nodes[0]), lambda: Proposal(map(self._registration, wanted)))

    def heartbeat(self, node: str) -> None:
        self.heartbeat_many([node])

    def heartbeat_many(self, nodes: Sequence[str]) -> None:
        if self._heartbeats:
            self._heartbeats.write(nodes, self._clock())

    def pods_on(self, node: str) -> list[Object]:
        with self._replica.reading() as state:
            return state.pods_on(node)

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        """As the protocol says; a Secret's values are in the clear where its key is at hand (`unseal`)."""
        found = self._replica.get(key_of(resource, namespace, name))
        return self._unseal(found) if found is not None and resource == SECRET.resource else found

    def node_now(self, name: str) -> Object | None:
        return self.get(NODE.resource, "", name)

    def list(self, resource: str, namespace: str = "") -> Sequence[Object]:
        """Return the objects of a resource, of all namespaces where `namespace` is empty."""
        return self._replica.list(resource, namespace)

    def published(self) -> tuple[Record, ...]:
        return records_of(self.list(SERVICE.resource), self.list(POD.resource))

    def addresses_of_others(self, namespace: str, name: str) -> set[str]:
        """As the protocol says, of all nodes: those of this store share one machine."""
        pods = [
            pod for pod in self.list(POD.resource) if (namespace_of(pod), name_of(pod)) != (namespace, name)
        ]
        found = {str(address) for pod in pods if (address := (pod.get("status") or {}).get("podIP"))}
        return found | {address for node in self.list(NODE.resource) for address in _addresses_of(node)}

    def wait(self, after: Position, timeout: float) -> Position:
        self._replica.wait_for(after + 1, timeout)
        return self._replica.position

    def report(self, pod: Object, status: Object) -> None:
        key = key_of_object(pod)

        def decide() -> Proposal:
            found = self._replica.get(key)
            if found is None or uid_of(found) != uid_of(pod):
                raise NotFound(f"{key} with uid {uid_of(pod)} does not exist")
            return Proposal([Replace(found, with_fields(found, status=status))], cause=version_of(found))

        self._commit(pod["spec"]["nodeName"], decide)

    def report_many(self, reports: Sequence[tuple[Object, Object]]) -> None:
        """As the protocol says. A pod that moves meanwhile makes its batch be decided again."""
        for start in range(0, len(reports), MAX_EVENTS):
            chunk = reports[start : start + MAX_EVENTS]
            self._commit(str(chunk[0][0]["spec"]["nodeName"]), partial(self._statuses, chunk))

    def end_pods(self, pods: Sequence[Object]) -> None:
        """As the protocol says; those that never ran are removed at once (schemas.deletion)."""
        for start in range(0, len(pods), MAX_EVENTS):
            chunk = pods[start : start + MAX_EVENTS]
            self._commit(str(chunk[0]["spec"]["nodeName"]), partial(self._requests_to_end, chunk))

    def confirm_deleted(self, pod: Object) -> None:
        self.confirm_many([pod])

    def confirm_many(self, pods: Sequence[Object]) -> None:
        """Remove terminating pods of these uids for good; those that are gone are left out."""
        for start in range(0, len(pods), MAX_EVENTS):
            chunk = pods[start : start + MAX_EVENTS]
            self._commit(str(chunk[0]["spec"].get("nodeName", "")), partial(self._endings, chunk))

    def volumes_to_reclaim(self, node: str) -> Sequence[Object]:
        """As the protocol says: those whose node affinity matches this node."""
        with self._replica.reading() as state:
            me = state.get(key_of(NODE.resource, "", node))
            held = to_be_reclaimed(state.list(VOLUME.resource))
        return [volume for volume in held if me is not None and is_on(volume, me)]

    def release_volume(self, node: str, volume: Object) -> None:
        key = key_of_object(volume)

        def decide() -> Proposal:
            found = self._replica.get(key)
            if found is None or uid_of(found) != uid_of(volume) or not to_be_reclaimed([found]):
                return Proposal(())
            kept = [each for each in found["metadata"]["finalizers"] if each != DATA_FINALIZER]
            return Proposal(
                [Replace(found, with_metadata(found, finalizers=kept or None))], cause=version_of(found)
            )

        self._commit(node, decide)

    def _registration(self, wanted: Object) -> Change:
        found = self._replica.get(key_of_object(wanted))
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

    def _requests_to_end(self, pods: Sequence[Object]) -> Proposal:
        found = [same for pod in pods if (same := self._same(pod)) is not None]
        return Proposal([deletion_of(pod, self._clock()) for pod in found], cause=_newest(found))

    def _same(self, pod: Object) -> Object | None:
        found = self._replica.get(key_of(POD.resource, pod["metadata"]["namespace"], name_of(pod)))
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
            self._replica.wait_for(committed.appended.last, OWN_WRITE_SECONDS)

    def _catch_up(self, position: Position) -> None:
        if not self._replica.wait_for(position, CATCH_UP_SECONDS):
            raise Unavailable("this agent's replica does not keep up with the log")


class BatchEventStore(EventStore):
    """A BatchControlPlane with a replica of its own: it knows which pods have changed, on whatever node."""

    def __init__(self, log: Log, heartbeats: Heartbeats | None, edges: Edges) -> None:
        self._changed: dict[Key, Position] = {}
        self._noted: Position = 0
        self._moved = threading.Condition()
        replica = Replica(log, on_applied=self._note)
        super().__init__(log, replica, heartbeats, edges)
        replica.load()
        replica.start()

    def close(self) -> None:
        """Follow the log no more."""
        self._replica.stop()

    def changed_pods(self, after: Position, timeout: float) -> tuple[Position, Sequence[Object]]:
        """As the protocol says. Cost: the pods that have changed, not those that there are."""
        with self._moved:
            self._moved.wait_for(lambda: self._noted > after, timeout)
            position = max(self._noted, after)
            newest_first = takewhile(lambda key: self._changed[key] > after, reversed(self._changed))
            keys = list(newest_first)
        found = [self._replica.get(key) for key in reversed(keys)]
        return position, [pod for pod in found if pod is not None]

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


def _addresses_of(node: Object) -> list[str]:
    return [str(each["address"]) for each in (node.get("status") or {}).get("addresses") or ()]


def _newest(objects: Iterable[Object]) -> Position:
    """Return the last of the positions that a batch follows from, which stands for all of them."""
    return max(map(version_of, objects), default=0)


def _ending(pod: Object) -> Change:
    """Return what removes a pod whose processes are gone: at once, or once its last finalizer goes."""
    if pod["metadata"].get("finalizers"):
        return Replace(pod, with_metadata(pod, deletionGracePeriodSeconds=0))
    return Delete(pod)
