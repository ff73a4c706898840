"""The API as one ASGI application: who asks, may they, what for, and every failure as a Status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson
import structlog
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send
from starlette.websockets import WebSocket

from events.ids import random_id
from events.replica import Replica
from schemas.errors import ChronosetError
from schemas.kinds import NAMESPACE
from schemas.objects import Object
from services.api.connections import PEER
from services.api.documents import DOCUMENTS
from services.api.failures import failure, method_not_allowed, no_such_path
from services.api.limits import read_body
from services.api.negotiation import JSON
from services.api.pasts import PREFIX, Pasts, read_only, split_path
from services.api.paths import target_of
from services.api.requests import Caller, Target, User
from services.api.seams import Handler, PartHandler
from services.api.statuses import status_of
from services.api.verbs import Asked, Tools, answer
from services.node_protocol import LOG_HEADER

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_WITH_BODY = frozenset(("POST", "PUT", "PATCH", "DELETE"))
_PATH_VERBS = {
    "GET": "get",
    "HEAD": "head",
    "POST": "post",
    "PUT": "put",
    "PATCH": "patch",
    "DELETE": "delete",
}

_MOMENT = "chronoset.moment"
"""Where a request's scope has the moment of the past that its path began with."""

_LOG_HEADER = LOG_HEADER.lower().encode()
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Api:
    """Answers requests with its tools. `replica` says whether all is well."""

    tools: Tools
    replica: Replica
    pasts: Pasts

    def application(self, lifespan: Lifespan[Starlette] | None = None) -> ASGIApp:
        """Return the ASGI application; `lifespan` is what runs around it.

        Paths of objects are nearly all that is asked for, so they are told by their length and pass by the router. A
        slash at the end means nothing (Python clients ask for `/version/`).
        """
        paths = {**DOCUMENTS, **self._health(), **self.tools.policy.paths}
        objects = self._guarded(self._of_object)
        routes = [Route(path, self._at_path(handler), methods=METHODS) for path, handler in paths.items()]
        routes.append(Route("/{path:path}", objects, methods=METHODS))
        routed = Starlette(routes=routes, lifespan=lifespan, exception_handlers={405: _not_allowed})

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "lifespan" and len(scope["path"]) > 1 and scope["path"].endswith("/"):
                scope = {**scope, "path": scope["path"].rstrip("/")}
            if scope["type"] != "lifespan" and scope["path"].startswith(PREFIX):
                moment, path = split_path(scope["path"])
                scope = {**scope, "path": path, _MOMENT: moment}
            if scope["type"] == "http" and is_of_objects(scope["path"]):
                response = await objects(Request(scope, receive))
                await response(scope, receive, send)
            elif scope["type"] == "websocket":
                await self._of_socket(WebSocket(scope, receive, send))
            else:
                await routed(scope, receive, send)

        return application

    async def _of_object(self, request: Request, caller: Caller) -> Response:
        user = self.tools.policy.authenticate(caller)
        with self.tools.in_flight.request(user.name):
            target = self._authorized(user, request.method, request)
            request.state.target = target
            moment = request.scope.get(_MOMENT)
            handler = self._handler_of(target, moment is not None)
            body = b""
            if request.method in _WITH_BODY:
                announced = _header(request.scope, b"content-length")
                body = await read_body(request.stream(), announced, self.tools.in_flight.limits.body)
            if handler is not None:
                return await handler(request, user, target, body)
            accept, kind = _header(request.scope, b"accept"), _header(request.scope, b"content-type")
            asked = Asked(user, caller, target, accept, kind, body)
            if moment is not None:
                return await self.pasts.answer(asked, self.tools, moment)
            return await answer(asked, self.tools)

    def _handler_of(self, target: Target, is_past: bool) -> PartHandler | None:
        """Return who answers for a target instead of the verbs. Of the past nobody does, but for reviews."""
        policy, resource = self.tools.policy, target.kind.resource
        if is_past and target.kind.is_stored:
            return None
        return policy.parts.get((resource, target.subresource)) or policy.places.get(
            (resource, target.namespace)
        )

    async def _of_socket(self, socket: WebSocket) -> None:
        """Let somebody speak over a WebSocket, or refuse with a Status before it is one."""
        target = None
        try:
            user = self.tools.policy.authenticate(caller_of(socket))
            if _MOMENT in socket.scope:
                raise read_only("a WebSocket")
            target = self._authorized(user, "GET", socket)
            handler = self.tools.policy.sockets.get((target.kind.resource, target.subresource))
            if handler is None:
                raise no_such_path()
        except ChronosetError as error:
            await socket.send_denial_response(status_response(status_of(error, target)))
        else:
            await handler(socket, user, target)

    def _authorized(self, user: User, method: str, connection: HTTPConnection) -> Target:
        """Return the target of a request that its user may make. Raises Failure."""
        scope = connection.scope
        target = target_of(method, scope["path"], scope["query_string"].decode("latin-1"))
        if (why := self.tools.policy.authorize(user, target)) is not None:
            raise forbidden(user, target, why)
        return target

    def _at_path(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def authorized(request: Request, caller: Caller) -> Response:
            policy, path = self.tools.policy, request.url.path
            verb = _PATH_VERBS[request.method]
            if _MOMENT in request.scope and verb not in ("get", "head"):
                raise read_only(request.method)
            if path in policy.open_paths:
                return await handler(request, User("system:anonymous", ("system:unauthenticated",)))
            user = policy.authenticate(caller)
            if (why := policy.authorize_path(user, verb, path)) is not None:
                message = f'forbidden: User "{user.name}" cannot {verb} path "{path}"'
                raise failure(403, "Forbidden", _because(message, why))
            with self.tools.in_flight.request(user.name):
                return await handler(request, user)

        return self._guarded(authorized)

    def _guarded(
        self, respond: Callable[[Request, Caller], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that answers with a Status whatever goes wrong, and names the request."""

        async def endpoint(request: Request) -> Response:
            caller = caller_of(request)
            try:
                response = await respond(request, caller)
            except ChronosetError as error:
                response = status_response(status_of(error, getattr(request.state, "target", None)))
            except Exception:  # noqa: BLE001 - the boundary of a request: said, and told apart by its id
                _log.exception("a request failed", path=request.url.path, request=caller.request)
                unexpected = ChronosetError(f"see this server's log for request {caller.request}")
                response = status_response(status_of(unexpected))
            _add_headers(response, caller.request, self.replica.log_id)
            return response

        return endpoint

    def _health(self) -> dict[str, Handler]:
        """Return who says whether all is well; with `verbose` check by check (apiserver/pkg/server/healthz)."""

        async def live(request: Request, _user: User) -> Response:
            return _well(request, ("ping",))

        async def ready(request: Request, _user: User) -> Response:
            if self.replica.failure is not None or self.tools.reads.hub.closed:
                return PlainTextResponse("[-]log failed: readyz check failed\n", 500)
            await self.tools.reads.catch_up()
            return _well(request, ("ping", "log"))

        return {"/livez": live, "/healthz": ready, "/readyz": ready}


def _well(request: Request, checks: tuple[str, ...]) -> Response:
    if "verbose" not in request.query_params:
        return PlainTextResponse("ok")
    lines = [*(f"[+]{check} ok" for check in checks), f"{request.url.path.strip('/')} check passed"]
    return PlainTextResponse("".join(f"{line}\n" for line in lines))


def _add_headers(response: Response, request: str, log_id: str) -> None:
    """Add to a response what every one has: the request's id, the log that it comes from, that it is not kept."""
    headers = response.raw_headers
    headers += [(b"audit-id", request.encode()), (_LOG_HEADER, log_id.encode())]
    if not any(name == b"cache-control" for name, _ in headers):
        headers.append((b"cache-control", b"no-cache, private"))


async def _not_allowed(request: Request, _error: Exception) -> Response:
    return status_response(method_not_allowed(request.method, request.url.path).status)


def is_of_objects(path: str) -> bool:
    """Say whether a path lies below a group-version: `/api/v1/pods`, `/apis/apps/v1/daemonsets`."""
    return (path.startswith("/api/") and path.count("/") > 2) or (
        path.startswith("/apis/") and path.count("/") > 3
    )


def caller_of(request: HTTPConnection) -> Caller:
    """Return who a request comes from, as far as the connection and the headers tell."""
    scope = request.scope
    client, peer = scope.get("client"), scope.get("state", {}).get(PEER)
    return Caller(
        authorization=_header(scope, b"authorization"),
        certificate=peer.certificate if peer else b"",
        address=client[0] if client else "",
        agent=_header(scope, b"user-agent"),
        request=random_id(),
        wanted=_wanted_user(request),
    )


def _header(scope: Scope, name: bytes) -> str:
    """Return a header (its name in small letters); the first one of that name, and nothing where there is none."""
    for each, value in scope["headers"]:
        if each == name:
            return str(value.decode("latin-1"))
    return ""


def _wanted_user(request: HTTPConnection) -> User | None:
    """Return as whom a request is made (transport.ImpersonateUserHeader and its like); None: as its sender."""
    if not any(name.startswith(b"impersonate-") for name, _ in request.scope["headers"]):
        return None
    headers = request.headers
    name, uid = headers.get("impersonate-user", ""), headers.get("impersonate-uid", "")
    groups = tuple(headers.getlist("impersonate-group"))
    return User(name, groups, uid) if name or groups or uid else None


def status_response(status: Object) -> Response:
    """Return the response that a Status is; one that says when to ask again says so in its header too."""
    response = Response(orjson.dumps(status), status["code"], media_type=JSON)
    seconds = (status.get("details") or {}).get("retryAfterSeconds")
    if seconds:
        response.headers["Retry-After"] = str(seconds)
    return response


def forbidden(user: User, target: Target, why: str) -> ChronosetError:
    """Return the refusal as Kubernetes phrases it (apiserver/pkg/endpoints/handlers/responsewriters Forbidden)."""
    resource = f"{target.kind.plural}/{target.subresource}" if target.subresource else target.kind.plural
    namespace = target.namespace or (target.name if target.kind is NAMESPACE else "")
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = _because(
        f'{target.subject if target.name else target.resource} is forbidden: User "{user.name}" cannot {target.verb} '
        f'resource "{resource}" in API group "{target.kind.group}" {where}',
        why,
    )
    details = {"name": target.name, "group": target.kind.group, "kind": target.kind.plural}
    return failure(403, "Forbidden", message, **{word: value for word, value in details.items() if value})


def _because(message: str, why: str) -> str:
    return f"{message}: {why}" if why else message
