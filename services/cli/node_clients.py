"""Asks the server of a pod's node: its socket on this machine, or over TLS, as the API does, where its keys lie."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from schemas.errors import BadRequest, ChronosetError, NotFound, TooManyRequests, Unauthorized, Unavailable
from schemas.kinds import NODE
from schemas.objects import Object, key_of, name_of
from services.agent.serving.channels import SUBPROTOCOLS
from services.cli.session import PATIENCE, Session
from services.node_servers import NODES_FOLDER, ServerPlace, server_of, tls_to_nodes
from services.settings import API_FOLDER, socket_of

if TYPE_CHECKING:
    from services.cli.node_sockets import NodeSocket

CHUNK = 1 << 16
MESSAGE_LIMIT = 1 << 20
_ERRORS: dict[int, type[ChronosetError]] = {
    400: BadRequest,
    401: Unauthorized,
    404: NotFound,
    422: BadRequest,
    429: TooManyRequests,
    503: Unavailable,
}


class NodeClient:
    """Asks one node's server. Raises Unavailable where it does not answer, else what its Status says."""

    def __init__(self, place: ServerPlace, tls: ssl.SSLContext | None = None) -> None:
        self._place = place
        self._tls = tls

    def stream(self, path: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """Yield what a GET answers, as it comes."""
        connection = self._connection()
        try:
            connection.request("GET", f"{path}?{urlencode(query)}")
            answer = connection.getresponse()
            if answer.status != 200:
                raise _error_of(answer.status, answer.read())
            if connection.sock is not None:
                connection.sock.settimeout(None)
            while part := answer.read1(CHUNK):
                yield part
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(error) from error
        finally:
            connection.close()

    def open(self, path: str, query: Sequence[tuple[str, str]]) -> NodeSocket:
        """Return a WebSocket with Kubernetes' channels."""
        from websockets.asyncio.client import connect, unix_connect
        from websockets.exceptions import InvalidStatus, WebSocketException

        from services.cli.node_sockets import NodeSocket

        target = f"{path}?{urlencode(query)}"
        options: dict[str, Any] = {
            "subprotocols": list(SUBPROTOCOLS),
            "open_timeout": PATIENCE,
            "max_size": MESSAGE_LIMIT,
            "compression": None,
            "ping_timeout": None,
            "close_timeout": 2,
        }
        try:
            if self._place.socket is not None:
                return NodeSocket(unix_connect(str(self._place.socket), f"ws://node{target}", **options))
            url = f"wss://{_host(self._place)}:{self._place.port}{target}"
            name = self._place.node
            return NodeSocket(connect(url, ssl=self._tls, server_hostname=name, proxy=None, **options))
        except InvalidStatus as refused:
            raise _error_of(refused.response.status_code, bytes(refused.response.body or b"")) from None
        except (OSError, WebSocketException) as error:
            raise self._unavailable(error) from error

    def _connection(self) -> http.client.HTTPConnection:
        place = self._place
        if place.socket is not None:
            return _UnixConnection(place.socket)
        assert self._tls is not None
        return _NodeConnection(place, self._tls)

    def _unavailable(self, error: Exception) -> Unavailable:
        place = self._place.socket or f"{self._place.host}:{self._place.port}"
        return Unavailable(f"the node's server at {place} does not answer: {error or type(error).__name__}")


class _NodeConnection(http.client.HTTPConnection):
    """TLS with a server that must show a certificate of its node's name, whatever its address."""

    def __init__(self, place: ServerPlace, tls: ssl.SSLContext) -> None:
        super().__init__(place.host, place.port, timeout=PATIENCE)
        self._name = place.node
        self._tls = tls

    def connect(self) -> None:
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("node", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def client_of(session: Session, pod: Object) -> NodeClient:
    """Return the client of the node that a pod is on. Raises NotFound where it is on none, Unavailable."""
    name = pod["spec"].get("nodeName", "")
    if not name:
        raise NotFound(f'pods "{name_of(pod)}" is on no node yet, so nothing of it runs')
    node = session.sources.get(key_of(NODE.resource, "", name))
    if node is None:
        raise NotFound(f'nodes "{name}", on which pods "{name_of(pod)}" is, not found')
    settings = session.settings
    log_socket = socket_of(settings.log_url)
    here = Path(log_socket).parent if log_socket else settings.socket_dir
    place = server_of(node, here)
    return NodeClient(place, None if place.socket else _tls(settings.data_dir, place))


def _tls(data_dir: Path, place: ServerPlace) -> ssl.SSLContext:
    """Return what the API asks nodes by. Raises Unavailable where that is not here."""
    try:
        return tls_to_nodes(data_dir / API_FOLDER / NODES_FOLDER)
    except OSError:
        raise Unavailable(
            f"node {place.node!r} answers the API only, whose keys are not in {data_dir}: ask where the API runs, or "
            "with kubectl"
        ) from None


def _host(place: ServerPlace) -> str:
    return f"[{place.host}]" if ":" in place.host else place.host


def _error_of(code: int, body: bytes) -> ChronosetError:
    """Return the error that a Status tells."""
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")[:500] or f"the node's server answered {code}"
    return _ERRORS.get(code, ChronosetError)(message)
