"""All programs of one machine as one page: each is asked at its socket, and its series get the label `program`."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from services.sockets import METRICS

PATIENCE = 2.0
"""Seconds that a program has to answer."""


class Gathered(Collector):
    """The metrics of the programs that serve theirs in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("chronoset_up", "Whether a program answers.", labels=["program"])
        families: dict[str, Metric] = {}
        for program, text in pages(self._directory):
            up.add_metric([program], float(text is not None))
            for family in text_string_to_metric_families(text or ""):
                whole = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                whole.samples += [
                    sample._replace(labels={"program": program, **sample.labels}) for sample in family.samples
                ]
        yield up
        yield from families.values()


def registry_of(directory: Path) -> CollectorRegistry:
    """Return a registry that gathers anew whenever it is asked."""
    registry = CollectorRegistry()
    registry.register(Gathered(directory))
    return registry


def pages(directory: Path) -> Iterator[tuple[str, str | None]]:
    """Yield every program that serves metrics in a directory with its page; None where it does not answer."""
    for path in sorted(directory.glob(f"{METRICS}*.sock")):
        program = path.name.removeprefix(METRICS).removesuffix(".sock")
        try:
            yield program, _page(path)
        except (OSError, http.client.HTTPException):
            yield program, None


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _page(path: Path) -> str:
    connection = _Connection(path)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()
