"""A log on Redis that counts what is appended to it."""

from __future__ import annotations

import time
from collections import Counter

from events.log import Appended, Batch
from events.redis_log import RedisLog
from schemas.errors import Conflict
from schemas.objects import split_key
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
            resources = Counter(split_key(draft.key)[0] for draft in batch.drafts)
            for resource, count in resources.items():
                measures.EVENTS.labels(resource).inc(count)
        return appended
