"""Runs a probe: httpGet, tcpSocket or exec, as pkg/probe does. The only part of probing that touches the network."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable

from schemas.objects import Object
from services.agent.runtimes.port import Answer, Refused

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
        if action := probe.get("exec"):
            answer = execute(list(action.get("command") or ()))
            return answer.code == 0, answer.output.strip()
    except (OSError, http.client.HTTPException, Refused) as error:
        return False, str(error) or type(error).__name__
    return False, "this kind of probe is not supported; accepted are httpGet, tcpSocket and exec"


def _get(action: Object, port: int, host: str, seconds: float) -> tuple[bool, str]:
    """Ask by HTTP; 200 to 399 passes, a redirect is not followed."""
    if action.get("scheme", "HTTP").upper() == "HTTPS":
        context = ssl._create_unverified_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=seconds, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
    headers = {"User-Agent": "kube-probe/1.36", "Accept": "*/*", "Connection": "close"}
    headers |= {header["name"]: header["value"] for header in action.get("httpHeaders") or ()}
    try:
        connection.request("GET", action.get("path") or "/", headers=headers)
        status = connection.getresponse().status
    finally:
        connection.close()
    return 200 <= status < 400, f"HTTP probe failed with statuscode: {status}"


def _port_of(container: Object, port: int | str) -> int:
    """Return a port number; a name is looked up among the container's ports. Raises OSError where it is not."""
    if isinstance(port, int) or port.isdecimal():
        return int(port)
    for known in container.get("ports") or ():
        if known.get("name") == port:
            return int(known["containerPort"])
    raise OSError(f"couldn't find port: {port}")
