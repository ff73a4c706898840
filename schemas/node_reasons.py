"""What is written into a pod's status because of its node: shared by those who write it and those who answer it."""

from __future__ import annotations

NODE_LOST = "NodeLost"
"""status.reason of a pod that was asked to end on a node of which nothing is heard (pkg/util/node)."""
NETWORK_READY = "NetworkReady"
"""The condition of a node that has a network agent (the runtime's, in CRI): False while its network is not up."""
KUBELET_NOT_READY = "KubeletNotReady"
"""The reason of a node's Ready condition while the node itself says that it is not (pkg/kubelet/nodestatus)."""
NODE_NOT_READY = "NodeNotReady"
"""The reason of a pod's Ready condition while it is the node that is not Ready; its agent answers with its own."""
