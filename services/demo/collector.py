"""The program in the demo's image `fluentd`: a log collector as small as one can be.

It follows the logs of the containers of its node, which a hostPath volume gives it (`logs`, the node's
/var/log/containers), and keeps in memory how many lines each pod has printed, and the last of them. It runs alone, from
an image's folder whose name is its version, so it imports nothing but the standard library. It answers

    GET /    its version and node, and by `namespace/pod` the number of `lines` and the `last` line

Its own log is left out: a collector that prints what it collects would never come to an end.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any

PORT = 24220
PAUSE = 0.1
_LINK = re.compile(r"(?P<pod>[^_]+)_(?P<namespace>[^_]+)_.+-[0-9a-f]{64}\.log")
"""How the kubelet names the link to a container's log."""


class Collector:
    """What was read of each log, by its link's name, and what came of it, by `namespace/pod`."""

    def __init__(self, logs: Path, own: str) -> None:
        self._logs = logs
        self._own = own
        self._offsets: dict[str, int] = {}
        self.lines: dict[str, int] = {}
        self.last: dict[str, str] = {}

    def look(self) -> None:
        """Read what was added to the logs since the last look, whole lines only."""
        for path in sorted(self._logs.glob("*.log")):
            match = _LINK.fullmatch(path.name)
            if match and f"{match['namespace']}/{match['pod']}" != self._own:
                self._read(path, f"{match['namespace']}/{match['pod']}")

    def _read(self, path: Path, pod: str) -> None:
        offset = self._offsets.get(path.name, 0)
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < offset:
                    offset = 0
                file.seek(offset)
                data = file.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[path.name] = offset + len(whole)
        for line in whole.decode(errors="replace").splitlines():
            _, _, tag, text = [*line.split(" ", 3), "", "", "", ""][:4]
            if tag == "F":
                self.lines[pod] = self.lines.get(pod, 0) + 1
                self.last[pod] = text


class _Server(ThreadingTCPServer):
    # Not http.server.HTTPServer: that one looks the address up in the DNS, which a machine may not have.
    allow_reuse_address = True
    daemon_threads = True
    content: dict[str, Any]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        body = json.dumps(self.server.content).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing of requests: probes come all the time."""


def main() -> int:
    """Collect, and serve on $POD_IP, until SIGTERM."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    own = f"{os.environ['POD_NAMESPACE']}/{os.environ['POD_NAME']}"
    collector = Collector(Path(os.environ["VOLUME_LOGS"]), own)
    version = Path(os.environ["IMAGE_DIR"]).name
    with _Server((os.environ["POD_IP"], PORT), _Handler) as server:
        server.content = {
            "version": version,
            "node": os.environ["NODE_NAME"],
            "pod": own,
            "lines": collector.lines,
            "last": collector.last,
        }
        collector.look()
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        print(f"version {version} collects the logs of {os.environ['NODE_NAME']}", flush=True)
        while not ending.wait(PAUSE):
            collector.look()
    return 0


if __name__ == "__main__":
    sys.exit(main())
