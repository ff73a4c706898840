"""What is written into a pod's status because of its node: shared by those who write it and those who answer it."""

from __future__ import annotations

NODE_LOST = "NodeLost"
"""status.reason of a pod that was asked to end on a node of which nothing is heard (pkg/util/node)."""
NODE_NOT_READY = "NodeNotReady"
"""The reason of a pod's Ready condition while it is the node that is not Ready; its agent answers with its own."""
