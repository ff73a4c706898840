"""The demo as a user runs it: on an empty directory, as a process of its own, with nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.clusters import read_record
from services.demo.performances import STEPS
from services.sockets import socket_dir_of

pytestmark = pytest.mark.e2e
SOURCES = Path(__file__).resolve().parents[2]


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """An empty directory for everything that the demo writes, temporary files and sockets included."""
    (tmp_path / "tmp").mkdir()
    return tmp_path


def begin(room: Path, *arguments: str) -> subprocess.Popen[str]:
    environ = {
        **os.environ,
        "TMPDIR": str(room / "tmp"),
        "PYTHONPATH": str(SOURCES),
        "CHRONOSET_LOG_URL": "redis://nowhere.invalid/0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "demo", *arguments],
        env=environ,
        cwd=room,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_of(directory: Path) -> list[str]:
    """Return the command lines of the processes whose command or environment names a directory."""
    named, found = os.fsencode(directory), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command, environ = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        if named in command or named in environ:
            found.append(command.replace(b"\0", b" ").decode())
    return found


def sockets_below(directory: Path) -> list[str]:
    """Return the unix sockets of the machine whose path is below a directory."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [line for line in lines if str(directory) in line]


def assert_nothing_left(room: Path, directory: Path) -> None:
    assert processes_of(room) == []
    assert list((room / "tmp").iterdir()) == []
    sockets = socket_dir_of(directory, os.environ)
    assert not sockets.exists()
    assert sockets_below(sockets) == []


def directory_of(output: str) -> Path:
    """Return the data directory that the demo names in its first lines."""
    line = next(line for line in output.splitlines() if "export CHRONOSET_DATA_DIR=" in line)
    return Path(line.partition("=")[2])


def test_the_demo_plays_every_step_and_leaves_nothing_behind(room: Path):
    begun = time.monotonic()
    output, _ = begin(room).communicate(timeout=300)
    took = time.monotonic() - begun
    assert f"{len(STEPS)} of {len(STEPS)} steps as expected" in output, output
    assert all(f"{number}. {title}" in output for number, title in enumerate(STEPS, 1))
    assert "✗" not in output and "\x1b[" not in output
    assert took < 180
    assert_nothing_left(room, directory_of(output))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_demo_stops_its_cluster(room: Path, number: int):
    demo = begin(room)
    assert demo.stdout is not None
    lines = iter(demo.stdout.readline, "")
    seen = [next(lines)]
    while "the order in the log" not in seen[-1]:
        seen.append(next(lines))
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert_nothing_left(room, directory_of("".join(seen)))


def test_a_data_directory_that_holds_something_is_refused_untouched(room: Path):
    (room / "mine").mkdir()
    (room / "mine" / "letter").write_text("dear")
    demo = begin(room, "--data-dir", "mine")
    output, _ = demo.communicate(timeout=60)
    assert (demo.returncode, output.count("\n")) == (2, 1)
    assert output.startswith("error: --data-dir: mine is not empty")
    assert [path.name for path in (room / "mine").iterdir()] == ["letter"]


@pytest.mark.long
def test_a_kept_cluster_runs_on_and_is_ended_by_down(room: Path):
    demo = begin(room, "--keep", "--data-dir", "kept")
    output, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, output
    record = read_record(room / "kept")
    assert record is not None
    environ = {**os.environ, "PYTHONPATH": str(SOURCES)}

    def chronoset(*arguments: str) -> str:
        command = [sys.executable, "-m", "services.cli", *arguments, "--data-dir", "kept"]
        return subprocess.run(
            command, env=environ, cwd=room, check=True, capture_output=True, text=True
        ).stdout

    try:
        assert "db:5.7.26" in chronoset("get", "pods", "-o", "wide")
        assert f"export CHRONOSET_CLUSTER={record.cluster}" in chronoset("env")
    finally:
        chronoset("down", "--delete-data")
    assert not (room / "kept").exists()
    assert_nothing_left(room, room / "kept")
