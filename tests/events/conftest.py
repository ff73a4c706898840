"""The three places a Log can live: memory, fakeredis and a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from events.log import Log
from events.memory import MemoryLog
from events.redis_log import RedisLog
from tests.servers import Server, fake_client, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real server for the session, with an append-only file as the log's server has it."""
    directory: Path = tmp_path_factory.mktemp("log")
    with running_server(directory, "--appendonly", "yes", "--appendfsync", "everysec") as found:
        yield found


@pytest.fixture(params=["memory", "fakeredis", pytest.param("server", marks=pytest.mark.server)])
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    """An empty log of each implementation."""
    if request.param == "memory":
        yield MemoryLog("test")
        return
    client = fake_client() if request.param == "fakeredis" else request.getfixturevalue("server").client()
    client.flushall()
    found = RedisLog(client, "test", patience=0.5)
    yield found
    found.close()
