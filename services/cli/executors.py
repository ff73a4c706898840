"""Who carries a command's writes out: the API of the data directory while it answers, else this process, on the log.

Over the API the event says who wrote as the API knows him, from where and with what. Both ways a command is carried out
once, by its id: so where the API does not answer, or an answer is lost, the same command may go to the log.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from schemas.envelopes import Actor
from schemas.errors import (
    BadRequest,
    ChronosetError,
    Forbidden,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from schemas.objects import Object
from services.cli.streams import aside
from services.command_protocol import AGENT, AUTHORITY, CREDENTIALS, PATH, log_of, read_place
from services.commands.commands import Command
from services.commands.execution import Executor, Outcome
from services.commands.wire import command_json, read_error, read_outcome
from services.settings import API_FOLDER, Settings

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 15.0
"""An API waits for its log, and its replica, less long than that."""
_REASONS: Mapping[int, type[ChronosetError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    413: BadRequest,
    429: TooManyRequests,
}


@dataclass(frozen=True, slots=True)
class Server:
    """Where an API is, whom to trust there and how we are known: by TLS (None: plain HTTP), or by a header."""

    url: str
    tls: ssl.SSLContext | None
    headers: Mapping[str, str]


class ApiExecutor:
    """Carries commands out by asking an API, as services.commands.execution.Executor; raises Unavailable besides."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: http.client.HTTPConnection | None = None
        agent = f"{AGENT} ({os.getuid()}@{socket.gethostname()})"
        self._headers = {"Content-Type": "application/json", "User-Agent": agent, **server.headers}

    def check(self, command: Command, actor: Actor, command_id: str) -> None:
        """See Executor."""
        self._ask(command, actor, command_id, check=True)

    def execute(self, command: Command, actor: Actor, command_id: str) -> Outcome:
        """See Executor. The API knows who writes; of `actor` the claim counts."""
        told = self._ask(command, actor, command_id, check=False)
        try:
            return read_outcome(told)
        except (KeyError, TypeError) as error:
            raise self._not_understood(error) from error

    def _ask(self, command: Command, actor: Actor, command_id: str, check: bool) -> Any:
        content = {"id": command_id, "claim": actor.claim, "check": check, **command_json(command)}
        code, body = self._send(orjson.dumps(content))
        try:
            told = orjson.loads(body)
            refusal = None if code == 200 else read_refusal(code, told)
        except (ValueError, KeyError, TypeError) as error:
            raise self._not_understood(error) from error
        if refusal is not None:
            raise refusal
        return told

    def _send(self, content: bytes) -> tuple[int, bytes]:
        """Return the code and the body of the answer. Where a kept connection has ended meanwhile it is sent again."""
        while True:
            was_kept = self._connection is not None
            try:
                connection = self._connected()
                connection.request("POST", urlsplit(self._server.url).path + PATH, content, self._headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if not was_kept:
                    why = str(error) or type(error).__name__
                    raise Unavailable(f"the API at {self._server.url} does not answer: {why}") from error

    def _connected(self) -> http.client.HTTPConnection:
        """Return the connection; a new one has little time to come about, and TLS to be spoken."""
        if self._connection is None:
            parts, tls = urlsplit(self._server.url), self._server.tls
            place = parts.hostname or "", parts.port
            self._connection = (
                http.client.HTTPSConnection(*place, timeout=CONNECT_SECONDS, context=tls)
                if tls is not None
                else http.client.HTTPConnection(*place, timeout=CONNECT_SECONDS)
            )
            self._connection.connect()
            self._connection.sock.settimeout(ANSWER_SECONDS)
        return self._connection

    def _not_understood(self, error: Exception) -> Unavailable:
        self.close()
        return Unavailable(f"what answers at {self._server.url} is no API of ours: {error!r}")

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SafeExecutor:
    """Carries commands out over an API, and on the log once that does not answer, for the rest of this process.

    That the log was written is said, to stderr, once it was; where it cannot be, its own error says enough.
    """

    def __init__(self, api: ApiExecutor, open_log: Callable[[], Executor]) -> None:
        self._api: ApiExecutor | None = api
        self._open_log = open_log
        self._unsaid = ""

    def check(self, command: Command, actor: Actor, command_id: str) -> None:
        """See Executor."""
        if self._api is not None:
            try:
                return self._api.check(command, actor, command_id)
            except Unavailable as error:
                self._give_up(self._api, error)
        return self._log.check(command, actor, command_id)

    def execute(self, command: Command, actor: Actor, command_id: str) -> Outcome:
        """See Executor."""
        if self._api is not None:
            try:
                return self._api.execute(command, actor, command_id)
            except Unavailable as error:
                self._give_up(self._api, error)
        outcome = self._log.execute(command, actor, command_id)
        if self._unsaid:
            aside(f"{self._unsaid}; the log was written directly")
            self._unsaid = ""
        return outcome

    def _give_up(self, api: ApiExecutor, error: Unavailable) -> None:
        api.close()
        self._api, self._unsaid = None, str(error)

    @cached_property
    def _log(self) -> Executor:
        return self._open_log()


def read_refusal(code: int, told: Any) -> ChronosetError:
    """Return the error that an answer tells: one of a command by its name, any other by its Status.

    Raises KeyError or TypeError where it is neither.
    """
    if "error" in told:
        return read_error(told["error"])
    message = str(told["message"])
    if code == 404 or code >= 500:
        return Unavailable(f"the API carries no commands out: {message}")
    return _REASONS.get(code, ChronosetError)(message)


def executor_of(settings: Settings, open_log: Callable[[], Executor]) -> Executor:
    """Return who carries commands out.

    That is whom CHRONOSET_KUBECONFIG names, and nobody else; otherwise the API that answers for the log of these
    settings, with the log to fall back on; otherwise, and where CHRONOSET_DIRECT says so, the log. Raises BadRequest.
    """
    if settings.kubeconfig is not None:
        return ApiExecutor(server_in(settings.kubeconfig))
    place = None if settings.direct else read_place(settings.data_dir / API_FOLDER)
    if place is None or place.log != log_of(settings):
        return open_log()
    try:
        tls = tls_of(settings.data_dir / API_FOLDER)
    except OSError as error:
        aside(f"the API at {place.url} cannot be asked: {error}; the log is written directly")
        return open_log()
    return SafeExecutor(ApiExecutor(Server(place.url, tls, {})), open_log)


def tls_of(folder: Path) -> ssl.SSLContext:
    """Return what trusts the cluster's authority, and shows the owner's certificate. Raises OSError."""
    tls = ssl.create_default_context(cafile=folder / AUTHORITY)
    tls.load_cert_chain(folder / CREDENTIALS)
    return tls


def server_in(path: Path) -> Server:
    """Return what a kubeconfig says, as `chronoset kubeconfig` writes them. Raises BadRequest."""
    import yaml

    try:
        config = yaml.safe_load(path.read_bytes())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        url, authority = str(cluster["server"]), _decoded(cluster["certificate-authority-data"]).decode()
        if not url.startswith("https://"):
            raise ValueError(f"its server {url!r} is not https://")
        tls = ssl.create_default_context(cadata=authority)
        if "token" in user:
            return Server(url, tls, {"Authorization": f"Bearer {user['token']}"})
        with _in_memory(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"])) as pem:
            tls.load_cert_chain(pem)
        return Server(url, tls, {})
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise BadRequest(
            f"CHRONOSET_KUBECONFIG: {str(path)!r} cannot be used: {_why(error)}; write one by `chronoset kubeconfig`"
        ) from error


def _why(error: Exception) -> str:
    match error:
        case OSError():
            return error.strerror or str(error)
        case KeyError():
            return f"it has no {error}"
        case TypeError():
            return "it is no kubeconfig"
    return str(error)


def _named(entries: list[Object], name: str) -> Object:
    return {each["name"]: each for each in entries}[name]


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Yield the path of a file that has this content and lies on no disk, since ssl reads keys from files only."""
    descriptor = os.memfd_create("key", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
