"""Programs serve their metrics on sockets; one page has them all, and says who does not answer."""

from __future__ import annotations

import socket
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from schemas.errors import BadRequest, Unavailable
from services.metrics import measures, readings
from services.metrics.gathering import pages, registry_of
from services.metrics.serving import serve_on_port, serve_on_socket, socket_of
from services.sockets import remove_socket_dir


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def a_registry(count: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("chronoset_things", "Things.", ["kind"], registry=registry).labels("a").inc(count)
    return registry


def test_the_series_of_all_programs_are_told_apart_by_a_label(directory: Path) -> None:
    serve_on_socket(socket_of(directory, "worker-1"), a_registry(3))
    serve_on_socket(socket_of(directory, "worker-2"), a_registry(4))
    registry = registry_of(directory)
    for program, count in (("worker-1", 3), ("worker-2", 4)):
        labels = {"program": program, "kind": "a"}
        assert registry.get_sample_value("chronoset_things_total", labels) == count
        assert registry.get_sample_value("chronoset_up", {"program": program}) == 1
    assert generate_latest(registry).decode().count("# TYPE chronoset_things_total counter") == 1


def test_who_does_not_answer_is_down_and_hides_nobody(directory: Path) -> None:
    serve_on_socket(socket_of(directory, "worker-1"), a_registry(3))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_of(directory, "api")))
    registry = registry_of(directory)
    assert registry.get_sample_value("chronoset_up", {"program": "api"}) == 0
    assert registry.get_sample_value("chronoset_up", {"program": "worker-1"}) == 1


def test_a_program_that_starts_again_takes_its_socket_over(directory: Path) -> None:
    serve_on_socket(socket_of(directory, "worker-1"), a_registry(3))
    serve_on_socket(socket_of(directory, "worker-1"), a_registry(9))
    ((program, text),) = pages(directory)
    assert program == "worker-1" and text is not None and "} 9.0" in text


def test_what_killed_programs_left_goes_with_the_directory(directory: Path) -> None:
    inside = directory / "sockets"
    inside.mkdir()
    serve_on_socket(socket_of(inside, "worker-1"), a_registry(1))
    remove_socket_dir(inside)
    assert not inside.exists()
    directory.mkdir(exist_ok=True)


def test_a_port_serves_the_page_and_one_that_is_taken_is_named() -> None:
    port = serve_on_port("127.0.0.1", 0, a_registry(5))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b'chronoset_things_total{kind="a"} 5.0' in answer.read()
    with pytest.raises(BadRequest, match=f"--metrics: 127.0.0.1:{port} cannot be listened on"):
        serve_on_port("127.0.0.1", port)


def test_a_reading_whose_server_is_away_is_left_out_and_harms_no_other() -> None:
    def away() -> list[Metric]:
        raise Unavailable("the log's server cannot be reached")

    def there() -> list[Metric]:
        return [GaugeMetricFamily("chronoset_there", "There.", 1.0)]

    readings.show(away, there)
    assert measures.REGISTRY.get_sample_value("chronoset_there") == 1.0
