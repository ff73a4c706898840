"""What the API is given by others, as function values. The defaults let everybody in, which only tests want."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from events.commit import Reader
from events.log import Appended, Batch
from schemas.objects import Object
from schemas.positions import Position
from schemas.times import Milliseconds
from services.api.requests import Caller, Target, User


@dataclass(frozen=True, slots=True)
class Wish:
    """A write on its way to be decided: what its author wants to be there (None: nothing) in place of `old`."""

    user: User
    target: Target
    old: Object | None
    new: Object | None


@dataclass(frozen=True, slots=True)
class Admitted:
    """What is made of a wish: the object with what admission adds, and what its author should know."""

    new: Object | None
    warnings: tuple[str, ...] = ()


Authenticate = Callable[[Caller], User]
"""Says who asks. Raises schemas.errors.Unauthorized. Quick: it runs on the event loop."""
Authorize = Callable[[User, Target], str | None]
"""Says why a user may not do this (which may be empty: nothing allows it), or None where they may. Quick as well."""
AuthorizePath = Callable[[User, str, str], str | None]
"""The same of a path that is no object's: (user, verb, path)."""
Admit = Callable[[Wish, Reader, Milliseconds], Admitted]
"""Completes or refuses a wish (raises Forbidden, Invalid), looking at what is there. Runs once for each decision, so
it must be a function of its arguments; it sees the object before validation, and after defaulting. On the event loop
or on a writer's thread: so it is quick, waits for nothing, and must not touch what belongs to the event loop."""
Handler = Callable[[Request, User], Awaitable[Response]]
"""Answers a path of its own."""
PartHandler = Callable[[Request, User, Target, bytes], Awaitable[Response]]
"""Answers for a kind whose answers are computed (reviews), or for a subresource (log, exec), given the body."""
SocketHandler = Callable[[WebSocket, User, Target], Awaitable[None]]
"""Accepts a WebSocket at a subresource (exec, attach) and talks on it."""


class AtOnce(Protocol):
    """A log as the event loop asks it (events.piped_log.PipedLog). None: nobody knows; then a thread asks the log."""

    async def append(self, batch: Batch) -> Appended | None: ...

    async def last(self) -> Position | None: ...

    def close(self) -> None: ...


class NotAtOnce:
    """Nothing that the event loop could ask: threads do."""

    async def append(self, _batch: Batch) -> None:
        return None

    async def last(self) -> None:
        return None

    def close(self) -> None:
        return None


def _anybody(_: Caller) -> User:
    return User("system:anonymous", ("system:masters",))


def _anything(_user: User, _target: Target) -> None:
    return None


def _any_path(_user: User, _verb: str, _path: str) -> None:
    return None


def _as_it_is(wish: Wish, _reader: Reader, _now: Milliseconds) -> Admitted:
    return Admitted(wish.new)


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may come in, what they may do, what is made of it, and who answers what the API does not answer itself.

    paths     path (`/version`, `/openapi/v3/{rest:path}`, as starlette writes it) -> handler; open ones need no user
    sockets   the same for those who ask to speak over a WebSocket
    places    (`coordination.k8s.io/leases`, `kube-node-lease`) -> handler of what a namespace has elsewhere
    parts     (`core/pods`, `log`) or (`authorization.k8s.io/selfsubjectaccessreviews`, "") -> handler
    """

    authenticate: Authenticate = _anybody
    authorize: Authorize = _anything
    authorize_path: AuthorizePath = _any_path
    admit: Admit = _as_it_is
    paths: Mapping[str, Handler] = field(default_factory=dict)
    open_paths: frozenset[str] = frozenset(("/livez", "/readyz", "/healthz"))
    parts: Mapping[tuple[str, str], PartHandler] = field(default_factory=dict)
    sockets: Mapping[tuple[str, str], SocketHandler] = field(default_factory=dict)
    places: Mapping[tuple[str, str], PartHandler] = field(default_factory=dict)
