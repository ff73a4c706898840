"""Redis servers for the broker's tests: a fake one and a real one, each empty when a test begins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from services.broker.keys import Keys
from tests.servers import Server, fake_client, running_server


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real server without persistence for all tests that do not end it."""
    with running_server(tmp_path_factory.mktemp("queue"), "--appendonly", "no") as server:
        yield server


@pytest.fixture(params=["fake", pytest.param("server", marks=pytest.mark.server)])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """An empty queue server: a fake and a real one, turn by turn."""
    if request.param == "fake":
        yield fake_client()
        return
    with request.getfixturevalue("shared_server").client() as real:
        real.flushall()
        yield real


@pytest.fixture
def keys() -> Keys:
    """The key names of a cluster `c`."""
    return Keys("c")
