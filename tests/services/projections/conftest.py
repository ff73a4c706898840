"""One suite, two servers: every test of the projections runs on a fake and on a real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from events import replica
from services.projections import projector
from tests.servers import Server, fake_client, running_server


@pytest.fixture(scope="session")
def views_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server for all tests of this folder; `client` empties it."""
    directory: Path = tmp_path_factory.mktemp("views")
    with running_server(directory) as server:
        yield server


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.server)])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """An empty views server."""
    if request.param == "fake":
        with fake_client() as fake:
            yield fake
    else:
        make: Callable[[], redis.Redis] = request.getfixturevalue("views_server").client
        with make() as real:
            real.flushall()
            yield real


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle waits that end soon, so that a projector stops and looks after its views at once."""
    monkeypatch.setattr(replica, "BLOCK_SECONDS", 0.05)
    monkeypatch.setattr(projector, "INSPECTION", 0.02)
