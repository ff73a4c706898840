"""Runs a probe: httpGet, tcpSocket, grpc or exec, as pkg/probe does. Probing touches the network here only."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress

from schemas.errors import ChronosetError
from schemas.objects import Object
from services.agent.grpc_checks import check_health
from services.agent.runtimes.port import Answer

MOST_BYTES = 10 << 10
"""How much of a response is read (kubelet: maxRespBodyLength)."""
DRAIN_SECONDS = 0.1
Execute = Callable[[list[str]], Answer]


def run_check(container: Object, probe: Object, address: str, execute: Execute) -> tuple[bool, str]:
    """Return whether the probe passes, and why not. `execute` runs a command inside the container."""
    seconds = float(probe.get("timeoutSeconds") or 1)
    try:
        if action := probe.get("httpGet"):
            return _get(action, _port_of(container, action["port"]), action.get("host") or address, seconds)
        if action := probe.get("tcpSocket"):
            place = (action.get("host") or address, _port_of(container, action["port"]))
            socket.create_connection(place, seconds).close()
            return True, ""
        if action := probe.get("grpc"):
            return check_health((address, int(action["port"])), action.get("service") or "", seconds)
        if action := probe.get("exec"):
            answer = execute(list(action.get("command") or ()))
            return answer.code == 0, answer.output.strip()
    except (OSError, http.client.HTTPException, ChronosetError, ValueError) as error:
        return False, str(error) or type(error).__name__
    return False, "this kind of probe is not supported; accepted are httpGet, tcpSocket, grpc and exec"


def _get(action: Object, port: int, host: str, seconds: float) -> tuple[bool, str]:
    """Ask by HTTP; 200 to 399 passes, a redirect is not followed."""
    if action.get("scheme", "HTTP").upper() == "HTTPS":
        context = ssl._create_unverified_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=seconds, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
    deadline = time.monotonic() + seconds
    headers = {"User-Agent": "kube-probe/1.36", "Accept": "*/*", "Connection": "close"}
    headers |= {header["name"]: header["value"] for header in action.get("httpHeaders") or ()}
    try:
        connection.request("GET", action.get("path") or "/", headers=headers)
        status = _status_of(connection.sock, deadline)
    finally:
        connection.close()
    return 200 <= status < 400, f"HTTP probe failed with statuscode: {status}"


def _status_of(connection: socket.socket, deadline: float) -> int:
    """Return the status of a response; a server that sends it byte by byte has no more time than any other.

    What else there is of a short response is taken along, so that the server does not see its client leave early.
    Raises OSError, HTTPException.
    """
    line = _read_until(connection, b"\n", deadline).split(b"\n")[0]
    match line.split(None, 2):
        case [version, status, *_] if version.startswith(b"HTTP/") and status.isdigit():
            with suppress(OSError):
                _read_until(connection, None, min(deadline, time.monotonic() + DRAIN_SECONDS))
            return int(status)
    raise http.client.BadStatusLine(line.decode(errors="replace"))


def _read_until(connection: socket.socket, end: bytes | None, deadline: float) -> bytes:
    """Return what comes up to `end` (to the end of file if None), at most 10 KiB. Raises TimeoutError."""
    data = b""
    while len(data) < MOST_BYTES and (end is None or end not in data):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        chunk = connection.recv(4096)
        if not chunk:
            break
        data += chunk
    return data


def _port_of(container: Object, port: int | str) -> int:
    """Return a port number; a name is looked up among the container's ports. Raises OSError where it is not."""
    if isinstance(port, int) or port.isdecimal():
        return int(port)
    for known in container.get("ports") or ():
        if known.get("name") == port:
            return int(known["containerPort"])
    raise OSError(f"couldn't find port: {port}")
