"""The program in the demo's images: a database so small that all it keeps is a journal of its own starts and ends.

It runs alone, from an image's folder beside a file VERSION, so it imports nothing but the standard library. It answers

    GET /                      who it is: version, pod, uid, address
    GET /peer?host=NAME:PORT   what the peer of that name answers, and the address that the name means

Its volume holds `journal`, a line for each start and each end, and `lock`, which a second process would not get.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PORT = 8080
_PATIENCE = 2.0


def main() -> int:
    """Serve on $POD_IP until SIGTERM."""
    volume = Path(os.environ["VOLUME_DATA"])
    with open(volume / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another process writes to this volume", file=sys.stderr)
            return 1
        signal.signal(signal.SIGTERM, _leave)
        _note(volume, "started")
        try:
            with _Server((os.environ["POD_IP"], PORT), _Handler) as server:
                print(f"version {_version()} serves on {os.environ['POD_IP']}:{PORT}", flush=True)
                server.serve_forever(poll_interval=0.05)
        finally:
            _note(volume, "stopped")
    return 0


class _Server(ThreadingTCPServer):
    # Not http.server.HTTPServer: that one looks the address up in the DNS, which a machine may not have.
    allow_reuse_address = True
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        host = parse_qs(parts.query).get("host", [""])[0]
        match parts.path:
            case "/":
                self._answer(200, _identity())
            case "/peer" if host:
                self._answer(*_asked(host))
            case _:
                self._answer(404, {"error": f"{self.path} is nothing here"})

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing of requests: probes come all the time."""

    def _answer(self, code: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _identity() -> dict[str, Any]:
    return {
        "version": _version(),
        "pod": os.environ["POD_NAME"],
        "uid": os.environ["POD_UID"],
        "address": os.environ["POD_IP"],
    }


def _asked(host: str) -> tuple[int, dict[str, Any]]:
    """Return what the peer `name:port` answers."""
    name, _, port = host.partition(":")
    address = _address_of(name)
    if not address:
        return 502, {"error": f"the name {name} is not known"}
    connection = HTTPConnection(address, int(port or PORT), timeout=_PATIENCE)
    try:
        connection.request("GET", "/")
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError) as error:
        return 502, {"error": f"{name} ({address}) does not answer: {error}"}
    finally:
        connection.close()
    return 200, {"name": name, "address": address, "answer": answer}


def _address_of(name: str) -> str:
    """Return the address of a name in the pod's hosts file, as the agent writes it; empty where it has none."""
    for line in Path(os.environ["CHRONOSET_HOSTS"]).read_text().splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if name in names:
            return address
    return ""


def _note(volume: Path, what: str) -> None:
    with open(volume / "journal", "a") as journal:
        journal.write(f"{what} {_version()} {os.environ['POD_UID']}\n")
        journal.flush()
        os.fsync(journal.fileno())


def _version() -> str:
    return Path(__file__).with_name("VERSION").read_text().strip()


def _leave(_number: int, _frame: Any) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
