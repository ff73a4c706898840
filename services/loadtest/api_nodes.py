"""Nodes as clients of the Kubernetes API, kubelet-like: they watch pods, PUT their status, DELETE what has ended.

They know nothing of Chronoset: a kubeconfig is all they are given. One process plays all of them, over one watch.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import uvloop

from events.memory import wall_clock
from schemas.errors import Unavailable
from schemas.kinds import LEASE, NODE, POD
from schemas.objects import Object, name_of, namespace_of, uid_of
from schemas.positions import Position
from schemas.times import micro_time
from services.loadtest.api_clients import Line, Place, path_of, place_of

CONNECTIONS = 16
ATTEMPTS = 5
BEAT = 10.0
"""Seconds between two renewals of a node's Lease, as the kubelet does (nodeLeaseDurationSeconds / 4)."""
PAUSE = 0.2
"""Seconds before a watch that has ended is begun anew."""
LEASES = "kube-node-lease"
_PODS = path_of(POD.resource)


class ApiNodes:
    """What services.agent.simulated_nodes needs of the control plane, over its HTTP API."""

    def __init__(self, kubeconfig: Path, holder: str = "loadtest") -> None:
        self._holder = holder
        self._place: Place = place_of(kubeconfig)
        self._moved = threading.Condition()
        self._changed: dict[str, Object] = {}
        self._mark: Position = 0
        self._rest = b""
        self._beating: Future[None] | None = None
        self._loop = uvloop.new_event_loop()
        self._lines: asyncio.Queue[Line | None] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            self._lines.put_nowait(None)
        threading.Thread(target=self._loop.run_forever, name="api-nodes", daemon=True).start()
        self._following = asyncio.run_coroutine_threadsafe(self._follow(), self._loop)

    def register_many(self, nodes: Sequence[Object]) -> None:
        """Register nodes, as kubelets do: by a POST each, with their status."""
        self._all(self._ask("POST", path_of(NODE.resource), node, 409) for node in nodes)

    def heartbeat_many(self, nodes: Sequence[str]) -> None:
        """Renew the nodes' Leases from now on, each every BEAT seconds, evenly spread as those of real nodes are."""
        if self._beating is None:
            self._beating = asyncio.run_coroutine_threadsafe(self._beat(list(nodes)), self._loop)

    def changed_pods(self, after: Position, timeout: float) -> tuple[Position, Sequence[Object]]:
        """Return the pods that have changed since the last call, waiting up to `timeout` seconds for one."""
        with self._moved:
            self._moved.wait_for(lambda: bool(self._changed), timeout)
            pods, self._changed = list(self._changed.values()), {}
            return max(after, self._mark), pods

    def report_many(self, reports: Sequence[tuple[Object, Object]]) -> None:
        """PUT each pod's status; pods that are gone, or others of their name, are left out."""
        self._all(
            self._put(_path(pod, "status"), {**_unversioned(pod), "status": status})
            for pod, status in reports
        )

    def confirm_many(self, pods: Sequence[Object]) -> None:
        """DELETE pods that have ended, of these uids."""
        self._all(self._ask("DELETE", _path(pod), _last_words(pod), 404, 409) for pod in pods)

    def _all(self, work: Iterable[Coroutine[Any, Any, int | None]]) -> None:
        """Do many things at once; the first that went wrong is raised."""

        async def gathered() -> None:
            await asyncio.gather(*work)

        asyncio.run_coroutine_threadsafe(gathered(), self._loop).result()

    async def _put(self, path: str, body: Object) -> None:
        """PUT until nobody else was faster; a pod of another uid is refused as often as that, and left out."""
        for _ in range(ATTEMPTS):
            if await self._ask("PUT", path, body, 404, 409) != 409:
                return
            await asyncio.sleep(PAUSE / ATTEMPTS)

    async def _ask(self, method: str, path: str, body: Object, *accepted: int) -> int:
        """Ask over a connection that nobody else uses; return the code."""
        line = await self._lines.get()
        try:
            if line is None or not line.is_open:
                line = await Line.to(self._place)
            answer = await line.ask(method, path, body)
            answer.found(*accepted)
            return answer.code
        finally:
            self._lines.put_nowait(line)

    async def _beat(self, nodes: Sequence[str]) -> None:
        while True:
            for name in nodes:
                with suppress(Unavailable):
                    await self._ask("PUT", path_of(LEASE.resource, LEASES, name), self._lease(name))
                await asyncio.sleep(BEAT / len(nodes))

    async def _follow(self) -> None:
        """Watch all pods, and list them again whenever a watch ends."""
        while True:
            with suppress(Unavailable):
                line = await Line.to(self._place)
                listed = (await line.ask("GET", _PODS)).found() or {}
                line.close()
                self._note(listed["items"])
                self._rest = b""
                watching = await Line.to(self._place, self._hear)
                version = listed["metadata"]["resourceVersion"]
                await watching.ask("GET", f"{_PODS}?watch=true&resourceVersion={version}")
                watching.close()
            await asyncio.sleep(PAUSE)

    def _hear(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        events = [orjson.loads(line) for line in lines if line]
        self._note([each["object"] for each in events if each["type"] in ("ADDED", "MODIFIED")])

    def _note(self, pods: Sequence[Object]) -> None:
        if not pods:
            return
        with self._moved:
            self._changed.update({uid_of(pod): pod for pod in pods})
            self._mark += 1
            self._moved.notify_all()

    def _lease(self, name: str) -> Object:
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": name, "namespace": LEASES},
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": 40,
                "renewTime": micro_time(wall_clock()),
            },
        }


def _path(pod: Object, part: str = "") -> str:
    return path_of(POD.resource, namespace_of(pod), name_of(pod), part)


def _last_words(pod: Object) -> Object:
    return {"gracePeriodSeconds": 0, "preconditions": {"uid": uid_of(pod)}}


def _unversioned(pod: Object) -> Object:
    """Return a pod as a write that is not meant for one version of it."""
    metadata = {name: value for name, value in pod["metadata"].items() if name != "resourceVersion"}
    return {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": metadata}
