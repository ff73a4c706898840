"""Times as Kubernetes writes them (RFC 3339, UTC, whole seconds: metav1.Time) and as we compute (milliseconds)."""

from __future__ import annotations

from datetime import UTC, datetime

Milliseconds = int


def rfc3339(ms: Milliseconds) -> str:
    """Return `2026-11-23T02:17:59Z` for milliseconds since 1970; the fraction is cut off as metav1.Time does."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> Milliseconds:
    """Return milliseconds since 1970 of an RFC 3339 time with zone. Raises ValueError where it has none."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write 2026-11-23T02:17:59Z or +01:00")
    return round(parsed.timestamp() * 1000)
