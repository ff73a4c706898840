"""Leases of nodes are heartbeats: keys with a TTL in the queue's Redis, and not history (docs/architecture.md).

A node renews its Lease in kube-node-lease as it does on Kubernetes; what is kept of it is who holds it and that it was
heard now, by our clock, so that a node whose clock is wrong is as alive as any other. Two agents that say they are one
node are told apart by `holderIdentity`: the second is refused until the first has been silent for a grace period.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import NotFound
from schemas.kinds import LEASE
from schemas.objects import Object, key_of
from schemas.times import Milliseconds, micro_time
from services.api.bodies import object_of
from services.api.failures import bad_request, failure, method_not_allowed
from services.api.identity.nodes import check_lease, node_of
from services.api.negotiation import JSON, TABLE, form_of
from services.api.requests import Target, User
from services.api.tables import table_of
from services.broker.leases import Heartbeats
from services.node_protocol import AGENT, OLDEST

NAMESPACE = "kube-node-lease"
PLACE = (LEASE.resource, NAMESPACE)


class NodeLeases:
    """Answers for the Leases of nodes. `nodes` returns the names of all there are, and since when they are there."""

    def __init__(
        self,
        heartbeats: Heartbeats,
        nodes: Callable[[], Mapping[str, str]],
        clock: Callable[[], Milliseconds],
    ) -> None:
        self._heartbeats = heartbeats
        self._nodes = nodes
        self._clock = clock

    async def __call__(self, request: Request, user: User, target: Target, body: bytes) -> Response:
        """Answer a request about one Lease, or all. Raises Failure, Forbidden, NotFound, Unavailable."""
        match target.verb:
            case "create" | "update":
                check_version(request.headers.get("user-agent", ""))
                lease = object_of(body, request.headers.get("content-type", ""), target)
                check_lease(node_of(user), NAMESPACE, lease["metadata"].get("name") or target.name)
                return await self._renew(target, lease)
            case "get":
                found = await self._lease(target)
                return self._shown(request, target, found, [found])
            case "list":
                every = await asyncio.to_thread(self._all)
                metadata = {"resourceVersion": str(self._clock() << 20)}
                whole = {"apiVersion": LEASE.api_version, "kind": "LeaseList", "metadata": metadata}
                return self._shown(request, target, {**whole, "items": every}, every)
        raise method_not_allowed(target.verb, target.resource)

    @property
    def grace_seconds(self) -> float:
        """How long nothing may be heard of a node before it is NotReady."""
        return self._heartbeats.ttl_ms / 1000

    async def holder_of(self, node: str) -> str:
        """Return who holds a node's Lease now; empty where nobody was heard for a grace period."""
        return await asyncio.to_thread(self._heartbeats.holder, node)

    def _shown(self, request: Request, target: Target, value: Object, leases: Sequence[Object]) -> Response:
        """Answer with a value, or with the leases as rows."""
        if form_of(request.headers.get("accept", "")).shape != TABLE:
            return _answer(value)
        version = {"resourceVersion": value["metadata"]["resourceVersion"]}
        return _answer(table_of(LEASE, leases, self._clock(), target.options.include, version))

    async def _renew(self, target: Target, lease: Object) -> Response:
        name = target.name or lease["metadata"].get("name", "")
        holder = (lease.get("spec") or {}).get("holderIdentity")
        if not isinstance(holder, str) or not 0 < len(holder) < 254:
            raise bad_request(
                "spec.holderIdentity: a node's Lease names who holds it, in at most 253 characters"
            )
        other = await asyncio.to_thread(self._heartbeats.renew, name, holder, self._clock())
        if other:
            raise held(name, other)
        return _answer(self._object(name, holder, self._clock()), 201 if target.verb == "create" else 200)

    async def _lease(self, target: Target) -> Object:
        heard = await asyncio.to_thread(self._heartbeats.read, [target.name])
        if target.name not in heard:
            raise NotFound(f"{target.subject} not found", key_of(LEASE.resource, NAMESPACE, target.name))
        holder = await self.holder_of(target.name)
        since = self._nodes().get(target.name, "")
        return self._object(target.name, holder, heard[target.name], since)

    def _all(self) -> list[Object]:
        nodes = self._nodes()
        heard = self._heartbeats.read(list(nodes))
        return [
            self._object(name, self._heartbeats.holder(name), heard[name], nodes[name])
            for name in sorted(heard)
        ]

    def _object(self, name: str, holder: str, heard: Milliseconds, since: str = "") -> Object:
        metadata = {"name": name, "namespace": NAMESPACE, "resourceVersion": str(heard << 20)}
        if since:
            metadata["creationTimestamp"] = since
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder or name,
                "leaseDurationSeconds": self._heartbeats.ttl_ms // 1000,
                "renewTime": micro_time(heard),
            },
        }


def check_version(agent: str) -> None:
    """Refuse an agent that is too old to be understood; whoever calls himself something else speaks Kubernetes'."""
    if not agent.startswith(AGENT):
        return
    number = agent.removeprefix(AGENT).partition(" ")[0]
    if not number.isdecimal() or int(number) < OLDEST:
        raise bad_request(
            f"this agent speaks version {number[:20]!r} and this control plane {OLDEST} or later: "
            "install the control plane's release of chronoset on that machine"
        )


def held(node: str, holder: str) -> Exception:
    """409: somebody else is this node."""
    return failure(
        409,
        "Conflict",
        f"node {node!r} is run by another agent ({holder}), which was heard within the grace period: "
        "give this one another name",
        name=node,
        group=LEASE.group,
        kind=LEASE.plural,
    )


def _answer(value: Object, code: int = 200) -> Response:
    return Response(orjson.dumps(value), code, media_type=JSON)
