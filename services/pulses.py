"""The edge of node lifecycle: asks the queue's Redis which nodes were heard, for a controller that asks no Redis."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import Unavailable
from services.broker.leases import Heartbeats, heard_for
from services.controllers.nodes import Pulse


def listen(heartbeats: Heartbeats, nodes: Sequence[str]) -> Pulse:
    """Return the pulse of nodes. Raises Unavailable where the queue cannot be reached: then nobody is silent.

    The heartbeats are read first: whatever emptied the queue before that read shows in how long it could be heard.
    """
    alive = heartbeats.read(nodes)
    return Pulse(frozenset(alive), heard_for(heartbeats.client, heartbeats.keys), heartbeats.ttl_ms)


def deaf(_nodes: Sequence[str]) -> Pulse:
    """Stand in where nothing is listened to, as in a dispatcher, which only asks for keys."""
    raise Unavailable("this process does not listen to heartbeats")
