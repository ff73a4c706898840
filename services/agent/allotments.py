"""Which addresses the pods of one machine have: its nodes share 127.0.0.0/8, so no two pods may choose one.

The API tells a node of its own pods only, so those who share the machine tell each other: all agents of `up` are in one
process. What ran before that process did is held before any of them gives an address away.
"""

from __future__ import annotations

import threading
from collections.abc import Set

from services.agent.addresses import address_of


class Allotments:
    """Who holds which address. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, str]] = {}
        """Owner -> its name, its address."""

    def take(self, owner: str, name: str, identity: str, others: Set[str]) -> str:
        """Return an address that derives from `identity` and nobody else has; `owner` holds it from now on.

        Who has the same `name` (a pod and its successor, say) is nobody else. `others` are in use as well.
        """
        with self._lock:
            held = {address for known, address in self._held.values() if known != name}
            address = address_of(identity, held | others)
            self._held[owner] = (name, address)
            return address

    def hold(self, owner: str, name: str, address: str) -> None:
        """Say that an owner has an address already."""
        with self._lock:
            self._held[owner] = (name, address)

    def release(self, owner: str) -> None:
        """Say that an owner is gone; one that is not known is, too."""
        with self._lock:
            self._held.pop(owner, None)
