"""What a table says of a pod: how ready it is, the word that sums it up, its restarts (printers.go, printPod).

The three are computed from the same containers: the ordinary ones and the sidecars; while a pod initializes, from all
init containers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schemas.event_types import condition_of
from schemas.objects import Object, has_ended, is_terminating
from schemas.times import Milliseconds, age, parse_rfc3339


def pod_ready(pod: Object) -> str:
    """Return `1/2`: how many of a pod's containers and sidecars are ready."""
    counted = [*_statuses(pod), *_sidecars(pod)]
    total = len(pod["spec"].get("containers", ())) + len(_sidecar_names(pod))
    return f"{sum(bool(each.get('ready')) for each in counted)}/{total}"


def pod_status(pod: Object) -> str:
    """Return the word that sums up a pod: Terminating, Init:0/1, CrashLoopBackOff, Running."""
    status = pod.get("status") or {}
    if is_terminating(pod) and status.get("reason") == "NodeLost":
        return "Unknown"
    if is_terminating(pod) and not has_ended(pod):
        return "Terminating"
    wait = _initializing(pod)
    if wait and not _is_initialized(pod):
        return f"Init:{wait}"
    troubles = [_trouble(each.get("state") or {}) for each in _statuses(pod)]
    found = next((trouble for trouble in troubles if trouble), "")
    if found == "Completed" and any(map(_runs, _statuses(pod))):
        return "Running" if condition_of(pod, "Ready") == "True" else "NotReady"
    if found or wait:
        return found or f"Init:{wait}"
    return (
        "SchedulingGated" if _is_gated(pod) else str(status.get("reason") or status.get("phase") or "Unknown")
    )


def pod_restarts(pod: Object, now: Milliseconds) -> str:
    """Return `4 (5m ago)`: the restarts of containers and sidecars; of all init containers while it initializes."""
    if _initializing(pod) and not _is_initialized(pod):
        counted = [each for each, _ in _init_statuses(pod)]
    else:
        counted = [*_statuses(pod), *_sidecars(pod)]
    restarts = sum(int(each.get("restartCount", 0)) for each in counted)
    ends = list(_last_ends(counted))
    return f"{restarts} ({age(max(ends), now)} ago)" if restarts and ends else str(restarts)


def readiness_gates(pod: Object) -> str:
    """Return `1/2`: how many of a pod's readiness gates are met; `<none>` where it has none."""
    gates = pod["spec"].get("readinessGates") or ()
    met = sum(condition_of(pod, gate["conditionType"]) == "True" for gate in gates)
    return f"{met}/{len(gates)}" if gates else "<none>"


def _statuses(pod: Object) -> list[Object]:
    return list((pod.get("status") or {}).get("containerStatuses") or ())


def _sidecar_names(pod: Object) -> set[str]:
    inits = pod["spec"].get("initContainers")
    return {each["name"] for each in inits if each.get("restartPolicy") == "Always"} if inits else set()


def _init_statuses(pod: Object) -> list[tuple[Object, bool]]:
    """Return the status of each init container, and whether it is a sidecar."""
    inits = (pod.get("status") or {}).get("initContainerStatuses")
    if not inits:
        return []
    sidecars = _sidecar_names(pod)
    return [(each, each["name"] in sidecars) for each in inits]


def _sidecars(pod: Object) -> list[Object]:
    return [each for each, is_sidecar in _init_statuses(pod) if is_sidecar]


def _initializing(pod: Object) -> str:
    """Return what the first init container that holds up the others does; empty where none does."""
    for number, (each, is_sidecar) in enumerate(_init_statuses(pod)):
        state = each.get("state") or {}
        if (state.get("terminated") or {}).get("exitCode") == 0 or (is_sidecar and each.get("started")):
            continue
        trouble = _trouble(state)
        total = max(len(pod["spec"].get("initContainers") or ()), len(_init_statuses(pod)))
        return trouble if trouble and trouble != "PodInitializing" else f"{number}/{total}"
    return ""


def _is_initialized(pod: Object) -> bool:
    return condition_of(pod, "Initialized") == "True"


def _is_gated(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(
        each.get("type") == "PodScheduled" and each.get("reason") == "SchedulingGated" for each in conditions
    )


def _runs(status: Object) -> bool:
    return bool(status.get("ready")) and "running" in (status.get("state") or {})


def _trouble(state: Object) -> str:
    """Return why a container does not run; empty where it does, or does not say."""
    if "terminated" not in state:
        return str((state.get("waiting") or {}).get("reason", ""))
    ended = state["terminated"] or {}
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _last_ends(statuses: Iterable[Object]) -> Iterator[Milliseconds]:
    for each in statuses:
        ended = ((each.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
        if ended:
            yield parse_rfc3339(ended)
