"""How long a program takes to be back after SIGKILL, in the state that a run has brought about.

What was killed is back when it runs, a server has loaded its data, and all programs that follow the log say by their
own metrics that they stand at its end: what the death of one costs the others counts.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Set

import redis

from schemas.errors import Unavailable
from services.connections import connect
from services.loadtest.clusters import Running
from services.loadtest.kills import pids_of
from services.loadtest.sampling import lags_in
from services.settings import Settings

PATIENCE = 60.0
"""Seconds until a program that is not back is given up."""
EVERY = 0.1
"""Seconds between two looks."""
BEHIND = 1_000.0
"""Milliseconds that a program may be behind which is at work again."""
_URLS: dict[str, Callable[[Settings], str]] = {
    "log": lambda settings: settings.log_url,
    "queue": lambda settings: settings.queue_url,
}


def restart_all(cluster: Running, progress: Callable[[str, int, int], None]) -> dict[str, float]:
    """Kill each program that follows the log, and each server, one after the other; return the seconds each was away.

    Raises Unavailable where one does not come back.
    """
    followers = frozenset(lags_in(cluster.settings.socket_dir))
    names = [name for name in pids_of(cluster) if name in followers or name in _URLS]
    found = {}
    for number, name in enumerate(names):
        progress(f"killing {name}", len(names) - number, 0)
        found[name] = _restarted(cluster, name, followers)
    return found


def _restarted(cluster: Running, name: str, followers: Set[str]) -> float:
    before = pids_of(cluster)[name]
    begun = time.monotonic()
    os.kill(before, signal.SIGKILL)
    while not (
        pids_of(cluster).get(name, before) != before
        and (name not in _URLS or _is_loaded(_URLS[name](cluster.settings)))
        and _are_at_end(cluster, followers)
    ):
        if time.monotonic() - begun > PATIENCE:
            raise Unavailable(f"{name} is not back {PATIENCE:.0f} s after it was killed")
        time.sleep(EVERY)
    return time.monotonic() - begun


def _are_at_end(cluster: Running, followers: Set[str]) -> bool:
    lags = lags_in(cluster.settings.socket_dir)
    return all(lags.get(name, BEHIND) < BEHIND for name in followers)


def _is_loaded(url: str) -> bool:
    with connect(url, "loadtest", retries=0) as client:
        try:
            return not client.info("persistence")["loading"]
        except redis.RedisError:
            return False
