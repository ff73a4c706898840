"""Logs on Redis that count what is appended to them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from events.log import Appended, Batch
from events.piped_log import PipedLog
from events.redis_log import RedisLog
from schemas.envelopes import LOG_KEY
from schemas.errors import ChronosetError, Conflict
from schemas.objects import Key, split_key
from services.metrics import measures

Result = TypeVar("Result", Appended, Appended | None)


class MeasuredLog(RedisLog):
    """As RedisLog, and tells what is appended through it (chronoset_events_appended_total and its like)."""

    def append(self, batch: Batch) -> Appended:
        with _telling(batch) as tell:
            return tell(super().append(batch))

    def append_all(self, batches: Sequence[Batch]) -> list[Appended | ChronosetError]:
        begun = time.perf_counter()
        results = super().append_all(batches)
        for batch, result in zip(batches, results, strict=True):
            with suppress(ChronosetError), _telling(batch, begun) as tell:
                if isinstance(result, ChronosetError):
                    raise result
                tell(result)
        return results


class MeasuredPipedLog(PipedLog):
    """As PipedLog, and tells the same."""

    async def append(self, batch: Batch) -> Appended | None:
        with _telling(batch) as tell:
            return tell(await super().append(batch))


@contextmanager
def _telling(batch: Batch, begun: float = 0.0) -> Iterator[Callable[[Result], Result]]:
    """Give what is to be told what came of an append; the time from `begun` (0: now) until then is taken."""
    begun, outcome = begun or time.perf_counter(), "failed"

    def tell(appended: Result) -> Result:
        nonlocal outcome
        outcome = "appended" if appended is not None else "unknown"
        if appended is not None and not appended.repeated:
            resources = Counter(_resource_of(draft.key) for draft in batch.drafts)
            for resource, count in resources.items():
                measures.EVENTS.labels(resource).inc(count)
        return appended

    try:
        yield tell
    except Conflict:
        measures.CONFLICTS.inc()
        outcome = "conflict"
        raise
    finally:
        measures.APPENDS.labels(outcome).observe(time.perf_counter() - begun)


def _resource_of(key: Key) -> str:
    """Return the resource that an event is about; what concerns the log itself has none, and is told by its key."""
    return key if key == LOG_KEY else split_key(key)[0]
