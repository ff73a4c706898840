"""The names of the log's Redis keys. The braces are a hash tag: all keys of a cluster live in one slot."""

from __future__ import annotations


def log_key(cluster: str) -> str:
    """Return the stream that holds the events."""
    return f"{{{cluster}}}:log"


def heads_key(cluster: str) -> str:
    """Return the hash of object key or guard -> stream id of the batch that last moved it."""
    return f"{{{cluster}}}:heads"


def meta_key(cluster: str) -> str:
    """Return the hash with `log` (the log's random id), `tail` (its last entry) and `refuse` (why not to write)."""
    return f"{{{cluster}}}:meta"


def command_key(cluster: str, command: str) -> str:
    """Return the key that remembers the result of a command, with a time to live."""
    return f"{{{cluster}}}:command:{command}"
