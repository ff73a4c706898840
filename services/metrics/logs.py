"""A log on Redis that counts what is appended to it."""

from __future__ import annotations

import time
from collections import Counter

from events.log import Appended, Batch
from events.redis_log import RedisLog
from schemas.envelopes import LOG_KEY
from schemas.errors import Conflict
from schemas.objects import Key, split_key
from services.metrics import measures


class MeasuredLog(RedisLog):
    """As RedisLog, and tells what is appended through it (chronoset_events_appended_total and its like)."""

    def append(self, batch: Batch) -> Appended:
        begun, outcome = time.perf_counter(), "failed"
        try:
            appended = super().append(batch)
            outcome = "appended"
        except Conflict:
            measures.CONFLICTS.inc()
            outcome = "conflict"
            raise
        finally:
            measures.APPENDS.labels(outcome).observe(time.perf_counter() - begun)
        if not appended.repeated:
            resources = Counter(_resource_of(draft.key) for draft in batch.drafts)
            for resource, count in resources.items():
                measures.EVENTS.labels(resource).inc(count)
        return appended


def _resource_of(key: Key) -> str:
    """Return the resource that an event is about; what concerns the log itself has none, and is told by its key."""
    return key if key == LOG_KEY else split_key(key)[0]
