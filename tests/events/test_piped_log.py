"""A log as an event loop asks it: what is appended is what threads would append, and what fails is not known."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest
import uvloop

from events.log import MAX_EVENTS, Appended, Batch
from events.piped_log import PipedLog
from events.redis_log import RedisLog
from schemas.errors import BadRequest, CommandReused, Conflict, LostHistory
from tests.events.test_log_contract import a_batch
from tests.servers import Server, fake_client

T = TypeVar("T")


def asked(server: Server, scenario: Callable[[PipedLog], Awaitable[T]]) -> T:
    """Return what a scenario comes to on an event loop, over a pipe of its own."""

    async def run() -> T:
        client = server.client()
        piped = PipedLog(client, "test")
        try:
            return await scenario(piped)
        finally:
            piped.close()
            await asyncio.sleep(0.01)  # the turns in which the loop closes it
            client.close()

    return uvloop.run(run())


def a_log(server: Server) -> RedisLog:
    client = server.client()
    client.flushall()
    log = RedisLog(client, "test", 5)
    log.create()
    return log


@pytest.mark.server
def test_what_an_event_loop_appends_is_what_threads_would(server: Server) -> None:
    log = a_log(server)
    genesis = log.last()
    log.append(a_batch("taken", command="first"))
    batches = [a_batch(f"a{number}", command=f"c{number}") for number in range(20)]
    wrong = [
        a_batch("taken", command="taken"),
        a_batch("b", command="c0", digest="other"),
        a_batch(*map(str, range(MAX_EVENTS + 1)), command="too many"),
    ]

    async def scenario(piped: PipedLog) -> list[Appended | BaseException | None]:
        while await piped.append(a_batch("warm", command="warm")) is None:
            log.append(a_batch("warm", command="warm"))  # which teaches the server the script
        return await asyncio.gather(
            *map(piped.append, [*batches, *wrong, batches[3]]), return_exceptions=True
        )

    *made, taken, reused, refused, again = asked(server, scenario)
    assert len({each.last for each in made if isinstance(each, Appended)}) == 20
    assert isinstance(taken, Conflict)
    assert isinstance(reused, CommandReused)
    assert isinstance(refused, BadRequest)
    assert isinstance(made[3], Appended)
    assert again == replace(made[3], repeated=True)
    kept = {each.key for each in log.read(genesis, 100)}
    assert kept == {"taken", "warm", *(f"a{number}" for number in range(20))}
    assert asked(server, lambda piped: piped.last()) == log.last()
    log.close()


@pytest.mark.server
def test_another_log_than_the_one_it_knew_is_not_written_to(server: Server) -> None:
    log = a_log(server)

    async def scenario(piped: PipedLog) -> None:
        await piped.append(a_batch("a"))
        client = server.client()
        client.hset("{test}:heads", "log", "another")
        client.close()
        await piped.append(a_batch("b", command="c2"))

    log.append(a_batch("first", command="c0"))
    with pytest.raises(LostHistory, match="another"):
        asked(server, scenario)
    assert [entry.key for entry in log.read(0, 10)][1:] == ["first", "a"]
    log.close()


def test_without_a_connection_or_a_log_nobody_knows() -> None:
    async def answers() -> tuple[Appended | None, int | None]:
        piped = PipedLog(fake_client(), "test")
        batch: Batch = a_batch("a")
        return await piped.append(batch), await piped.last()

    assert uvloop.run(answers()) == (None, None)
