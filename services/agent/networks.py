"""Whether a node's network is up, told as CNI tells it: by a configuration that its network agent puts down.

The runtime of a kubelet calls the network ready once its configuration directory holds a network that can be read
(libcni: conf.go; containerd: cni plugin not initialized). The node is NotReady until then, and again when the
file goes. That a file is the signal lets any network agent work that knows Kubernetes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.objects import Object

SUFFIXES = frozenset((".conf", ".conflist", ".json"))
LARGEST = 1 << 20
NOT_READY_REASON = "NetworkPluginNotReady"


@dataclass(frozen=True, slots=True)
class Network:
    """A node's network: its name, empty where it needs no agent, or why it is not ready."""

    name: str = ""
    why_not: str = ""


UP = Network()


def network_of(directory: Path | None) -> Network:
    """Return the network of the first file, by name, that holds one; `directory` None: none is needed."""
    if directory is None:
        return UP
    wrong = ""
    for path in _files_in(directory):
        try:
            return Network(_name_in(path))
        except (OSError, ValueError) as error:
            wrong = wrong or f" ({path.name}: {error})"
    return Network(why_not=f"Network plugin returns error: cni plugin not initialized{wrong}")


def sentence_of(network: Network) -> str:
    """Return the kubelet's sentence about a network that is not ready (pkg/kubelet/runtime.go); empty if it is."""
    if not network.why_not:
        return ""
    return (
        f"container runtime network not ready: NetworkReady=false reason:{NOT_READY_REASON} "
        f"message:{network.why_not}"
    )


def must_wait(pod: Object, network: Network) -> bool:
    """True if the network is needed and not there: only pods of the host's network start (kubelet: syncPod)."""
    return bool(network.why_not) and not pod["spec"].get("hostNetwork")


def _files_in(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES)
    except OSError:
        return []


def _name_in(path: Path) -> str:
    """Return the name of the network in a file. Raises ValueError where it holds none, OSError."""
    with path.open("rb") as file:
        content: Any = json.loads(file.read(LARGEST))
    if not isinstance(content, dict) or not isinstance(content.get("name"), str) or not content["name"]:
        raise ValueError("it names no network")
    plugins = content.get("plugins") if path.suffix == ".conflist" else [content]
    if not isinstance(plugins, list) or not plugins:
        raise ValueError("it lists no plugins")
    if not all(isinstance(each, dict) and each.get("type") for each in plugins):
        raise ValueError("a plugin has no type")
    return str(content["name"])
