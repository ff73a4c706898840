"""From a container of a pod to what the Docker Engine is asked to create. Pure.

The rules are the kubelet's (pkg/kubelet/kuberuntime/kuberuntime_container*.go, pkg/securitycontext), and those by which
it once spoke to docker (pkg/kubelet/dockershim, gone since 1.24).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.objects import Object, name_of, namespace_of
from schemas.quantities import parse_quantity
from services.agent.environments import environment_of, expand
from services.agent.runtimes.docker.images import Image
from services.agent.runtimes.port import Refused, Run
from services.agent.runtimes.volumes import Mount, variable_of
from services.agent.sources import BadConfiguration

CPU_PERIOD = 100_000
"""Microseconds over which a cpu limit is counted."""
LEAST_QUOTA = 1_000
LEAST_SHARES, MOST_SHARES = 2, 262_144
MOST_PROCESSES = 4_096
"""How many processes and threads a container may have: no fork bomb takes the machine (kubelet: podPidsLimit)."""
LOG_SIZE, LOG_FILES = "10m", "2"
"""How much of a container's log is kept (kubelet: containerLogMaxSize)."""
_TERMINATION_LOG = "/dev/termination-log"
_NANOS = 10**9
_PROPAGATIONS = {"HostToContainer": "rslave", "Bidirectional": "rshared"}

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Creation:
    """What to create: arguments of docker.APIClient's `create_container` and of `create_host_config`."""

    config: Arguments
    host: Arguments


@dataclass(frozen=True, slots=True)
class Around:
    """What a container is put into: the pod's pause container, its mounts, variables of the runtime's own."""

    pause: str
    image: Image
    mounts: Sequence[Mount]
    hosts_file: str
    variables: Mapping[str, str] = field(default_factory=dict)


def creation_of(run: Run, spec: Object, around: Around) -> Creation:
    """Return what to create for a run of the container `spec`. Raises BadConfiguration."""
    pod = run.pod
    places = {variable_of(mount): mount.target for mount in around.mounts if mount.volume}
    env = environment_of(pod, spec, {**_base_of(pod), **places, **around.variables}, run.sources)
    context = {**(pod["spec"].get("securityContext") or {}), **(spec.get("securityContext") or {})}
    user = user_of(context, around.image, spec["name"])
    config: Arguments = {
        "image": around.image.id,
        "entrypoint": [expand(word, env) for word in spec.get("command") or ()] or None,
        "command": [expand(word, env) for word in spec.get("args") or ()] or None,
        "environment": env,
        "working_dir": spec.get("workingDir") or None,
        "user": user or None,
        "stdin_open": bool(spec.get("stdin")),
        "tty": bool(spec.get("tty")),
    }
    return Creation(config, _host_of(pod, spec, context, around) | resources_of(spec))


def user_of(context: Object, image: Image, name: str) -> str:
    """Return `user[:group]`; "" for what the image says (kubelet: verifyRunAsNonRoot). Raises BadConfiguration."""
    user = context.get("runAsUser")
    by_image, _, group_by_image = image.user.partition(":")
    effective = str(user) if user is not None else by_image or "0"
    if context.get("runAsNonRoot"):
        if not effective.isdecimal():
            raise BadConfiguration(
                f"container has runAsNonRoot and image has non-numeric user ({effective}), cannot verify user is "
                f"non-root (container: {name})"
            )
        if int(effective) == 0:
            raise BadConfiguration(
                f"container has runAsNonRoot and {'image will' if user is None else 'would'} run as root "
                f"(container: {name})"
            )
    group = context.get("runAsGroup")
    if user is None and group is None:
        return ""
    own_group = group_by_image if user is None else ""
    chosen = str(group) if group is not None else own_group
    return f"{effective}:{chosen}" if chosen else effective


def resources_of(spec: Object) -> Arguments:
    """Return the limits of a container; no swap besides memory (MemorySwap equals Memory, as the kubelet's)."""
    resources = spec.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    found: Arguments = {"pids_limit": MOST_PROCESSES}
    if memory := _amount(limits, "memory"):
        found |= {"mem_limit": memory // _NANOS, "memswap_limit": memory // _NANOS}
    if cpu := _amount(limits, "cpu"):
        quota = max(LEAST_QUOTA, cpu * CPU_PERIOD // _NANOS)
        found |= {"cpu_period": CPU_PERIOD, "cpu_quota": quota}
    shares = _amount(requests, "cpu") or cpu
    if shares:
        found["cpu_shares"] = min(MOST_SHARES, max(LEAST_SHARES, shares * 1024 // _NANOS))
    return found


def namespaces_of(pod: Object) -> Arguments:
    """Return which namespaces a pod's pause container has of its own, and which are the host's."""
    spec = pod["spec"]
    found: Arguments = {"ipc_mode": "host" if spec.get("hostIPC") else "shareable"}
    if spec.get("hostPID"):
        found["pid_mode"] = "host"
    sysctls = (spec.get("securityContext") or {}).get("sysctls") or ()
    if sysctls:
        found["sysctls"] = {each["name"]: each["value"] for each in sysctls}
    return found


def path_of_message(spec: Object) -> str:
    """Return where in a container its program leaves a termination message."""
    return str(spec.get("terminationMessagePath") or _TERMINATION_LOG)


def host_ports_of(pod: Object) -> dict[str, list[tuple[str, int]]]:
    """Return `<port>/<protocol>` -> where it is published on the node; nothing for a pod of the host's network."""
    found: dict[str, list[tuple[str, int]]] = {}
    if pod["spec"].get("hostNetwork"):
        return found
    for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                inside = f"{port['containerPort']}/{port.get('protocol', 'TCP').lower()}"
                found.setdefault(inside, []).append((port.get("hostIP") or "", port["hostPort"]))
    return found


def check_ports_on_host(pod: Object) -> None:
    """Raise Refused where a pod that is on the host's network wants another port there than it serves on
    (apis/core/validation: with hostNetwork they must be equal)."""
    for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
        for port in container.get("ports") or ():
            if port.get("hostPort", port["containerPort"]) != port["containerPort"]:
                raise Refused(
                    "NodePorts",
                    f"hostPort {port['hostPort']} is not containerPort {port['containerPort']}: pods of this node are "
                    "on its host's network, where a port is the same inside and outside",
                )


def _base_of(pod: Object) -> dict[str, str]:
    """Return what every program finds in its environment, in the process runtime too."""
    return {
        "POD_IP": (pod.get("status") or {}).get("podIP", ""),
        "POD_NAME": name_of(pod),
        "POD_NAMESPACE": namespace_of(pod),
        "CHRONOSET_HOSTS": "/etc/hosts",
    }


def _host_of(pod: Object, spec: Object, context: Object, around: Around) -> Arguments:
    pod_context = pod["spec"].get("securityContext") or {}
    capabilities = context.get("capabilities") or {}
    groups = [*(context.get("supplementalGroups") or ())]
    if "fsGroup" in pod_context:
        groups.append(pod_context["fsGroup"])
    found: Arguments = {
        "network_mode": f"container:{around.pause}",
        "ipc_mode": "host" if pod["spec"].get("hostIPC") else f"container:{around.pause}",
        "mounts": [*map(_bind_of, around.mounts), _bind_of(Mount("", around.hosts_file, "/etc/hosts"))],
        "privileged": bool(context.get("privileged")),
        "read_only": bool(context.get("readOnlyRootFilesystem")),
        "cap_add": list(capabilities.get("add") or ()),
        "cap_drop": list(capabilities.get("drop") or ()),
        "group_add": [str(group) for group in groups],
        "security_opt": _security_options(context, spec["name"]),
        "log_config": {"Type": "json-file", "Config": {"max-size": LOG_SIZE, "max-file": LOG_FILES}},
    }
    if pod["spec"].get("hostPID"):
        found["pid_mode"] = "host"
    elif pod["spec"].get("shareProcessNamespace"):
        found["pid_mode"] = f"container:{around.pause}"
    return found


def _security_options(context: Object, name: str) -> list[str]:
    options = []
    if context.get("allowPrivilegeEscalation") is False:
        options.append("no-new-privileges:true")
    profile = (context.get("seccompProfile") or {}).get("type", "RuntimeDefault")
    if profile == "Unconfined":
        options.append("seccomp=unconfined")
    elif profile != "RuntimeDefault":
        raise BadConfiguration(
            f"container {name}: seccompProfile {profile!r} is not supported; accepted are RuntimeDefault and Unconfined"
        )
    return options


def _bind_of(mount: Mount) -> Arguments:
    """Return a mount as the engine's API has it: unlike a bind of three parts, its paths may hold any character."""
    bound = {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
    propagation = _PROPAGATIONS.get(mount.propagation)
    return {**bound, "BindOptions": {"Propagation": propagation}} if propagation else bound


def _amount(resources: Mapping[str, str], name: str) -> int:
    """Return an amount in 10^-9 units; 0 where none is written."""
    return parse_quantity(resources[name]).nanos if name in resources else 0
