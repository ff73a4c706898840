"""Positions in the log, as integers.

A position is the stream id `<ms>-<seq>` packed into 63 bits: `ms << 20 | seq`. It is at once time, order and
Kubernetes' resourceVersion, so optimistic concurrency, watch and time travel are one mechanism.
"""

from __future__ import annotations

Position = int
"""`ms << 20 | seq`; 0 is before the first entry and also means "does not exist"."""

SEQUENCE_BITS = 20
MAX_SEQUENCE = (1 << SEQUENCE_BITS) - 1


def position_of(stream_id: bytes | str) -> Position:
    """Return the position of a stream id: `b"1700000000000-3"` -> `1700000000000 << 20 | 3`.

    Raises ValueError where the id is not `<ms>-<seq>` or the sequence exceeds 2^20 - 1.
    """
    ms, _, sequence = stream_id.partition(b"-") if isinstance(stream_id, bytes) else stream_id.partition("-")
    number = int(sequence)
    if not 0 <= number <= MAX_SEQUENCE:
        raise ValueError(f"sequence {number} of stream id {stream_id!r} does not fit {SEQUENCE_BITS} bits")
    return int(ms) << SEQUENCE_BITS | number


def stream_id_of(position: Position) -> str:
    """Return the stream id of a position: the inverse of `position_of`; 0 gives `0-0`."""
    return f"{position >> SEQUENCE_BITS}-{position & MAX_SEQUENCE}"


def time_of(position: Position) -> int:
    """Return the milliseconds since 1970 (UTC, the log server's clock) that a position carries."""
    return position >> SEQUENCE_BITS


def end_of_time(ms: int) -> Position:
    """Return the last position that an entry appended in millisecond `ms` can have."""
    return ms << SEQUENCE_BITS | MAX_SEQUENCE
