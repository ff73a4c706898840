"""The collector in the demo's image `fluentd`, on logs as a node's shims write them."""

from __future__ import annotations

from pathlib import Path

from services.agent.runtimes.log_files import LogFile
from services.agent.runtimes.log_links import LogLinks
from services.demo.collector import Collector
from tests.services.agent.builders import a_pod

OWN = "default/fluentd-1"


class Logs:
    """The logs of a node, and a collector of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.links = LogLinks(directory / "links")
        self.collector = Collector(directory / "links", OWN)

    def log(self, pod: str) -> LogFile:
        path = self.directory / f"{pod}.log"
        self.links.add(a_pod(pod), "main", f"process://{pod}", path)
        return LogFile(str(path))

    def collected(self) -> dict[str, tuple[int, str]]:
        self.collector.look()
        return {pod: (count, self.collector.last[pod]) for pod, count in self.collector.lines.items()}


def test_whole_lines_are_counted_by_pod_and_only_once(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    one, two = logs.log("db-0"), logs.log("db-1")
    one.add("stdout", b"first\nsecond\nthi")
    two.add("stderr", b"hello there\n")
    assert logs.collected() == {"default/db-0": (2, "second"), "default/db-1": (1, "hello there")}
    one.add("stdout", b"rd\n")
    assert logs.collected() == {"default/db-0": (3, "third"), "default/db-1": (1, "hello there")}


def test_its_own_log_and_what_is_no_log_are_left_out(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.log("fluentd-1").add("stdout", b"I collect\n")
    (tmp_path / "links" / "notes.log").write_text("2026 stdout F a line\n")
    assert logs.collected() == {}


def test_a_log_that_was_moved_aside_is_read_from_its_beginning(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.log("db-0").add("stdout", b"a rather long line\n" * 3)
    assert logs.collected() == {"default/db-0": (3, "a rather long line")}
    (tmp_path / "db-0.log").rename(tmp_path / "db-0.log.1")
    logs.log("db-0").add("stdout", b"new\n")
    assert logs.collected() == {"default/db-0": (4, "new")}


def test_a_log_that_goes_is_no_error(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.log("db-0").add("stdout", b"one\n")
    logs.collected()
    (tmp_path / "db-0.log").unlink()
    assert logs.collected() == {"default/db-0": (1, "one")}
