"""Times as Kubernetes writes them (RFC 3339, UTC, whole seconds: metav1.Time) and as we compute (ms), and ages."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

Milliseconds = int

_SECONDS = "%Y-%m-%dT%H:%M:%S"
_RFC3339 = re.compile(
    r"(?P<seconds>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?(?P<zone>Z|[+-]\d\d:\d\d)", re.ASCII
)
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_YEAR = 365 * _DAY


def rfc3339(ms: Milliseconds) -> str:
    """Return `2026-11-23T02:17:59Z` for milliseconds since 1970; the fraction is cut off as metav1.Time does."""
    return _of_second(ms // 1000)


@lru_cache(1024)
def _of_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time(ms: Milliseconds) -> str:
    """Return `2026-11-23T02:17:59.123000Z` (metav1.MicroTime)."""
    return f"{rfc3339(ms)[:-1]}.{ms % 1000:03d}000Z"


def parse_rfc3339(text: str) -> Milliseconds:
    """Return milliseconds since 1970 of an RFC 3339 time with zone. Raises ValueError where it has none."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write 2026-11-23T02:17:59Z or +01:00")
    return round(parsed.timestamp() * 1000)


def canonical_time(text: str, digits: int = 0) -> str:
    """Return an RFC 3339 time as Kubernetes writes it: in UTC, with so many digits of a fraction.

    metav1.Time has none, MicroTime six. What is no such time is returned as it is.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        return text
    fraction = (found["fraction"] or "")[:digits].ljust(digits, "0")
    tail = f".{fraction}Z" if digits else "Z"
    if found["zone"] == "Z":
        return found["seconds"] + tail
    try:
        return (
            datetime.fromisoformat(found["seconds"] + found["zone"]).astimezone(UTC).strftime(_SECONDS) + tail
        )
    except (ValueError, OverflowError):
        return text


def age(since: Milliseconds, now: Milliseconds) -> str:
    """Return `45s`, `2m30s`, `17m`, `3h5m`, `20h`, `2d4h`, `12d` or `1y30d` (duration.HumanDuration)."""
    seconds = max(0, (now - since) // 1000)
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < 10 * _MINUTE:
        return _pair(seconds, _MINUTE, "m", 1, "s")
    if seconds < 3 * _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < 8 * _HOUR:
        return _pair(seconds, _HOUR, "h", _MINUTE, "m")
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR}h"
    if seconds < 8 * _DAY:
        return _pair(seconds, _DAY, "d", _HOUR, "h")
    if seconds < 2 * _YEAR:
        return f"{seconds // _DAY}d"
    return _pair(seconds, _YEAR, "y", _DAY, "d") if seconds < 8 * _YEAR else f"{seconds // _YEAR}y"


def _pair(seconds: int, unit: int, name: str, part: int, part_name: str) -> str:
    rest = seconds % unit // part
    return f"{seconds // unit}{name}" + (f"{rest}{part_name}" if rest else "")
