"""A whole API over a log in memory, on a port of this machine."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from events.commit import Edges
from events.log import Appended, Batch
from events.memory import MemoryLog
from events.replica import Replica
from schemas.objects import Object
from schemas.positions import Position
from services.api.limits import Limits
from services.api.program import Parts, Server, running_on
from services.api.seams import Policy
from services.bootstrap import prepare_log

DEADLINE = 10.0
STATEFUL_SETS = "/apis/apps/v1/namespaces/default/statefulsets"
PODS = "/api/v1/namespaces/default/pods"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class Directly:
    """A log in memory as the event loop asks it."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def append(self, batch: Batch) -> Appended:
        return self._log.append(batch)

    async def last(self) -> Position:
        return self._log.last()

    def close(self) -> None:
        """There is nothing to let go of."""


class AnApi:
    """What a test asks, and the log that its writes are in."""

    def __init__(self, client: httpx.Client, log: MemoryLog, server: Server) -> None:
        self.client = client
        self.log = log
        self.server = server

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send JSON and return the response."""
        content = None if body is None else json.dumps(body)
        spoken = {"content-type": "application/json"} if body is not None else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.request(method, path, content=content, headers={**spoken, **named})

    def get(self, path: str, **headers: str) -> Any:
        """Return what is there. Fails unless it is."""
        return _good(self.ask("GET", path, **headers), 200)

    def create(self, path: str, obj: Object) -> Any:
        return _good(self.ask("POST", path, obj), 201)

    def put(self, path: str, obj: Object) -> Any:
        return _good(self.ask("PUT", path, obj), 200)

    def patch(self, path: str, patch: Any, kind: str = "merge") -> Any:
        return _good(self.ask("PATCH", path, patch, content_type=PATCH_TYPES[kind]), 200)

    def delete(self, path: str, options: Object | None = None) -> Any:
        return _good(self.ask("DELETE", path, options), 200)

    def fails(self, code: int, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return the Status of a request that must fail with a code."""
        response = self.ask(method, path, body, **headers)
        assert response.status_code == code, response.text
        status = response.json()
        assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", code)
        return status

    @contextmanager
    def watch(self, path: str, query: str = "", **headers: str) -> Iterator[Iterator[Any]]:
        """Yield the events of a watch as they come, with a deadline."""
        url = f"{path}?watch=true&{query}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.client.stream("GET", url, headers=named, timeout=DEADLINE) as response:
            assert response.status_code == 200
            yield map(json.loads, response.iter_lines())


@contextmanager
def an_api(
    policy: Policy | Callable[[Replica], Policy] | None = None,
    limits: Limits | None = None,
    log: MemoryLog | None = None,
) -> Iterator[AnApi]:
    """Run an API over a log; over a new one, with the first namespaces in it, where none is given."""
    log = log or MemoryLog()
    policy_over = policy if callable(policy) else lambda _: policy or Policy()
    parts = Parts(
        lambda: log, Edges(), lambda obj: obj, policy_over, limits or Limits(), at_once=Directly(log)
    )
    with served(parts, log) as api:
        yield api


@contextmanager
def served(parts: Parts, log: MemoryLog) -> Iterator[AnApi]:
    """Run an API made of these parts, over a log that is prepared here."""
    with tempfile.TemporaryDirectory() as folder:
        prepare_log(log, Path(folder))
    server = Server(parts)
    server.replica.load()
    listening = _any_port()
    running = running_on(server)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + DEADLINE
    while not running.started:
        assert time.monotonic() < deadline, "the API did not start"
        time.sleep(0.005)
    port = listening.getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as client:
        yield AnApi(client, log, server)
    running.handle_exit(15, None)
    thread.join(DEADLINE)
    listening.close()
    assert not thread.is_alive()


def _any_port() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(100)
    return listening


def _good(response: httpx.Response, code: int) -> Any:
    assert response.status_code == code, response.text
    return response.json()


def a_config_map(name: str = "settings", **data: str) -> Object:
    """A ConfigMap as a client writes it."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def a_set(name: str = "db", replicas: int = 3, **metadata: Any) -> Object:
    """A StatefulSet as a client writes it."""
    labels = {"app": name}
    container = {"name": "main", "image": "db:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, **metadata},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def a_pod(name: str = "web-0", **labels: str) -> Object:
    """A pod as a client writes it."""
    container = {"name": "main", "image": "web:1"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [container]},
    }
