"""When a container that ended is started again.

Kubernetes restarts a crashed container at once, then after 10 s doubling to 5 min, and forgets the crashes once
the container has run for 10 min. The same curve paces retries of images and configurations that are missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.times import Milliseconds

FIRST_DELAY: Milliseconds = 10_000
LONGEST_DELAY: Milliseconds = 300_000
FORGET_AFTER: Milliseconds = 2 * LONGEST_DELAY


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long the next restart waits after the end before it (ms), and when the last restart was allowed."""

    delay: Milliseconds
    updated_at: Milliseconds


def is_restarted(policy: str, exit_code: int) -> bool:
    """Return whether `restartPolicy` (Always, OnFailure, Never) starts a container again after `exit_code`."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def allowed_at(back_off: BackOff | None, ended_at: Milliseconds) -> Milliseconds:
    """Return when a container that ended at `ended_at` may start again (kubelet: doBackOff)."""
    if back_off is None or _is_forgotten(back_off, ended_at):
        return ended_at
    return ended_at + back_off.delay


def next_back_off(back_off: BackOff | None, ended_at: Milliseconds, now: Milliseconds) -> BackOff:
    """Return the back-off after one more restart at `now` (client-go: flowcontrol.Backoff.Next, no jitter)."""
    if back_off is None or _is_forgotten(back_off, ended_at):
        return BackOff(FIRST_DELAY, now)
    return BackOff(min(back_off.delay * 2, LONGEST_DELAY), now)


def back_off_of(restarts: int, now: Milliseconds) -> BackOff:
    """Return the back-off of a container that has been restarted so often in a row, the last time at `now`."""
    doublings = min(max(restarts - 1, 0), LONGEST_DELAY.bit_length())
    return BackOff(min(FIRST_DELAY << doublings, LONGEST_DELAY), now)


def _is_forgotten(back_off: BackOff, ended_at: Milliseconds) -> bool:
    return ended_at - back_off.updated_at > FORGET_AFTER
