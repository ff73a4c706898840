"""A connection of an event loop: answers find their questions, and one that is lost is made anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
import uvloop

from events.pipes import Pipe
from tests.servers import Server, fake_client


async def _ended(pipe: Pipe) -> None:
    pipe.close()
    await asyncio.sleep(0.01)  # the turns in which the loop closes it


@pytest.mark.server
def test_each_question_gets_its_answer_and_an_error_only_its_own(server: Server) -> None:
    async def scenario() -> list[Any]:
        client = server.client()
        pipe = Pipe(client)
        asked = [pipe.ask("ECHO", str(number)) for number in range(50)]
        return await asyncio.gather(
            *asked, pipe.ask("NONSENSE"), pipe.ask("ECHO", "x"), return_exceptions=True
        )

    *echoed, error, last = uvloop.run(scenario())
    assert echoed == [str(number).encode() for number in range(50)]
    assert isinstance(error, redis.ResponseError)
    assert last == b"x"


@pytest.mark.server
def test_whoever_waits_when_a_connection_is_lost_is_told_and_the_next_one_gets_another(
    server: Server,
) -> None:
    async def scenario() -> tuple[list[Any], Any]:
        mine, client = server.client(), server.client()
        pipe = Pipe(mine)
        me = await pipe.ask("CLIENT", "ID")
        waiting = [pipe.ask("BLPOP", "pipes:nothing", 0), pipe.ask("ECHO", "behind it")]
        tasks = [asyncio.create_task(each) for each in waiting]
        while "blpop" not in str(client.client_list()):
            await asyncio.sleep(0.001)
        client.client_kill_filter(_id=me)
        told = await asyncio.gather(*tasks, return_exceptions=True)
        client.close()
        again = await pipe.ask("ECHO", "again")
        await _ended(pipe)
        mine.close()
        return told, again

    told, again = uvloop.run(scenario())
    assert [type(each) for each in told] == [redis.ConnectionError] * 2
    assert again == b"again"


def test_what_has_no_socket_is_not_used() -> None:
    async def scenario() -> None:
        pipe = Pipe(fake_client())
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                await pipe.ask("PING")

    uvloop.run(scenario())
