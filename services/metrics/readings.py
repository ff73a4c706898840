"""What is found out only when somebody asks for the metrics: it costs nothing in between.

A reading whose server is away is left out of the page, so that a missing series, and never an old value, tells it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import redis
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from events.log import Log
from schemas.errors import ChronosetError
from schemas.positions import Position
from services.broker.leases import Heartbeats
from services.broker.streams import Depth
from services.metrics.measures import REGISTRY

Reading = Callable[[], Iterable[Metric]]
_log = structlog.get_logger("chronoset.metrics")


class Follower(Protocol):
    """Somebody who follows the log: a replica."""

    @property
    def position(self) -> Position:
        """Where it stands."""


class _Pulled(Collector):
    def __init__(self, read: Reading) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        try:
            return list(self._read())
        except (ChronosetError, redis.RedisError, OSError) as error:
            _log.info("a reading is left out", error=str(error))
            return ()


def show(*readings: Reading) -> None:
    """Add readings to this process' metrics."""
    for reading in readings:
        REGISTRY.register(_Pulled(reading))


def lag_of(follower: Follower, open_log: Callable[[], Log]) -> Reading:
    """Return the reading of how far a follower is behind: the age of the oldest event it has not folded."""
    opened: list[Log] = []

    def read() -> Iterable[Metric]:
        if not opened:
            opened.append(open_log())
        seconds = _age_behind(opened[0], follower.position)
        yield GaugeMetricFamily(
            "chronoset_replica_lag_seconds",
            "Age of the oldest event that this replica has not folded.",
            seconds,
        )

    return read


def projector_lag(position: Callable[[], Position | None], open_log: Callable[[], Log]) -> Reading:
    """Return the reading of how far the projections are behind; none while there are none."""
    opened: list[Log] = []

    def read() -> Iterable[Metric]:
        if not opened:
            opened.append(open_log())
        if (at := position()) is not None:
            what = "Age of the oldest event that is not projected."
            yield GaugeMetricFamily("chronoset_projector_lag_seconds", what, _age_behind(opened[0], at))

    return read


def queue_depth(depth: Callable[[], Depth]) -> Reading:
    """Return the reading of the queue: how many hints are in which state."""

    def read() -> Iterable[Metric]:
        found = depth()
        family = GaugeMetricFamily("chronoset_queue_depth", "Hints in the queue, by state.", labels=["state"])
        for state in ("ready", "pending", "delayed", "dead"):
            family.add_metric([state], getattr(found, state))
        yield family

    return read


def heard_nodes(
    heartbeats: Heartbeats, nodes: Callable[[], Sequence[str]], clock: Callable[[], int]
) -> Reading:
    """Return the reading of which nodes are heard, and how old the oldest heartbeat that still holds is."""

    def read() -> Iterable[Metric]:
        names = nodes()
        heard = heartbeats.read(names)
        family = GaugeMetricFamily(
            "chronoset_nodes", "Nodes, by whether a heartbeat holds.", labels=["heard"]
        )
        family.add_metric(["true"], len(heard))
        family.add_metric(["false"], len(names) - len(heard))
        yield family
        if heard:
            oldest = max(0, clock() - min(heard.values())) / 1000
            what = "Age of the oldest heartbeat among the nodes that are heard."
            yield GaugeMetricFamily("chronoset_node_heartbeat_age_seconds", what, oldest)

    return read


def watch_count(watches: Callable[[], int]) -> Reading:
    """Return the reading of how many watches the API holds."""

    def read() -> Iterable[Metric]:
        yield GaugeMetricFamily("chronoset_api_watches", "Watches that are open.", watches())

    return read


def _age_behind(log: Log, position: Position) -> float:
    unread = log.read(position, 1)
    return max(0.0, (time.time_ns() // 1_000_000 - (unread[0].position >> 20)) / 1000) if unread else 0.0
