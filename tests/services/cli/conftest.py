"""A cluster without controllers: a real server, a log, and a projector that keeps up with it."""

from __future__ import annotations

import io
import itertools
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from events.redis_log import RedisLog
from schemas.positions import Position
from services.bootstrap import prepare_log
from services.cli import main
from services.projections.projector import run
from tests.servers import Server, running_server

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Result:
    """What a call of the command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class CommandLine:
    """Calls `chronoset` in this process, against a cluster of its own."""

    def __init__(self, log: RedisLog, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.log = log
        self._capsys = capsys
        self._patch = patch

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        self._capsys.readouterr()
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(arguments)
        captured = self._capsys.readouterr()
        return Result(code, captured.out, captured.err)

    def end(self) -> Position:
        return self.log.last()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="package")
def ending(server: Server) -> Iterator[list[threading.Thread]]:
    """The projectors that were told to end: each takes up to two seconds, so all are awaited together."""
    projectors: list[threading.Thread] = []
    yield projectors
    for projector in projectors:
        projector.join(10)


@pytest.fixture
def chronoset(
    server: Server,
    ending: list[threading.Thread],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[CommandLine]:
    """The command line of a fresh cluster with the namespaces that every cluster begins with."""
    cluster = f"t{next(_numbers)}"
    for name, url in (("LOG", server.url), ("QUEUE", f"{server.url}?db=1")):
        monkeypatch.setenv(f"CHRONOSET_{name}_URL", url)
    monkeypatch.setenv("CHRONOSET_CLUSTER", cluster)
    monkeypatch.setenv("CHRONOSET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("USER", "alice")
    log = RedisLog(server.client(), cluster)
    prepare_log(log, tmp_path / "data")
    stopping = threading.Event()
    client = server.client(db=1)
    projector = threading.Thread(target=run, args=(RedisLog(server.client(), cluster), client, stopping))
    projector.start()
    yield CommandLine(log, capsys, monkeypatch)
    stopping.set()
    ending.append(projector)
    log.close()
