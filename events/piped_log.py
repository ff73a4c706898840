"""What an event loop asks of a log on Redis: to append, and where it ends. Nothing is handed to a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from events.appending import APPEND, call_of, result_of
from events.keys import heads_key
from events.lines import Part
from events.log import Appended, Batch
from events.pipes import Pipe
from schemas.positions import Position, position_of


class PipedLog:
    """A log as one event loop has it. It tries nothing again: None is an answer, too, and means that nobody knows.

    Then a thread asks the events.redis_log.RedisLog of the same server, for an append under the same command, which
    tries for as long as its patience and can tell what is wrong. `heard` is called at every answer of the server.
    """

    def __init__(
        self, client: redis.Redis, cluster: str = "chronoset", heard: Callable[[], None] = lambda: None
    ) -> None:
        self._cluster = cluster
        self._heads = heads_key(cluster)
        self._heard = heard
        self._known = ""
        self._pipe = Pipe(client)

    async def append(self, batch: Batch) -> Appended | None:
        """Append a batch atomically. Raises what events.log.Log.append refuses with; None: nobody knows."""
        self._known = self._known or await self._log_id()
        if not self._known:
            return None
        answer = await self._asked(*APPEND.called(*call_of(batch, self._cluster, self._known)))
        return None if answer is None else result_of(answer, batch, self._known)

    async def last(self) -> Position | None:
        """Return the position of the last entry; None: nobody knows."""
        tail = await self._asked("HGET", self._heads, "tail")
        return None if tail is None else position_of(tail)

    def close(self) -> None:
        """Let go of the connection; to be called on the event loop."""
        self._pipe.close()

    async def _log_id(self) -> str:
        found = await self._asked("HGET", self._heads, "log")
        return found.decode() if found is not None else ""

    async def _asked(self, *command: Part) -> Any:
        try:
            answer = await self._pipe.ask(*command)
        except redis.RedisError:
            return None
        self._heard()
        return answer
