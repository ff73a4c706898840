"""`chronoset up` and `watch` on a real terminal: the live view comes, follows, fits, and gives the terminal back."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.clusters import (
    PATIENCE,
    Cluster,
    _chronoset,
    a_set,
    assert_nothing_left,
    lay_out_images,
    wait_for,
)

pytestmark = [pytest.mark.e2e, pytest.mark.server]

OTHER_SCREEN, OWN_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
SHOWN_CURSOR, HIDDEN_CURSOR = "\x1b[?25h", "\x1b[?25l"


class Terminal:
    """A pseudo-terminal, and all that was ever written to it."""

    def __init__(self, columns: int = 100, lines: int = 30) -> None:
        self.written = ""
        self._master, self._slave = os.openpty()
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def run(self, *arguments: str, environ: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start `chronoset` as the program in the foreground of this terminal."""
        visible = {name: value for name, value in environ.items() if name != "NO_COLOR"}

        def take_control() -> None:
            os.setsid()
            fcntl.ioctl(self._slave, termios.TIOCSCTTY, 0)

        return subprocess.Popen(
            _chronoset(*arguments),
            env={**visible, "TERM": "xterm-256color"},
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            preexec_fn=take_control,
        )

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def shows(self, text: str) -> bool:
        """Read what has come, and say whether the text was written without styles since the last `forget`."""
        while select.select([self._master], [], [], 0)[0]:
            self.written += os.read(self._master, 1 << 16).decode("utf-8", "replace")
        return text in re.sub(r"\x1b\[[0-9;]*m", "", self.written)

    def forget(self) -> None:
        self.shows("")
        self.written = ""

    def rows(self) -> int:
        """Return the last row that was written to since the last `forget`."""
        self.shows("")
        return max((int(row) for row in re.findall(r"\x1b\[(\d+);\d+H", self.written)), default=0)

    def is_plain(self) -> bool:
        """Say whether it echoes, and stops a program on Ctrl-Z, as it did at the beginning."""
        attributes = termios.tcgetattr(self._master)
        return bool(attributes[3] & termios.ECHO) and attributes[6][termios.VSUSP] == b"\x1a"

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


@contextmanager
def on_terminal(data_dir: Path, *arguments: str) -> Iterator[tuple[Cluster, Terminal]]:
    """A cluster of one node that is up in the foreground of a terminal."""
    cluster, terminal = Cluster(data_dir, 1), Terminal()
    lay_out_images(data_dir)
    try:
        cluster.up = terminal.run("up", "--nodes", "1", *arguments, environ=cluster.environ)  # type: ignore[assignment]
        wait_for(cluster.is_up, "the cluster to be up")
        yield cluster, terminal
    finally:
        cluster.clean_up()
        terminal.close()
    assert_nothing_left(cluster)


def test_up_shows_the_cluster_and_gives_the_terminal_back_on_ctrl_c(tmp_path: Path):
    """Ctrl-C reaches the supervisor alone; the view ends first, and nothing of it is left on the screen."""
    with on_terminal(tmp_path / "data") as (cluster, terminal):
        wait_for(lambda: terminal.shows("1/1 nodes ready"), "the view")
        assert OTHER_SCREEN in terminal.written and HIDDEN_CURSOR in terminal.written
        assert not terminal.is_plain()
        cluster.apply(a_set(2))
        wait_for(lambda: terminal.shows("statefulset db   2/2 ready"), "the set to be seen ready")
        assert "is up in" not in terminal.written

        terminal.resize(60, 12)
        terminal.forget()
        wait_for(lambda: terminal.shows("2/2 ready"), "the view to be drawn for the new size")
        assert 0 < terminal.rows() <= 12

        terminal.type("\x03")
        assert cluster.up is not None
        wait_for(lambda: terminal.shows("stopping the cluster") and cluster.up.poll() is not None, "its end")  # type: ignore[union-attr]
        assert cluster.up.returncode == 0
        before, _, after = terminal.written.partition(OWN_SCREEN)
        assert before.rstrip().endswith(SHOWN_CURSOR)
        assert after.strip().startswith("stopping the cluster in")
        assert after.strip().count("\n") == 0, after
        assert terminal.is_plain()
        assert cluster.containers() == {}


def test_a_supervisor_that_is_killed_leaves_the_terminal_as_it_was(tmp_path: Path):
    with on_terminal(tmp_path / "data") as (cluster, terminal):
        wait_for(lambda: terminal.shows("1/1 nodes ready"), "the view")
        assert cluster.up is not None
        cluster.up.send_signal(signal.SIGKILL)
        wait_for(lambda: terminal.shows(OWN_SCREEN) and terminal.is_plain(), "the terminal back")


def test_a_view_that_is_killed_comes_back(tmp_path: Path):
    with on_terminal(tmp_path / "data") as (cluster, terminal):
        wait_for(lambda: terminal.shows("1/1 nodes ready"), "the view")
        process = cluster.members()["view"].process
        assert process is not None
        terminal.forget()
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: terminal.shows("1/1 nodes ready"), "the view again")


def test_plain_means_lines(tmp_path: Path):
    with on_terminal(tmp_path / "data", "--plain") as (cluster, terminal):
        wait_for(lambda: terminal.shows("Ctrl-C stops it."), "the line that it is up")
        assert OTHER_SCREEN not in terminal.written and terminal.is_plain()
        assert "view" not in cluster.members()


def test_watch_shows_a_cluster_from_another_terminal_and_outlives_its_log_server(tmp_path: Path):
    other = Terminal()
    try:
        with on_terminal(tmp_path / "data", "--plain") as (cluster, _):
            cluster.apply(a_set(1))
            watch = other.run("watch", environ=cluster.environ)
            wait_for(lambda: other.shows("statefulset db   1/1 ready"), "the set to be seen ready")
            server = cluster.members()["log"].process
            assert server is not None
            os.kill(server.pid, signal.SIGKILL)
            wait_for(lambda: cluster.is_up(), "the log's server to be back")
            other.forget()
            assert cluster.run("scale", "sts/db", "--replicas", "2").code == 0
            wait_for(lambda: other.shows("statefulset db   2/2 ready"), "what comes after that")
            other.type("\x03")
            assert watch.wait(PATIENCE) == 0
            other.shows("")
            assert other.is_plain() and other.written.rstrip().endswith(OWN_SCREEN)
    finally:
        other.close()
