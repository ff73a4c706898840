"""Node lifecycle: nodes that fall silent, return and go, and what becomes of their pods.

Two controllers, since only one of them needs to know who is alive. `heartbeats` has one key, is looked at every few
seconds, and writes nothing but that a node's Ready condition has changed. `nodes` has a key for each node, reads
nothing but the log's state, and does what follows from it: taints, evictions, the end of pods whose node is gone.

    heartbeats   who is silent, and from when on that counts
    conditions   a node's Ready condition and the taints that follow from its state
    evictions    when a taint ends a pod, and how
    lifecycle    the whole pass for one node
"""

from __future__ import annotations

from services.controllers.nodes.heartbeats import Pulse, heartbeats
from services.controllers.nodes.lifecycle import NODES

__all__ = ["NODES", "Pulse", "heartbeats"]
