"""From the settings to the doors of the node's server."""

from __future__ import annotations

import ipaddress
import stat
from pathlib import Path

from schemas.errors import BadRequest, Forbidden
from services.agent.serving.server import Door
from services.settings import Settings

SOCKET_NAME = "nodes.sock"
SHORTEST_TOKEN = 16


def socket_door(settings: Settings) -> Door | None:
    """Return the door on the cluster's own machine; None where its private directory is not there."""
    return Door(path=settings.socket_dir / SOCKET_NAME) if settings.socket_dir.is_dir() else None


def tcp_door(settings: Settings) -> Door | None:
    """Return the door for others, where CHRONOSET_NODE_LISTEN asks for one. Raises BadRequest, Forbidden.

    It is never open: callers must know a token, which crosses a network only under TLS.
    """
    if not settings.node_listen:
        return None
    host, _, port = settings.node_listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise BadRequest(
            f"CHRONOSET_NODE_LISTEN: {settings.node_listen!r} is no address: write 127.0.0.1:10250 or 0.0.0.0:10250"
        )
    if settings.node_token_file is None:
        raise BadRequest(
            "CHRONOSET_NODE_TOKEN_FILE: is not set, though CHRONOSET_NODE_LISTEN is: name the file of the token"
        )
    if (settings.node_certificate is None) != (settings.node_key is None):
        raise BadRequest("CHRONOSET_NODE_CERT and CHRONOSET_NODE_KEY: only one is set; set both, or none")
    if settings.node_certificate is None and not is_loopback(host):
        raise BadRequest(
            f"CHRONOSET_NODE_LISTEN: {settings.node_listen!r} is open to a network: set CHRONOSET_NODE_CERT and "
            "CHRONOSET_NODE_KEY, or listen on 127.0.0.1"
        )
    token = token_in(settings.node_token_file)
    return Door(None, host, int(port), token, settings.node_certificate, settings.node_key)


def token_in(path: Path) -> str:
    """Return the token in a file that is its owner's alone."""
    try:
        found, token = path.stat(), path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"CHRONOSET_NODE_TOKEN_FILE: {str(path)!r} cannot be read: {error}") from None
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise Forbidden(
            f"CHRONOSET_NODE_TOKEN_FILE: {str(path)!r} is open to others (mode {mode}, must be 0600)"
        )
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
        raise BadRequest(
            f"CHRONOSET_NODE_TOKEN_FILE: {str(path)!r} holds no token: write {SHORTEST_TOKEN} or more ASCII characters"
        )
    return token


def is_loopback(host: str) -> bool:
    """True for a name or address that only this machine's own programs reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
