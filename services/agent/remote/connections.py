"""How an agent reaches the API: one thread, one pool of connections, whatever the number of watches and requests.

httpx: one library for requests and streams, over TLS, with the timeouts of each; a stream is a coroutine and not a
thread. A host that is cut off tells nobody, so idle connections are probed by TCP itself.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

import httpx
import orjson

from schemas.errors import (
    AlreadyExists,
    BadRequest,
    ChronosetError,
    Forbidden,
    LostHistory,
    NotFound,
    PreconditionFailed,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from schemas.objects import Object
from services.agent.remote.clocks import ClusterClock
from services.node_protocol import AGENT, LOG_HEADER, VERSION

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 15.0
JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 11_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
"""A silent peer is given up after 11 seconds."""
_ERRORS: Mapping[int, type[ChronosetError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: PreconditionFailed,
    422: BadRequest,
    429: TooManyRequests,
}
T = TypeVar("T")


class Gone(ChronosetError):
    """The position is not at hand any more (410): list again."""


class Place(Protocol):
    """Where the API is."""

    @property
    def url(self) -> str:
        """Where it is now. Raises Unavailable where that is not known."""
        ...

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What to trust, and to show, there; None: plain HTTP. Always the same."""
        ...


@dataclass(frozen=True, slots=True)
class Server:
    """A Place that never moves."""

    url: str
    tls: ssl.SSLContext | None = None


class Api:
    """One node's way to the API. `ask` may be called from any thread; coroutines run in the one thread of this.

    `heard` is called at every answer that tells no error.
    """

    def __init__(
        self,
        server: Place,
        token: str = "",
        clock: ClusterClock | None = None,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self._heard = heard
        self.server = server
        self.clock = clock or ClusterClock()
        self.is_down = False
        """Whether the last attempt did not reach the server, while somebody goes on trying (feeds)."""
        named = {"User-Agent": f"{AGENT}{VERSION}"}
        self._headers = {**named, "Authorization": f"Bearer {token}"} if token else named
        self._log_id = ""
        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(_client_of(server.tls))
        self._thread = threading.Thread(target=self._loop.run_forever, name="api-client", daemon=True)
        self._thread.start()

    def log_id(self) -> str:
        """Return the id of the log that the API has told first. Raises Unavailable."""
        if not self._log_id:
            self.ask("GET", "/version")
        return self._log_id

    def ask(self, method: str, path: str, body: Any = None, content_type: str = JSON, **query: str) -> Object:
        """Return what the API answers. Raises the error that its Status tells, Unavailable, LostHistory.

        Does not wait for a server that is known to be away.
        """
        if self.is_down:
            raise Unavailable(f"the API at {self.server.url} does not answer")
        asking = self._ask(method, path, body, content_type, query)
        return self.spawn(asking).result(CONNECT_SECONDS + 2 * ANSWER_SECONDS)

    def spawn(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the thread of this."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def answered(self, method: str, path: str, **query: str) -> Object:
        """Return what the API answers, for a coroutine."""
        return await self._ask(method, path, None, JSON, query)

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the lines of an answer that does not end by itself. Raises as `ask`."""
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=None)
        with self._reaching():
            url = f"{self.server.url}{path}"
            async with self._client.stream(
                "GET", url, params=dict(query), headers=self._headers, timeout=timeout
            ) as response:
                if response.status_code != 200:
                    self._check(response, await response.aread(), 0)
                self._check_log(response)
                yield _lines(response)

    def close(self) -> None:
        """End all that is under way."""
        self.spawn(self._close()).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()
        await self._loop.shutdown_asyncgens()

    async def _ask(
        self, method: str, path: str, body: Any, content_type: str, query: Mapping[str, str]
    ) -> Object:
        content = None if body is None else orjson.dumps(body)
        headers = {**self._headers, "Content-Type": content_type} if content is not None else self._headers
        began = time.monotonic()
        with self._reaching():
            url = f"{self.server.url}{path}"
            response = await self._client.request(
                method, url, content=content, params=dict(query), headers=headers
            )
        self._check(response, response.content, time.monotonic() - began)
        self._heard()
        found: Object = orjson.loads(response.content) if response.content.startswith((b"{", b"[")) else {}
        return found

    def _check(self, response: httpx.Response, content: bytes, took: float) -> None:
        """Look at who answered, and raise what the answer tells."""
        self._check_log(response)
        if date := response.headers.get("date"):
            self.clock.hear(round(parsedate_to_datetime(date).timestamp() * 1000), round(took * 1000))
        if response.status_code >= 300:
            raise error_of(response.status_code, content)

    def _check_log(self, response: httpx.Response) -> None:
        """Raise LostHistory where the answer comes from another log than all before."""
        found = response.headers.get(LOG_HEADER, "")
        if not found:
            raise Unavailable(
                f"{self.server.url} answers {response.status_code} and names no log: no API of ours"
            )
        self._log_id = self._log_id or found
        if found != self._log_id:
            raise LostHistory(f"this node works for the log {self._log_id}, and the API answers for {found}")

    def _reaching(self) -> _Reaching:
        return _Reaching(self)


class _Reaching:
    """Turns what goes wrong on the way into Unavailable."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (httpx.HTTPError, httpx.StreamError, OSError)):
            why = str(error) or type(error).__name__
            raise Unavailable(f"the API at {self._api.server.url} does not answer: {why}") from error


def error_of(code: int, content: bytes) -> ChronosetError:
    """Return the error that an answer tells, which is a Status if it comes from an API."""
    try:
        status: Any = json.loads(content)
        message, reason = str(status["message"]), status.get("reason", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, reason = content.decode(errors="replace")[:300] or f"the API answered {code}", ""
    if code == 410:
        return Gone(message)
    if reason == "AlreadyExists":
        return AlreadyExists(message)
    if "Too large resource version" in message:
        return LostHistory(f"the log is shorter than this node has seen: {message}")
    if code >= 500:
        return Unavailable(message)
    return _ERRORS.get(code, ChronosetError)(message)


async def _client_of(tls: ssl.SSLContext | None) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=60.0)
    transport = httpx.AsyncHTTPTransport(verify=tls or False, limits=limits, socket_options=_KEEPALIVE)
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    return httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False)


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
