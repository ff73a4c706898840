"""What the HTTP API does, by real processes: its server, the log's, and clients on the same cores. Over TLS, as always.

No control plane runs beside it: what a request costs is to be told, not what its consequences do.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import orjson

from events.commit import Committer, Intent, Proposal
from events.replica import Replica
from schemas.changes import Create
from schemas.envelopes import Actor
from schemas.errors import Unavailable
from schemas.kinds import CONFIG_MAP, POD, STATEFUL_SET
from schemas.objects import Object, with_metadata
from services.bench.clients import Client, Driven, Watch, await_all, drive
from services.bench.floors import REPEATS, without_collection
from services.bench.gates import Gate, Reading
from services.bench.worlds import a_config, a_running_pod
from services.loadtest.api_clients import JSON, Place, path_of, place_of
from services.loadtest.clusters import Running, Shape, running_cluster
from services.loadtest.sets import NAMESPACE, a_set
from services.loadtest.statistics import percentile
from services.loadtest.usage import usage_of
from services.settings import KUBECONFIG
from services.wiring import edges_of, open_log

PODS = 5_000
WATCHES = 1_000
_AT_ONCE = 500
_MB = 1 << 20
_PATIENCE = 60.0


def apis(place: Path) -> Iterator[Reading]:
    """Measure creates, gets, lists, idle watches and how fast a write reaches all of them."""
    with running_cluster(Shape(workers=0, over_api=True), place) as cluster:
        bench = _Bench(cluster, place_of(cluster.settings.data_dir / KUBECONFIG))
        try:
            yield from _creates(bench)
            yield from _gets(bench)
            yield from _lists(bench)
            yield from _watches(bench)
        finally:
            bench.close()


@dataclass(frozen=True, slots=True)
class _Measured:
    """What driving some requests took, and what each cost whom in CPU."""

    driven: Driven
    note: str

    @property
    def rate(self) -> float:
        return len(self.driven.each) / self.driven.seconds

    def percentile(self, share: float) -> float:
        """Return a percentile of the requests, in milliseconds."""
        return 1000 * percentile(sorted(self.driven.each), share)


class _Bench:
    """A measured cluster and those who ask its API."""

    def __init__(self, cluster: Running, place: Place) -> None:
        self.cluster = cluster
        self._place = place
        self._clients: list[Client] = []
        self._apis = [pid for name, pid in cluster.pids.items() if name.startswith("api")]

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def clients(self, count: int) -> Sequence[Client]:
        """Return so many connections."""
        while len(self._clients) < count:
            self._clients.append(Client(self._place))
        return self._clients[:count]

    def watch(self, request: bytes) -> Watch:
        """Return a new watch."""
        return Watch(self._place, request)

    def measure(self, clients: int, requests: Sequence[bytes]) -> _Measured:
        """Send requests over so many connections."""
        callers = self.clients(clients)
        with without_collection():
            before = self._used()
            driven = drive(callers, requests)
            after = self._used()
        api, log = (1e6 * (end - begin) / len(requests) for begin, end in zip(before, after, strict=True))
        client = 1e6 * driven.cpu / len(requests)
        note = (
            f"{len(self._apis)} API process{'es' * (len(self._apis) > 1)}; CPU of one: "
            f"API {api:.0f}, log {log:.0f}, clients {client:.0f} us"
        )
        return _Measured(driven, note)

    def repeat(self, clients: int, batches: Iterable[Sequence[bytes]]) -> _Measured:
        """Send batches of requests one after the other; return the one of the median rate: machines are noisy."""
        measured = sorted((self.measure(clients, batch) for batch in batches), key=lambda each: each.rate)
        return measured[len(measured) // 2]

    def memory(self) -> float:
        """Return the PSS of the API's processes, in MB."""
        return sum(usage_of(pid).pss for pid in self._apis) / _MB

    def _used(self) -> tuple[float, float]:
        return sum(usage_of(pid).cpu for pid in self._apis), usage_of(self.cluster.pids["log"]).cpu


def _creates(bench: _Bench) -> Iterator[Reading]:
    """Create sets one after the other, then by eight clients at a time."""
    bench.measure(1, _creations("warm", 100))
    one = bench.repeat(1, (_creations(f"one-{each}", 200) for each in range(REPEATS)))
    gate = Gate(4, False, 40, "PING")
    yield Reading(
        "api-create",
        "create a StatefulSet, one client, p50",
        one.percentile(0.5),
        "ms",
        gate,
        one.note,
    )
    eight = bench.repeat(8, (_creations(f"eight-{each}", 600) for each in range(REPEATS)))
    what = "create StatefulSets, 8 clients"
    gate = Gate(700, True, 0.07, "PING/s")
    yield Reading("api-create-8", what, eight.rate, "1/s", gate, eight.note)
    gate = Gate(25, False, 250, "PING")
    yield Reading("api-create-8-p99", f"{what}, p99", eight.percentile(0.99), "ms", gate)


def _gets(bench: _Bench) -> Iterator[Reading]:
    """Get a hundred of those sets in turn, each as it is now, by one client and by sixteen."""
    paths = [path_of(STATEFUL_SET.resource, NAMESPACE, f"eight-0-{number:05}") for number in range(100)]
    requests = [_request("GET", path) for path in paths]
    bench.measure(1, requests)
    one = bench.repeat(1, [requests * 4] * REPEATS)
    yield Reading("api-get", "get, one client, p50", one.percentile(0.5), "ms", None, one.note)
    many = bench.repeat(16, [requests * 30] * REPEATS)
    gate = Gate(4_000, True, 0.4, "PING/s")
    yield Reading("api-gets", "gets, 16 clients", many.rate, "1/s", gate, many.note)


def _lists(bench: _Bench) -> Iterator[Reading]:
    """List pods that run, first when nobody has asked for them yet."""
    _commit(bench, PODS)
    request = _request("GET", path_of(POD.resource))
    first = bench.measure(1, [request])
    again = bench.measure(1, [request] * 9)
    gate = Gate(150, False, 1500, "PING")
    note = f"the first one: {first.percentile(0.5):.0f} ms; {again.note}"
    yield Reading("api-list", f"list {PODS:,} pods, p50", again.percentile(0.5), "ms", gate, note)


def _watches(bench: _Bench) -> Iterator[Reading]:
    """Open watches, tell what they take while nothing happens, and how soon all of them know of a write."""
    path = path_of(CONFIG_MAP.resource, NAMESPACE)
    bench.measure(1, [_request("POST", path, a_config(0))])
    before = bench.memory()
    request = _request("GET", f"{path}?watch=true&resourceVersion=0&labelSelector=%21old")
    watches = [bench.watch(request) for _ in range(WATCHES)]
    await_all(watches)
    time.sleep(2.0)
    taken = bench.memory() - before
    note = f"PSS of the API before: {before:.0f} MB"
    yield Reading("api-watches", f"{WATCHES:,} idle watches", taken, "MB", Gate(50), note)
    times = [_reached(bench, watches, number) for number in range(1, 12)]
    gate = Gate(100, False, 1000, "PING")
    what = f"one write reaches {WATCHES:,} watches"
    yield Reading("api-fanout", what, median(times), "ms", gate)
    for watch in watches:
        watch.close()


def _reached(bench: _Bench, watches: Sequence[Watch], number: int) -> float:
    """Write once; return the milliseconds until the last watch has it."""
    (writer,) = bench.clients(1)
    for watch in watches:
        watch.expect(b'"n":"%d"' % number)
    with without_collection():
        writer.send(_request("PUT", path_of(CONFIG_MAP.resource, NAMESPACE, "bench"), a_config(number)))
        took = 1000 * (await_all(watches) - writer.sent)
    await_all([writer])
    return took


def _commit(bench: _Bench, pods: int) -> None:
    """Have the log hold so many pods that run, each with a name and a uid of its own."""
    settings = bench.cluster.settings
    log = open_log(settings, "bench")
    replica = Replica(log, every=_PATIENCE)
    replica.load()

    def reach(position: int) -> None:
        if not replica.wait_for(position, _PATIENCE):
            raise Unavailable("the bench's own replica does not keep up with the log")

    committer = Committer(log, replica, reach, edges_of(settings))
    pod = a_running_pod()
    for begin in range(0, pods, _AT_ONCE):
        made = [Create(_a_pod(pod, number)) for number in range(begin, min(begin + _AT_ONCE, pods))]
        committer.commit(partial(Proposal, made), Intent(Actor("socket:bench", "socket"), uuid.uuid4().hex))
    log.close()


def _a_pod(pod: Object, number: int) -> Object:
    return with_metadata(pod, name=f"web-{number}", ownerReferences=None)


def _creations(name: str, count: int) -> list[bytes]:
    path = path_of(STATEFUL_SET.resource, NAMESPACE)
    return [
        _request("POST", path, a_set(f"{name}-{number:05}", 3, "OrderedReady")) for number in range(count)
    ]


def _request(method: str, path: str, body: Object | None = None) -> bytes:
    content = b"" if body is None else orjson.dumps(body)
    kind = f"Content-Type: {JSON}\r\nContent-Length: {len(content)}\r\n" if content else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: {JSON}\r\n{kind}\r\n"
    return head.encode() + content
