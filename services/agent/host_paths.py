"""Places on a machine that belong to one node, though several nodes share the machine.

A manifest that was written for Kubernetes names them by their usual paths (hostPath), and must not meet the files of
another node there. Every other path is the machine's.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

NETWORKS = "/etc/cni/net.d"
"""Where a network agent puts its configuration."""
LOGS = "/var/log/containers"
"""What the node's containers print, a file each."""
_BELOW_NODE = {NETWORKS: "net.d", LOGS: "container-logs"}


def place_of(node_directory: Path, path: str) -> Path:
    """Return where a hostPath is, as a pod of the node in `node_directory` means it."""
    wanted = PurePosixPath(path)
    for known, name in _BELOW_NODE.items():
        if wanted.is_relative_to(known):
            return node_directory / name / wanted.relative_to(known)
    return Path(path)
