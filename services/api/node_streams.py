"""Logs, exec and attach: asked of the server of the pod's node, and passed on as they come, unchanged.

What Kubernetes' API server checks itself is checked here (registry/core/pod/strategy.go LogLocation, streamLocation);
the rest the node's server refuses, with a Status that is passed on as well.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import orjson
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from schemas.errors import ChronosetError, Forbidden, NotFound, Unavailable
from schemas.kinds import NODE, POD
from schemas.objects import Object, has_ended, key_of, name_of
from services.api.failures import Failure, bad_request, failure
from services.api.limits import InFlight
from services.api.negotiation import JSON
from services.api.reads import Reads
from services.api.requests import Target, User
from services.api.seams import Authorize, PartHandler, SocketHandler
from services.api.statuses import status_of
from services.node_servers import ServerPlace, server_of

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
LARGEST_MESSAGE = 1 << 20
CLOSE_SECONDS = 2.0
LOG, EXEC, ATTACH, PORT_FORWARD = "log", "exec", "attach", "portforward"
_WORDS = {LOG: "containerLogs", EXEC: "exec", ATTACH: "attach"}
_TELLABLE = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011)
_GONE = 1011
"""The codes of a WebSocket's end that may be sent, and what stands for the others: the node has gone."""


@dataclass(frozen=True, slots=True)
class NodeAccess:
    """How nodes are reached: those of the own data directory by sockets in a folder, others by TLS as the API."""

    socket_dir: Path
    tls: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class _Way:
    """Where to ask about a container: a server, and a path with its query there."""

    place: ServerPlace
    path: str


@dataclass(slots=True)
class NodeStreams:
    """Answers for the parts of pods that only their nodes have. Belongs to the event loop."""

    access: NodeAccess
    reads: Reads
    authorize: Authorize
    in_flight: InFlight

    def parts(self) -> Mapping[tuple[str, str], PartHandler]:
        """Return who answers requests for which parts."""
        return {
            (POD.resource, LOG): self._log,
            **{(POD.resource, name): self._not_upgraded for name in (EXEC, ATTACH, PORT_FORWARD)},
        }

    def sockets(self) -> Mapping[tuple[str, str], SocketHandler]:
        """Return who talks over WebSockets at which parts."""
        return {(POD.resource, name): self._converse for name in (EXEC, ATTACH)}

    async def _log(self, request: Request, user: User, target: Target, _body: bytes) -> Response:
        """Send a container's log. A pod that is on no node has none (204, as LocationStreamer)."""
        pod = await self._pod(target)
        container = _container_of(pod, request.query_params.get("container", ""))
        if not pod["spec"].get("nodeName"):
            return Response(status_code=204)
        way = self._way(pod, container, request.query_params, LOG)
        async with AsyncExitStack() as held:
            held.enter_context(self.in_flight.watch(user.name))
            answer = await held.enter_async_context(_http(self.access, way))
            if answer.status_code != 200:
                raise _refusal(answer.status_code, await answer.aread())
            return StreamingResponse(_passed(answer, held.pop_all()), media_type="text/plain")

    async def _not_upgraded(self, request: Request, _user: User, target: Target, _body: bytes) -> Response:
        """Refuse what asks for no WebSocket. A client whose WebSocket failed asks again so, and shows this answer.

        Therefore what is wrong with the pod or its node is said first.
        """
        pod = await self._pod(target)
        if target.subresource != PORT_FORWARD:
            way = self._streaming(pod, request.query_params, target.subresource)
            async with _http(self.access, replace(way, path="/healthz"), CONNECT_SECONDS):
                pass
        if "upgrade" not in request.headers:
            raise bad_request("Upgrade request required")
        if target.subresource == PORT_FORWARD:
            raise bad_request(
                "port-forward is not served here: connect to the pod's address, which is this network's"
            )
        raise bad_request(
            f"{target.subresource} is spoken over WebSockets here, not SPDY: use kubectl 1.30 or later, or "
            f"chronoset {target.subresource}"
        )

    async def _converse(self, socket: WebSocket, user: User, target: Target) -> None:
        """Pass what is said between a client and a node's server on, until one of them ends."""
        async with AsyncExitStack() as held:
            try:
                self._check_allowed(user, target)
                held.enter_context(self.in_flight.watch(user.name))
                way = self._streaming(await self._pod(target), socket.query_params, target.subresource)
                node = await held.enter_async_context(
                    _websocket(self.access, way, socket.scope["subprotocols"])
                )
            except ChronosetError as error:
                status = status_of(error, target)
                await socket.send_denial_response(
                    Response(orjson.dumps(status), status["code"], media_type=JSON)
                )
                return
            await socket.accept(node.subprotocol)
            await _carry(socket, node)

    def _check_allowed(self, user: User, target: Target) -> None:
        """Raise Forbidden unless a user may create at a part, which is what running a command is.

        A WebSocket is asked for by GET, so the request alone would be one to read (Kubernetes 1.35,
        AuthorizePodWebsocketUpgradeCreatePermission).
        """
        if (why := self.authorize(user, replace(target, verb="create"))) is not None:
            raise Forbidden(
                f'User "{user.name}" cannot create resource "pods/{target.subresource}" in API group "" in the '
                f'namespace "{target.namespace}"' + (f": {why}" if why else "")
            )

    async def _pod(self, target: Target) -> Object:
        await self.reads.catch_up()
        pod = self.reads.get(target.key)
        if pod is None:
            raise NotFound(f"{target.subject} not found", target.key)
        return pod

    def _streaming(self, pod: Object, query: QueryParams, part: str) -> _Way:
        container = _container_of(pod, query.get("container", ""))
        if not pod["spec"].get("nodeName"):
            raise bad_request(f"pod {name_of(pod)} does not have a host assigned")
        if has_ended(pod):
            phase = pod["status"]["phase"]
            what = "exec into" if part == EXEC else "attach to"
            raise bad_request(f"cannot {what} a container in a completed pod; current phase is {phase}")
        return self._way(pod, container, query, part)

    def _way(self, pod: Object, container: str, query: QueryParams, part: str) -> _Way:
        name = pod["spec"]["nodeName"]
        node = self.reads.get(key_of(NODE.resource, "", name))
        if node is None:
            raise _internal(f'node "{name}" of pod "{name_of(pod)}" is not there any more')
        try:
            place = server_of(node, self.access.socket_dir)
        except Unavailable as error:
            raise _internal(str(error)) from error
        words = (pod["metadata"]["namespace"], name_of(pod), container)
        rest = urlencode([(key, value) for key, value in query.multi_items() if key != "container"])
        path = "/".join(("", _WORDS[part], *(quote(word, safe="") for word in words)))
        return _Way(place, f"{path}?{rest}" if rest else path)


def _container_of(pod: Object, wanted: str) -> str:
    """Return the name of the container that is meant. Raises Failure 400 with the API server's sentences."""
    spec, name = pod["spec"], name_of(pod)
    fields = ("containers", "initContainers", "ephemeralContainers")
    mains, inits, others = ([each["name"] for each in spec.get(field) or ()] for field in fields)
    if wanted:
        if wanted not in (*mains, *inits, *others):
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(mains) == 1:
        return str(mains[0])
    choices = f", choose one of: [{' '.join(mains)}]"
    if inits:
        choices += f" or one of the init containers: [{' '.join(inits)}]"
    raise bad_request(f"a container name must be specified for pod {name}{choices}")


@asynccontextmanager
async def _http(
    access: NodeAccess, way: _Way, seconds: float = ANSWER_SECONDS
) -> AsyncIterator[httpx.Response]:
    """Ask a node's server, and yield its answer, whose body is not read yet. Raises Failure after `seconds`."""
    uds = str(way.place.socket) if way.place.socket else None
    transport = httpx.AsyncHTTPTransport(uds=uds, verify=access.tls, trust_env=False)
    patience = httpx.Timeout(None, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(transport=transport, timeout=patience, trust_env=False) as client:
        asked_for = {} if uds else {"sni_hostname": way.place.node}
        request = client.build_request("GET", _url(way, "http"), extensions=asked_for)
        try:
            async with asyncio.timeout(seconds):
                answer = await client.send(request, stream=True)
        except (httpx.HTTPError, TimeoutError) as error:
            raise _unreachable(way, error) from error
        try:
            yield answer
        finally:
            await answer.aclose()


@asynccontextmanager
async def _websocket(
    access: NodeAccess, way: _Way, protocols: Sequence[str]
) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket to a node's server that offers the protocols that its client offers. Raises Failure."""
    options: dict[str, Any] = {
        "subprotocols": list(protocols) or None,
        "open_timeout": CONNECT_SECONDS,
        "close_timeout": CLOSE_SECONDS,
        "max_size": LARGEST_MESSAGE,
        "compression": None,
        "ping_timeout": None,
    }
    try:
        if way.place.socket is not None:
            node = await unix_connect(str(way.place.socket), _url(way, "ws"), **options)
        else:
            name = way.place.node
            node = await connect(_url(way, "ws"), ssl=access.tls, server_hostname=name, proxy=None, **options)
    except InvalidStatus as refused:
        raise _refusal(refused.response.status_code, bytes(refused.response.body or b"")) from None
    except (OSError, WebSocketException) as error:
        raise _unreachable(way, error) from error
    try:
        yield node
    finally:
        await node.close()


async def _carry(client: WebSocket, node: ClientConnection) -> None:
    """Pass messages on both ways until one side ends; then end the other."""

    async def up() -> None:
        while (message := await client.receive())["type"] != "websocket.disconnect":
            said = message.get("bytes")
            await node.send(said if said is not None else message.get("text") or "")
        await node.close()

    sending = asyncio.create_task(up())
    try:
        with suppress(ConnectionClosed):
            while True:
                said = await node.recv()
                await (client.send_text(said) if isinstance(said, str) else client.send_bytes(said))
        await client.close(node.close_code if node.close_code in _TELLABLE else _GONE)
    except (WebSocketDisconnect, RuntimeError, OSError):
        pass
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError, ConnectionClosed):
            await sending


async def _passed(answer: httpx.Response, held: AsyncExitStack) -> AsyncIterator[bytes]:
    """Yield a body as it comes. One that the node does not end is cut off, as its server's end would cut it."""
    async with held:
        with suppress(httpx.HTTPError):
            async for part in answer.aiter_raw():
                yield part


def _url(way: _Way, scheme: str) -> str:
    if way.place.socket:
        return f"{scheme}://node{way.path}"
    host = f"[{way.place.host}]" if ":" in way.place.host else way.place.host
    return f"{scheme}s://{host}:{way.place.port}{way.path}"


def _unreachable(way: _Way, error: Exception) -> Failure:
    """Return the failure of a node that does not answer: 504 where it took too long, else 500 (as a failed dial is)."""
    place = f"{way.place.host}:{way.place.port}" if way.place.socket is None else "its socket"
    message = f'node "{way.place.node}" cannot be asked: {place} does not answer: {str(error) or type(error).__name__}'
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return failure(504, "Timeout", f"Timeout: {message}")
    return _internal(message)


def _internal(message: str) -> Failure:
    return failure(500, "InternalError", f"Internal error occurred: {message}")


def _refusal(code: int, body: bytes) -> Failure:
    """Return the failure that a node's server tells: its Status, where it is one."""
    with suppress(ValueError, TypeError, KeyError):
        status = orjson.loads(body)
        if status["kind"] == "Status" and isinstance(status["message"], str) and status["code"] == code:
            return Failure(status)
    return _internal(f"the node's server answered {code}: {body[:200].decode(errors='replace')}")
