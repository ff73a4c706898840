"""docs/projections.md is true: its redis-cli examples are run, and give what they show."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from events.memory import MemoryLog
from schemas.changes import Create, Replace
from services.projections.projector import Projector
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


def test_there_are_examples():
    assert len(examples()) >= 10


@pytest.mark.parametrize(("command", "expected"), examples())
def test_an_example_answers_as_documented(documented: redis.Redis, command: str, expected: str):
    documented.response_callbacks.clear()
    assert as_redis_cli(documented.execute_command(*command.split())) == expected
