"""Real processes end in the worst moment: a worker, the queue's server, all of its data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dramatiq import actor
from structlog.testing import capture_logs

from services.broker.hints import Hints
from services.broker.keys import Keys
from services.broker.streams import Depth
from tests.servers import Server, running_server
from tests.services.broker.workers import a_broker, an_actor, eventually, working

pytestmark = pytest.mark.server

HANGING_WORKER = """
import sys, threading
import redis
from services.broker.keys import Keys
from tests.services.broker.workers import a_broker, an_actor, working

client = redis.Redis(unix_socket_path=sys.argv[1], protocol=2)
broker = a_broker(client, Keys("c"))

def hang(number):
    client.set("taken", number)
    threading.Event().wait()

an_actor(broker, hang)
with working(broker):
    threading.Event().wait()
"""

HANGING_RECONCILER = """
import sys, threading
import dramatiq
import redis
from services.broker.hints import Hints
from services.broker.keys import Keys
from tests.services.broker.workers import a_broker, working

client = redis.Redis(unix_socket_path=sys.argv[1], protocol=2)
broker, hints = a_broker(client, Keys("c")), Hints(client, Keys("c"), run_ttl_ms=200)

@dramatiq.actor(broker=broker, queue_name="hints")
def reconcile(controller, key):
    hints.take([(controller, key)])
    threading.Event().wait()

with working(broker):
    threading.Event().wait()
"""


@contextmanager
def running(program: str, server: Server) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that runs `program` with the server's socket as its argument; killed with the block."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", program, str(server.socket)]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(root)}, cwd=root)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of this test's own, with an append-only file."""
    with running_server(tmp_path, "--appendonly", "yes", "--appendfsync", "everysec") as own:
        yield own


def test_a_message_of_a_worker_killed_in_the_middle_runs_elsewhere(shared_server: Server, keys: Keys) -> None:
    with shared_server.client() as client:
        client.flushall()
        seen: list[int] = []
        broker = a_broker(client, keys)
        work = an_actor(broker, seen.append)
        with running(HANGING_WORKER, shared_server):
            work.send(7)
            eventually(lambda: client.get("taken") == b"7")
        with working(broker):
            broker.join("jobs", timeout=5_000)
        assert seen == [7]


def test_a_key_marked_while_its_worker_is_killed_runs_elsewhere(shared_server: Server, keys: Keys) -> None:
    """The wake-up left for a run that never ends is not lost: the dead worker's own message brings it."""
    with shared_server.client() as client:
        client.flushall()
        seen: list[str] = []
        broker, hints = a_broker(client, keys), Hints(client, keys, run_ttl_ms=200)

        def reconcile(controller: str, key: str) -> None:
            for run in hints.take([(controller, key)]):
                seen.append(key)
                hints.release({run: None})

        actor(reconcile, broker=broker, queue_name="hints")
        with running(HANGING_RECONCILER, shared_server) as child:
            hints.mark("statefulset", "default/web")
            eventually(lambda: client.hlen(keys.running) == 1)
            with working(broker):
                hints.mark("statefulset", "default/web")
                eventually(lambda: client.scard(keys.again) == 1)
                child.kill()
                eventually(lambda: seen == ["default/web"])
                broker.join("hints", timeout=5_000)
        hints.close()
        assert seen == ["default/web"]
        assert (client.hlen(keys.running), client.scard(keys.again)) == (0, 0)


def test_a_worker_goes_on_after_its_server_was_killed_and_restarted(server: Server, keys: Keys) -> None:
    with server.client() as client, capture_logs() as logs:
        seen: list[int] = []
        broker = a_broker(client, keys)
        work = an_actor(broker, seen.append)
        with working(broker):
            work.send(1)
            broker.join("jobs", timeout=5_000)
            server.kill()
            eventually(lambda: any("cannot be reached" in line["event"] for line in logs))
            server.start()
            work.send(2)
            broker.join("jobs", timeout=5_000)
        assert seen == [1, 2]
        assert "queue reached again" in [line["event"] for line in logs]


def test_a_worker_goes_on_after_its_server_was_restarted_empty(server: Server, keys: Keys) -> None:
    with server.client() as client, capture_logs() as logs:
        seen: list[int] = []
        broker = a_broker(client, keys)
        work = an_actor(broker, seen.append)
        with working(broker):
            work.send(1)
            broker.join("jobs", timeout=5_000)
            server.restart(empty=True)
            assert client.dbsize() <= 1
            work.send(2)
            eventually(lambda: seen == [1, 2])
            broker.join("jobs", timeout=5_000)
        assert "queue was gone; the server was restarted empty or flushed" in [line["event"] for line in logs]


def test_a_message_done_while_the_server_was_away_is_acknowledged_later(server: Server, keys: Keys) -> None:
    """The worker is not blocked by it, and the message does not run twice."""
    with server.client() as client:
        seen: list[int] = []
        broker = a_broker(client, keys)

        def outlive_the_server(number: int) -> None:
            seen.append(number)
            if number == 1:
                client.config_set("appendfsync", "always")
                client.set("synced", 1)
                server.kill()

        work = an_actor(broker, outlive_the_server)
        work.send(1)
        with working(broker):
            eventually(lambda: seen == [1] and not server.socket.exists())
            server.start()
            work.send(2)
            broker.join("jobs", timeout=5_000)
        assert seen == [1, 2]
        assert broker.depth("jobs") == Depth(0, 0, 0, 0)
