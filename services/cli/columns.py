"""Which columns each kind has, and what stands in them: kubectl's, and what a set waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas import kinds
from schemas.event_types import condition_of
from schemas.kinds import Kind
from schemas.objects import (
    Key,
    Object,
    controller_of,
    is_terminating,
    key_of_object,
    labels_of,
    name_of,
    namespace_of,
)
from schemas.times import Milliseconds, parse_rfc3339
from services.cli.tables import age, table

NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a cell depends on besides its object. `waiting` maps the key of a workload to what it waits for."""

    now: Milliseconds
    waiting: Mapping[Key, str] = field(default_factory=dict)


Cell = Callable[[Object, Setting], str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column; a wide one is shown on request only."""

    header: str
    cell: Cell
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """How a listing is to look: with wide columns, the namespace, the kind before each name."""

    wide: bool = False
    namespaces: bool = False
    kinds: bool = False


def table_of(kind: Kind, objects: Iterable[Object], setting: Setting, layout: Layout) -> str:
    """Return the table of objects of one kind, sorted by namespace and name."""
    return table(headers_of(kind, layout), rows_of(kind, objects, setting, layout))


def headers_of(kind: Kind, layout: Layout) -> list[str]:
    """Return what stands above the columns."""
    return [column.header for column in _columns(kind, layout)]


def rows_of(kind: Kind, objects: Iterable[Object], setting: Setting, layout: Layout) -> list[list[str]]:
    """Return the cells of objects of one kind, sorted by namespace and name."""
    columns = _columns(kind, layout)
    return [[column.cell(obj, setting) for column in columns] for obj in in_order(objects)]


def in_order(objects: Iterable[Object]) -> list[Object]:
    """Return objects by namespace and name; numbers at the end of names count as numbers."""
    return sorted(objects, key=lambda obj: (namespace_of(obj), _natural(name_of(obj))))


def spoken_name(kind: Kind, name: str) -> str:
    """Return `statefulset.apps/web`, as `-o name` prints it."""
    return f"{kind.singular}.{kind.group}/{name}" if kind.group else f"{kind.singular}/{name}"


def _columns(kind: Kind, layout: Layout) -> list[Column]:
    own = (each for each in COLUMNS[kind.resource] if layout.wide or not each.wide)
    return [*_leading(kind, layout), *own]


def _leading(kind: Kind, layout: Layout) -> list[Column]:
    name = Column("NAME", lambda obj, _: spoken_name(kind, name_of(obj)) if layout.kinds else name_of(obj))
    if layout.namespaces and kind.namespaced:
        return [Column("NAMESPACE", lambda obj, _: namespace_of(obj)), name]
    return [name]


def _natural(name: str) -> tuple[str, int, str]:
    """Return what sorts web-2 before web-10."""
    stem, dash, end = name.rpartition("-")
    return (stem, int(end), "") if dash and end.isdecimal() and len(end) < 10 else (name, -1, "")


def _field(*path: str, default: str = "") -> Cell:
    """Return a cell that shows the value at a path."""

    def cell(obj: Object, _: Setting) -> str:
        value: Any = obj
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return default if value is None else str(value)

    return cell


def _age(obj: Object, setting: Setting) -> str:
    created = obj["metadata"].get("creationTimestamp")
    return age(parse_rfc3339(created), setting.now) if created else "<unknown>"


def _count(*path: str) -> Cell:
    return _field(*path, default="0")


def _set_ready(obj: Object, _: Setting) -> str:
    return f"{(obj.get('status') or {}).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"


def _set_revision(obj: Object, _: Setting) -> str:
    """Return the update revision, and the current one before it where a rollout is under way."""
    status = obj.get("status") or {}
    update, current = status.get("updateRevision", ""), status.get("currentRevision", "")
    return f"{current} -> {update}" if current and current != update else update


def _waiting(obj: Object, setting: Setting) -> str:
    return setting.waiting.get(key_of_object(obj), "")


def _containers(obj: Object) -> list[Object]:
    spec = obj["spec"]
    return list((spec["template"]["spec"] if "template" in spec else spec).get("containers", ()))


def _container_names(obj: Object, _: Setting) -> str:
    return ",".join(container["name"] for container in _containers(obj))


def _images(obj: Object, _: Setting) -> str:
    return ",".join(container.get("image", "") for container in _containers(obj))


def _statuses(pod: Object) -> list[Object]:
    return list((pod.get("status") or {}).get("containerStatuses", ()))


def _init_statuses(pod: Object) -> list[tuple[Object, bool]]:
    """Return the status of each init container, and whether it is a sidecar."""
    sidecars = {
        each["name"]
        for each in pod["spec"].get("initContainers", ())
        if each.get("restartPolicy") == "Always"
    }
    inits = (pod.get("status") or {}).get("initContainerStatuses", ())
    return [(each, each["name"] in sidecars) for each in inits]


def _pod_ready(pod: Object, _: Setting) -> str:
    spec = pod["spec"]
    sidecars = [each for each in spec.get("initContainers", ()) if each.get("restartPolicy") == "Always"]
    counted = [*_statuses(pod), *(each for each, is_sidecar in _init_statuses(pod) if is_sidecar)]
    total = len(spec.get("containers", ())) + len(sidecars)
    return f"{sum(bool(each.get('ready')) for each in counted)}/{total}"


def _restarts(pod: Object, _: Setting) -> str:
    """Return the restarts of containers and sidecars; of all init containers while the pod initializes (printPod)."""
    inits = _init_statuses(pod)
    if _initializing(pod):
        return str(sum(int(each.get("restartCount", 0)) for each, _ in inits))
    counted = [*_statuses(pod), *(each for each, is_sidecar in inits if is_sidecar)]
    return str(sum(int(each.get("restartCount", 0)) for each in counted))


def _initializing(pod: Object) -> str:
    """Return what the first init container that holds up the others does; empty where none does."""
    inits = _init_statuses(pod)
    for number, (each, is_sidecar) in enumerate(inits):
        state = each.get("state") or {}
        if (state.get("terminated") or {}).get("exitCode") == 0 or (is_sidecar and each.get("started")):
            continue
        trouble = _trouble(state)
        return trouble if trouble and trouble != "PodInitializing" else f"{number}/{len(inits)}"
    return ""


def pod_status(pod: Object, _: Setting) -> str:
    """Return the word that sums up a pod: Terminating, Init:0/1, CrashLoopBackOff, Running (printers.go printPod)."""
    status = pod.get("status") or {}
    if is_terminating(pod):
        return "Terminating"
    if wait := _initializing(pod):
        return f"Init:{wait}"
    troubles = [_trouble(each.get("state") or {}) for each in _statuses(pod)]
    found = next((trouble for trouble in troubles if trouble), "")
    if found == "Completed" and any((each.get("state") or {}).get("running") for each in _statuses(pod)):
        return "Running" if condition_of(pod, "Ready") == "True" else "NotReady"
    return found or str(status.get("reason") or status.get("phase") or "Unknown")


def _trouble(state: Object) -> str:
    """Return why a container does not run; empty where it does."""
    if waiting := state.get("waiting"):
        return str(waiting.get("reason", "Waiting"))
    if ended := state.get("terminated"):
        if ended.get("reason"):
            return str(ended["reason"])
        return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
    return ""


def _controller(obj: Object, _: Setting) -> str:
    owner = controller_of(obj)
    kind = kinds.BY_NAME.get((owner["apiVersion"], owner["kind"])) if owner else None
    return spoken_name(kind, owner["name"]) if owner and kind else NONE


def _node_status(node: Object, _: Setting) -> str:
    ready = {"True": "Ready", "": "Unknown"}.get(condition_of(node, "Ready"), "NotReady")
    return f"{ready},SchedulingDisabled" if node["spec"].get("unschedulable") else ready


def _roles(node: Object, _: Setting) -> str:
    prefix = "node-role.kubernetes.io/"
    return (
        ",".join(label.removeprefix(prefix) for label in sorted(labels_of(node)) if label.startswith(prefix))
        or NONE
    )


def _taints(node: Object, _: Setting) -> str:
    taints = node["spec"].get("taints") or ()
    return ",".join(f"{each['key']}:{each['effect']}" for each in taints) or NONE


def _address(node: Object, _: Setting) -> str:
    addresses = (node.get("status") or {}).get("addresses") or ()
    return next((each["address"] for each in addresses if each["type"] == "InternalIP"), NONE)


def _access_modes(obj: Object, _: Setting) -> str:
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    return ",".join(short.get(mode, mode) for mode in obj["spec"].get("accessModes") or ())


def _status_or_terminating(obj: Object, setting: Setting) -> str:
    return "Terminating" if is_terminating(obj) else _field("status", "phase")(obj, setting)


def _claim(volume: Object, _: Setting) -> str:
    claim = volume["spec"].get("claimRef")
    return f"{claim.get('namespace', '')}/{claim['name']}" if claim else ""


def _ports(service: Object, _: Setting) -> str:
    return (
        ",".join(f"{each['port']}/{each.get('protocol', 'TCP')}" for each in service["spec"].get("ports", ()))
        or NONE
    )


def _selector(obj: Object, _: Setting) -> str:
    return (
        ",".join(f"{key}={value}" for key, value in sorted((obj["spec"].get("selector") or {}).items()))
        or NONE
    )


def _node_selector(obj: Object, _: Setting) -> str:
    selector = obj["spec"]["template"]["spec"].get("nodeSelector") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items())) or NONE


def _data(obj: Object, _: Setting) -> str:
    return str(len(obj.get("data") or {}) + len(obj.get("binaryData") or {}))


def _involved(event: Object, _: Setting) -> str:
    involved = event.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _endpoint_ports(endpoints: Object, _: Setting) -> str:
    return ",".join(str(port.get("port", "*")) for port in endpoints.get("ports") or ()) or "<unset>"


def _endpoint_addresses(endpoints: Object, _: Setting) -> str:
    found = [address for each in endpoints.get("endpoints") or () for address in each.get("addresses") or ()]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more or "<unset>"


def _bound_role(binding: Object, _: Setting) -> str:
    role = binding.get("roleRef") or {}
    return f"{role.get('kind', '')}/{role.get('name', '')}"


def _created(obj: Object, _: Setting) -> str:
    return str(obj["metadata"].get("creationTimestamp") or "<unknown>")


def _limit_of(field: str) -> Cell:
    return _field("spec", field, default="N/A")


def _flag(name: str) -> Cell:
    return lambda obj, _: "true" if obj.get(name) else "false"


_WORKLOAD_WIDE = (Column("CONTAINERS", _container_names, True), Column("IMAGES", _images, True))
_STORAGE_CLASS = Column("STORAGECLASS", _field("spec", "storageClassName"))
_AGE = Column("AGE", _age)

COLUMNS: Mapping[str, Sequence[Column]] = {
    kinds.STATEFUL_SET.resource: (
        Column("READY", _set_ready),
        Column("UPDATED", _count("status", "updatedReplicas")),
        Column("CURRENT", _count("status", "currentReplicas")),
        Column("REVISION", _set_revision),
        _AGE,
        *_WORKLOAD_WIDE,
        Column("WAITING FOR", _waiting),
    ),
    kinds.DAEMON_SET.resource: (
        Column("DESIRED", _count("status", "desiredNumberScheduled")),
        Column("CURRENT", _count("status", "currentNumberScheduled")),
        Column("READY", _count("status", "numberReady")),
        Column("UP-TO-DATE", _count("status", "updatedNumberScheduled")),
        Column("AVAILABLE", _count("status", "numberAvailable")),
        Column("NODE SELECTOR", _node_selector),
        _AGE,
        *_WORKLOAD_WIDE,
        Column("WAITING FOR", _waiting),
    ),
    kinds.POD.resource: (
        Column("READY", _pod_ready),
        Column("STATUS", pod_status),
        Column("RESTARTS", _restarts),
        _AGE,
        Column("IP", _field("status", "podIP", default=NONE)),
        Column("NODE", _field("spec", "nodeName", default=NONE)),
        Column("IMAGES", _images, True),
    ),
    kinds.CONTROLLER_REVISION.resource: (
        Column("CONTROLLER", _controller),
        Column("REVISION", _field("revision")),
        _AGE,
    ),
    kinds.NODE.resource: (
        Column("STATUS", _node_status),
        Column("ROLES", _roles),
        _AGE,
        Column("VERSION", _field("status", "nodeInfo", "kubeletVersion")),
        Column("INTERNAL-IP", _address, True),
        Column("TAINTS", _taints, True),
    ),
    kinds.CLAIM.resource: (
        Column("STATUS", _status_or_terminating),
        Column("VOLUME", _field("spec", "volumeName")),
        Column("CAPACITY", _field("status", "capacity", "storage")),
        Column("ACCESS MODES", _access_modes),
        _STORAGE_CLASS,
        _AGE,
    ),
    kinds.VOLUME.resource: (
        Column("CAPACITY", _field("spec", "capacity", "storage")),
        Column("ACCESS MODES", _access_modes),
        Column("RECLAIM POLICY", _field("spec", "persistentVolumeReclaimPolicy")),
        Column("STATUS", _status_or_terminating),
        Column("CLAIM", _claim),
        _STORAGE_CLASS,
        _AGE,
    ),
    kinds.SERVICE.resource: (
        Column("TYPE", _field("spec", "type", default="ClusterIP")),
        Column("CLUSTER-IP", _field("spec", "clusterIP", default=NONE)),
        Column("PORT(S)", _ports),
        _AGE,
        Column("SELECTOR", _selector, True),
    ),
    kinds.NAMESPACE.resource: (Column("STATUS", _status_or_terminating), _AGE),
    kinds.CONFIG_MAP.resource: (Column("DATA", _data), _AGE),
    kinds.SECRET.resource: (Column("TYPE", _field("type", default="Opaque")), Column("DATA", _data), _AGE),
    kinds.EVENT.resource: (
        Column("TYPE", _field("type")),
        Column("REASON", _field("reason")),
        Column("OBJECT", _involved),
        _AGE,
        Column("MESSAGE", _field("message")),
    ),
    kinds.LEASE.resource: (Column("HOLDER", _field("spec", "holderIdentity")), _AGE),
    kinds.ENDPOINT_SLICE.resource: (
        Column("ADDRESSTYPE", _field("addressType")),
        Column("PORTS", _endpoint_ports),
        Column("ENDPOINTS", _endpoint_addresses),
        _AGE,
    ),
    kinds.SERVICE_ACCOUNT.resource: (_AGE,),
    kinds.BUDGET.resource: (
        Column("MIN AVAILABLE", _limit_of("minAvailable")),
        Column("MAX UNAVAILABLE", _limit_of("maxUnavailable")),
        Column("ALLOWED DISRUPTIONS", _count("status", "disruptionsAllowed")),
        _AGE,
    ),
    kinds.STORAGE_CLASS.resource: (
        Column("PROVISIONER", _field("provisioner")),
        Column("RECLAIMPOLICY", _field("reclaimPolicy", default="Delete")),
        Column("VOLUMEBINDINGMODE", _field("volumeBindingMode", default="Immediate")),
        Column("ALLOWVOLUMEEXPANSION", _flag("allowVolumeExpansion")),
        _AGE,
    ),
    kinds.PRIORITY_CLASS.resource: (
        Column("VALUE", _count("value")),
        Column("GLOBAL-DEFAULT", _flag("globalDefault")),
        _AGE,
        Column("PREEMPTIONPOLICY", _field("preemptionPolicy")),
    ),
    kinds.ROLE.resource: (Column("CREATED AT", _created),),
    kinds.CLUSTER_ROLE.resource: (Column("CREATED AT", _created),),
    kinds.ROLE_BINDING.resource: (Column("ROLE", _bound_role), _AGE),
    kinds.CLUSTER_ROLE_BINDING.resource: (Column("ROLE", _bound_role), _AGE),
}
