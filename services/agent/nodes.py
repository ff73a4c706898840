"""What a node says of itself: labels, addresses, room and conditions (pkg/kubelet/nodestatus)."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.demands import SHARED_ADDRESS
from schemas.node_reasons import KUBELET_NOT_READY, NETWORK_READY
from schemas.objects import Object
from schemas.storage import STORAGE
from schemas.taints import DISK_PRESSURE, NOT_READY
from schemas.times import Milliseconds, rfc3339
from services.agent.addresses import address_of
from services.agent.allotments import Allotments
from services.agent.disks import Disk
from services.agent.networks import NOT_READY_REASON, UP, Network, sentence_of
from services.headless import DOMAIN
from services.node_servers import SOCKET_ANNOTATION

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
MOST_PODS = 110


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """A node: its name, where it keeps its files, its cluster, its address, and what it says of itself.

    `cluster` tells it from every other on this machine: the addresses of its pods derive from it. `capacity` replaces
    what is found on the machine (several agents of one machine share it only on paper).
    """

    name: str
    directory: Path
    cluster: str = "chronoset"
    address: str = "127.0.0.1"
    domain: str = DOMAIN
    heartbeat_seconds: float = 5.0
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=dict)
    network_directory: Path | None = None
    """Where a network agent puts its configuration, without which the node is not Ready; None: it needs none."""
    shares_address: bool = False
    """Whether its pods have the node's own address, as on a machine of many: then their ports must differ."""
    server_socket: str = ""
    """The name of the socket, in the cluster's private directory, at which the node's server is reached."""
    allotments: Allotments = field(default_factory=Allotments, compare=False, repr=False)
    """Which addresses are taken: nodes that share a machine share this."""
    server_port: int = 0
    """The TCP port at which it is reached, at the node's address; 0 for none."""


def own_address(cluster: str, name: str) -> str:
    """Return the loopback address of a node that shares its machine with others: pods of the host's network serve
    there, so that those of two nodes do not take each other's ports."""
    return address_of(f"{cluster}/node/{name}", ())


def node_object(
    settings: NodeSettings, runtime: str, now: Milliseconds, network: Network = UP, disk: Disk | None = None
) -> Object:
    """Return the node as it registers itself: Ready, or, while it has no network, not Ready and tainted so
    (plugin/pkg/admission/nodetaint).

    Without a `disk`, it does not say how much its volumes may hold, which is then not limited.
    """
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    capacity = _capacity_of_machine(settings.directory) | dict(settings.capacity)
    allocatable = capacity
    if disk is not None:
        allocatable = {**capacity, STORAGE: settings.capacity.get(STORAGE, f"{disk.room >> 10}Ki")}
        capacity = {STORAGE: f"{disk.total >> 10}Ki"} | capacity
    annotations = {
        **({SOCKET_ANNOTATION: settings.server_socket} if settings.server_socket else {}),
        **({SHARED_ADDRESS: "true"} if settings.shares_address else {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": settings.name,
            "labels": {
                "kubernetes.io/hostname": settings.name,
                "kubernetes.io/arch": architecture,
                "kubernetes.io/os": "linux",
                **settings.labels,
            },
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {"taints": [{"key": NOT_READY, "effect": "NoSchedule"}]} if network.why_not else {},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": settings.address},
                {"type": "Hostname", "address": settings.name},
            ],
            "capacity": capacity,
            "allocatable": allocatable,
            "conditions": [
                _condition(*said, now) for said in (*_CONDITIONS, _said_of_disk(disk), *_said_of(network))
            ],
            **_endpoints(settings.server_port),
            "nodeInfo": {
                "architecture": architecture,
                "operatingSystem": "linux",
                "kernelVersion": platform.release(),
                "osImage": _os_image(),
                "containerRuntimeVersion": f"{runtime}://1",
                "kubeletVersion": "v1.36.0",
                "kubeProxyVersion": "",
                "machineID": _line_of("/etc/machine-id"),
                "systemUUID": _line_of("/sys/class/dmi/id/product_uuid"),
                "bootID": _line_of("/proc/sys/kernel/random/boot_id"),
            },
        },
    }


def _os_image() -> str:
    """Return what the machine's system calls itself, or Linux (cadvisor: machine/operatingsystem_unix.go)."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return "Linux"


def _line_of(path: str) -> str:
    """Return what the machine says of itself in a file; empty where it does not, or not to us."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


def _said_of_disk(disk: Disk | None) -> tuple[str, str, str, str]:
    if disk is not None and disk.is_full:
        return DISK_PRESSURE, "True", "KubeletHasDiskPressure", "kubelet has disk pressure"
    return DISK_PRESSURE, "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"


def _said_of(network: Network) -> tuple[tuple[str, str, str, str], ...]:
    """Return the conditions (type, status, reason, message) that depend on the network."""
    if network == UP:
        return (("Ready", "True", "KubeletReady", "kubelet is posting ready status"),)
    if why := sentence_of(network):
        return (
            (NETWORK_READY, "False", NOT_READY_REASON, network.why_not),
            ("Ready", "False", KUBELET_NOT_READY, why),
        )
    return (
        (NETWORK_READY, "True", "NetworkPluginReady", f"the network is {network.name}"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )


def _endpoints(port: int) -> Object:
    return {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}} if port else {}


def _condition(kind: str, status: str, reason: str, message: str, now: Milliseconds) -> Object:
    said = {"type": kind, "status": status, "reason": reason, "lastTransitionTime": rfc3339(now)}
    return said | ({"message": message} if message else {})


def _capacity_of_machine(directory: Path) -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory >> 10}Ki",
        "ephemeral-storage": f"{shutil.disk_usage(directory).total >> 10}Ki",
        "pods": str(MOST_PODS),
    }
