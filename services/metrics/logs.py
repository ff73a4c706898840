"""A log on Redis that counts what is appended to it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from events.log import Appended, Batch, attempted
from events.redis_log import RedisLog
from schemas.envelopes import LOG_KEY
from schemas.errors import ChronosetError, Conflict
from schemas.objects import Key, split_key
from services.metrics import measures


class MeasuredLog(RedisLog):
    """As RedisLog, and tells what is appended through it (chronoset_events_appended_total and its like)."""

    def append(self, batch: Batch) -> Appended:
        begun = time.perf_counter()
        result = attempted(super().append, batch)
        _tell(batch, result, time.perf_counter() - begun)
        if isinstance(result, ChronosetError):
            raise result
        return result

    def append_all(self, batches: Sequence[Batch]) -> list[Appended | ChronosetError]:
        begun = time.perf_counter()
        results = super().append_all(batches)
        seconds = time.perf_counter() - begun
        for batch, result in zip(batches, results, strict=True):
            _tell(batch, result, seconds)
        return results


def _tell(batch: Batch, result: Appended | ChronosetError, seconds: float) -> None:
    if isinstance(result, ChronosetError):
        is_conflict = isinstance(result, Conflict)
        measures.CONFLICTS.inc(is_conflict)
        measures.APPENDS.labels("conflict" if is_conflict else "failed").observe(seconds)
        return
    measures.APPENDS.labels("appended").observe(seconds)
    if not result.repeated:
        resources = Counter(_resource_of(draft.key) for draft in batch.drafts)
        for resource, count in resources.items():
            measures.EVENTS.labels(resource).inc(count)


def _resource_of(key: Key) -> str:
    """Return the resource that an event is about; what concerns the log itself has none, and is told by its key."""
    return key if key == LOG_KEY else split_key(key)[0]
