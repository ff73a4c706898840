"""Hears of containers that end, also of those that ended while nobody listened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog
from docker.errors import DockerException

from services.agent.runtimes.docker.labels import NODE

PAUSE_SECONDS = 0.5
"""How long to wait before a daemon that did not answer is asked again."""
_DEATHS = ("die", "died")
"""How docker and podman call the end of a container."""
_log = structlog.get_logger("chronoset.docker-runtime")


class Ends:
    """Calls `on_end` with the id of each container of the node that ends, in a thread of its own until `close`.

    `on_gap` is called whenever it has begun to listen (again): what ended before that was not heard.
    """

    def __init__(
        self, client: Any, node_directory: str, on_end: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        self._client = client
        self._filters = {"type": "container", "label": f"{NODE}={node_directory}"}
        self._on_end = on_end
        self._on_gap = on_gap
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._run, name="container-ends", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._stopping.set()
        with self._lock:
            if self._stream is not None:
                self._stream.close()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except (DockerException, OSError) as error:
                if not self._stopping.is_set():
                    _log.warning("the daemon does not tell which containers end", error=str(error))
            self._stopping.wait(PAUSE_SECONDS)

    def _listen(self) -> None:
        stream = self._client.events(filters=self._filters, decode=True)
        with self._lock:
            self._stream = stream
        try:
            if self._stopping.is_set():
                return
            self._on_gap()
            for event in stream:
                if event.get("Action") in _DEATHS or event.get("status") in _DEATHS:
                    self._on_end(event.get("id") or event["Actor"]["ID"])
        finally:
            with self._lock:
                self._stream = None
            stream.close()
