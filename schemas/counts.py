"""Numbers of things, as sentences have them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return `1 pod`, `2 pods`, for a noun whose plural takes an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
