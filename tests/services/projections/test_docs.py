"""docs/projections.md is true: its redis-cli examples are run, and give what they show."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from events.memory import MemoryLog
from schemas.changes import Create, Replace
from services.projections.projector import Projector
from services.projections.reader import Views
from tests.servers import Server
from tests.services.projections.histories import History, a_bare_pod

DOCUMENT = Path(__file__).parents[3] / "docs" / "projections.md"


def examples() -> list[tuple[str, str]]:
    """Return the (command, expected answer) pairs of the document."""
    blocks = re.findall(r"^```redis\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r"^> (.+)\n((?:(?!> ).+\n)+)", "".join(blocks), re.MULTILINE)


def as_redis_cli(answer: Any) -> str:
    """Return an answer as redis-cli prints it."""
    match answer:
        case int():
            return f"(integer) {answer}\n"
        case bytes():
            return '"' + answer.decode().replace('"', '\\"') + '"\n'
        case dict():
            return as_redis_cli([part for field in answer.items() for part in field])
        case list() | set():
            return "".join(f"{number}) {as_redis_cli(each)}" for number, each in enumerate(answer, 1))
    raise AssertionError(answer)


@pytest.fixture
def documented(client: redis.Redis) -> redis.Redis:
    """The cluster of the document: at a fixed time, with fixed uids."""
    now = 1795399200000
    history = History(MemoryLog("demo", clock=lambda: now), clock=lambda: now)
    history.begin()
    owner = history.get("apps/statefulsets/default/db")
    history.commit(*(Create(a_bare_pod(name, owner)) for name in ("db-0", "db-1")))
    pod = history.get("core/pods/default/db-0")
    history.commit(Replace(pod, {**pod, "spec": {**pod["spec"], "nodeName": "n1"}}))
    Projector(history.log, client, threading.Event()).open()
    return client


def test_there_is_an_example_for_every_key():
    told = re.findall(
        r"^\| `([a-z-]+)", DOCUMENT.read_text().split("## The keys of a generation")[1], re.MULTILINE
    )
    shown = " ".join(command for command, _ in examples())
    assert len(told) >= 10 and [key for key in told if f":1:{key}" not in shown] == []


@pytest.mark.parametrize(("command", "expected"), examples())
def test_an_example_answers_as_documented(documented: redis.Redis, command: str, expected: str):
    documented.response_callbacks.clear()
    assert as_redis_cli(documented.execute_command(*command.split())) == expected


@pytest.mark.server
@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="there is no redis-cli here")
def test_redis_cli_itself_prints_what_is_documented(documented: redis.Redis):
    socket = documented.connection_pool.connection_kwargs.get("path")
    if socket is None:
        pytest.skip("a fake server has no socket")
    for command, expected in examples():
        call = ["redis-cli", "-s", str(socket), "--no-raw", *command.split()]
        assert subprocess.run(call, capture_output=True, text=True, check=True).stdout == expected, command


@pytest.mark.server
def test_the_user_that_may_only_read_does_that_and_no_more(views_server: Server):
    (setuser,) = re.findall(r"^```acl\n(.+)\n```", DOCUMENT.read_text(), re.MULTILINE)
    with views_server.client() as admin:
        admin.flushall()
        history = History(MemoryLog("demo"))
        history.begin()
        Projector(history.log, admin, threading.Event()).open()
        admin.set("{demo}:log", "secret")
        admin.execute_command(*setuser.split())
        try:
            with views_server.client(username="reader", password="a-long-password") as reader:
                views = Views(reader, "demo")
                assert views.list("apps/statefulsets") == history.state.list("apps/statefulsets")
                assert views.parked() == {} and views.position() == history.state.position
                for forbidden in (
                    ("SET", "{demo}:views", "x"),
                    ("HSET", "{demo}:views", "position", "0-1"),
                    ("DEL", "{demo}:views"),
                    ("GET", "{demo}:log"),
                    ("HGETALL", "{demo}:heads"),
                    ("KEYS", "*"),
                    ("FLUSHALL",),
                    ("EVAL", "return 1", "0"),
                    ("ACL", "LIST"),
                ):
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        reader.execute_command(*forbidden)
        finally:
            admin.execute_command("ACL", "DELUSER", "reader")
