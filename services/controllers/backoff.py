"""Back-off for pods that fail again and again.

Kubernetes re-creates a StatefulSet's Failed pod at once and for ever; into a log that is kept for ever that
is a flood. Ours follows its DaemonSet controller, which backs off (failedPodsBackoff, daemon_controller.go).
"""

from __future__ import annotations

from schemas.times import Milliseconds

FIRST = 1_000
LONGEST = 15 * 60_000
_DOUBLINGS = LONGEST.bit_length()


def delay_after(failures: int) -> Milliseconds:
    """Return how long after the last removal the next replacement waits, in milliseconds.

    `failures` counts the failed pods removed so far since the last one that was Ready: 0 -> 0 (the first is
    replaced at once), 1 -> 1 s, 2 -> 2 s, and so on to 15 minutes.
    """
    if failures <= 0:
        return 0
    return min(FIRST << min(failures - 1, _DOUBLINGS), LONGEST)
