"""How far this machine's clock is from the control plane's, and times carried from one to the other.

An agent reckons by its own clock only. What it reports is told in the cluster's time, so that a node whose clock is an
hour off has pods that are Ready since now, not since an hour ago or ahead; what it reads back is told in its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from schemas.times import Milliseconds, parse_rfc3339, rfc3339

NOTICED: Milliseconds = 2_000
"""A smaller difference is none: the server tells whole seconds, and answers take time."""
_SLOW: Milliseconds = 1_000
"""An answer that took longer says nothing about time."""
_SUFFIXES = ("Time", "At")


class ClusterClock:
    """What is known of the difference. Any thread may ask."""

    def __init__(self, now: Callable[[], Milliseconds] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now = now
        self.ahead: Milliseconds = 0
        """How far the cluster's clock is ahead of ours; 0 where that is not worth mentioning."""

    def hear(self, theirs: Milliseconds, took: Milliseconds) -> None:
        """Take the time of an answer that took so long."""
        if took > _SLOW:
            return
        ahead = theirs - self._now()
        if abs(ahead - self.ahead) >= NOTICED:
            self.ahead = ahead if abs(ahead) >= NOTICED else 0


def shifted(value: Any, by: Milliseconds) -> Any:
    """Return a status with all its times moved; where there is nothing to move, the same."""
    if not by:
        return value
    if isinstance(value, dict):
        return {name: _moved(name, each, by) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [shifted(each, by) for each in value]
    return value


def _moved(name: str, value: Any, by: Milliseconds) -> Any:
    if isinstance(value, str) and name.endswith(_SUFFIXES):
        try:
            return rfc3339(parse_rfc3339(value) + by)
        except ValueError:
            return value
    return shifted(value, by)
