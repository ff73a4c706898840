"""Clients of the Kubernetes API that know nothing else: a kubeconfig, paths and JSON.

On one's own sockets, with httptools: of a load test on two cores, a client that takes a millisecond a request would
measure itself.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httptools
import orjson
import yaml

from schemas.errors import Unavailable
from schemas.kinds import BY_RESOURCE
from schemas.objects import Key, Object, split_key
from services.processes import wait_until

PATIENCE = 30.0
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the API of a kubeconfig is, trusting it, and trusted by it."""

    host: str
    port: int
    tls: ssl.SSLContext


class Answer(NamedTuple):
    """What the API answered."""

    code: int
    body: bytes

    def found(self, *accepted: int) -> Object | None:
        """Return the object in it; None where its code is among those accepted. Raises Unavailable otherwise."""
        if self.code in accepted:
            return None
        if not 200 <= self.code < 300:
            raise Unavailable(f"the API answered {self.code}: {self.body[:300].decode(errors='replace')}")
        found: Object = orjson.loads(self.body)
        return found


def place_of(kubeconfig: Path) -> Place:
    """Return where a kubeconfig leads, which an API writes once it listens. Raises Unavailable where none does."""
    if not wait_until(kubeconfig.exists, PATIENCE):
        raise Unavailable(f"the API has written no {kubeconfig.name} within {PATIENCE:.0f} s")
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        for name in ("client-certificate-data", "client-key-data"):
            file.write(base64.b64decode(user[name]))
        file.flush()
        context.load_cert_chain(file.name)
    parts = urlsplit(cluster["server"])
    return Place(parts.hostname or "", parts.port or 443, context)


def path_of(resource: str, namespace: str = "", name: str = "", part: str = "") -> str:
    """Return the path of an object, of a part of it, or of all (`/api/v1/namespaces/default/pods/db-0/status`)."""
    kind = BY_RESOURCE[resource]
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
    place = f"/namespaces/{namespace}" if namespace else ""
    return root + place + f"/{kind.plural}" + (f"/{name}" if name else "") + (f"/{part}" if part else "")


def path_of_key(key: Key) -> str:
    """Return the path of the object under a key."""
    return path_of(*split_key(key))


class Caller:
    """One connection for one thread: ask, and wait for the answer."""

    def __init__(self, place: Place) -> None:
        self._connection = http.client.HTTPSConnection(
            place.host, place.port, timeout=PATIENCE, context=place.tls
        )

    def ask(self, method: str, path: str, body: Object | None = None, kind: str = JSON) -> Answer:
        """Return the answer. Raises Unavailable where there is none."""
        content = None if body is None else orjson.dumps(body)
        try:
            self._connection.request(method, path, content, {"Content-Type": kind} if content else {})
            answer = self._connection.getresponse()
            return Answer(answer.status, answer.read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable(f"{method} {path}: {error!r}") from error

    def close(self) -> None:
        self._connection.close()


class Line(asyncio.Protocol):
    """A connection of an event loop. `ask` one thing at a time; `heard` is given each piece of a body that comes."""

    def __init__(self, host: str, heard: Callable[[bytes], None] | None = None) -> None:
        self._host = host
        self._heard = heard
        self._transport: Any = None
        self._answer: asyncio.Future[Answer] | None = None
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)

    @classmethod
    async def to(cls, place: Place, heard: Callable[[bytes], None] | None = None) -> Line:
        """Return a new connection. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        try:
            _, line = await loop.create_connection(
                lambda: cls(place.host, heard), place.host, place.port, ssl=place.tls
            )
        except OSError as error:
            raise Unavailable(f"the API does not answer: {error}") from error
        return line

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    async def ask(self, method: str, path: str, body: Object | None = None) -> Answer:
        """Return the answer, whole. Raises Unavailable."""
        if self._transport is None:
            raise Unavailable("the connection to the API is closed")
        content = b"" if body is None else orjson.dumps(body)
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(content)}\r\n"
        kind = f"Content-Type: {JSON}\r\n" if content else ""
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(f"{head}{kind}\r\n".encode() + content)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unavailable(f"the API has hung up: {exc!r}"))

    def on_body(self, body: bytes) -> None:
        if self._heard is not None and self._parser.get_status_code() == 200:
            self._heard(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), self._body))
