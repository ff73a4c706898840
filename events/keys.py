"""The names of the log's Redis keys. The braces are a hash tag: all keys of a cluster live in one slot."""

from __future__ import annotations

LOG_FIELDS = frozenset({"log", "tail", "refuse", "readonly", "historian", "archive", "sealed"})
"""The fields of the heads that are no head."""


def log_key(cluster: str) -> str:
    """Return the stream that holds the events."""
    return f"{{{cluster}}}:log"


def heads_key(cluster: str) -> str:
    """Return the hash of object key or guard -> stream id of the batch that last moved it.

    It also holds what the append script must know of the log itself, under names that no key can have (they carry no
    slash), since one read of one hash is what an append can afford: `log` (the log's random id), `tail` (the stream
    id of its last entry), `refuse` and `readonly` (why not to write; empty or absent: write), `historian` (the epoch of
    the one that may seal), `archive` (the manifest that holds) and `sealed` (the stream id of the archive's end).
    """
    return f"{{{cluster}}}:heads"


def command_key(cluster: str, command: str) -> str:
    """Return the key that remembers the result of a command, with a time to live."""
    return f"{{{cluster}}}:command:{command}"
