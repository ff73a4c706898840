"""The first event of a log: which log this is."""

from __future__ import annotations

from schemas.envelopes import GENESIS, LOG_KEY, READER_VERSION, SCHEMA_VERSION, Actor, Event
from schemas.times import Milliseconds

GENESIS_TYPE = "LogCreated"


def genesis_event(cluster: str, log_id: str, actor: Actor, now: Milliseconds) -> Event:
    """Return the event that begins the log `log_id` of `cluster`."""
    return Event(
        position=0,
        key=LOG_KEY,
        type=GENESIS_TYPE,
        after=0,
        version=SCHEMA_VERSION,
        min_reader=READER_VERSION,
        op=GENESIS,
        uid=log_id,
        body={"cluster": cluster, "log": log_id},
        previous=0,
        at=now,
        actor=actor,
        cause=0,
        command=log_id,
        offset=0,
        size=1,
        guard="",
        derivation=0,
    )
