"""Which columns a table of each kind has, and what stands in them: Kubernetes' (pkg/printers/internalversion).

`kubectl get` and `chronoset get` show the same cells. A column of priority 1 is shown by `-o wide` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas import kinds
from schemas.event_types import condition_of
from schemas.kinds import Kind
from schemas.objects import Object, controller_of, is_terminating, labels_of, name_of
from schemas.pod_columns import pod_ready, pod_restarts, pod_status, readiness_gates
from schemas.storage import is_default
from schemas.times import Milliseconds, age, parse_rfc3339

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"
STRING, INTEGER, BOOLEAN = "string", "integer", "boolean"

Cell = Callable[[Object, Milliseconds], str | int]
"""What stands in a column for an object, at a time."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column; a wide one is shown on request only. `type` and `format` are OpenAPI's words for the cells."""

    header: str
    cell: Cell
    wide: bool = False
    type: str = STRING
    format: str = ""


def columns_of(kind: Kind) -> Sequence[Column]:
    """Return the columns of a kind, the name included; for a kind without a row of its own, name and creation."""
    return _COLUMNS.get(kind.stored_as or kind.resource, (_NAME, CREATED_AT))


def spoken_name(kind: Kind, name: str) -> str:
    """Return `statefulset.apps/web`, as `-o name` prints it."""
    return f"{kind.singular}.{kind.group}/{name}" if kind.group else f"{kind.singular}/{name}"


def field(*path: str, default: str = "") -> Cell:
    """Return a cell that shows the value at a path."""

    def cell(obj: Object, _: Milliseconds) -> str:
        value = _value(obj, *path)
        return default if value is None else str(value)

    return cell


def count(*path: str) -> Cell:
    """Return a cell that shows the number at a path, 0 where there is none."""
    return lambda obj, _: int(_value(obj, *path) or 0)


def since(*path: str) -> Cell:
    """Return a cell that shows how long ago the time at a path was."""

    def cell(obj: Object, now: Milliseconds) -> str:
        time = _value(obj, *path)
        return age(parse_rfc3339(time), now) if time else UNKNOWN

    return cell


def _value(obj: Object, *path: str) -> Any:
    value: Any = obj
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _text(function: Callable[[Object], str | int]) -> Cell:
    """Return a cell that does not depend on the time."""
    return lambda obj, _: function(obj)


def _joined(values: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((values or {}).items())) or NONE


def _set_ready(obj: Object) -> str:
    return f"{(obj.get('status') or {}).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"


def _containers(obj: Object) -> list[Object]:
    spec = obj["spec"]
    return list((spec["template"]["spec"] if "template" in spec else spec).get("containers", ()))


def _container_names(obj: Object) -> str:
    return ",".join(container["name"] for container in _containers(obj))


def _images(obj: Object) -> str:
    return ",".join(container.get("image", "") for container in _containers(obj))


def _label_selector(obj: Object) -> str:
    """Return `app=web,tier in (a,b),!canary` (metav1.FormatLabelSelector)."""
    selector = obj["spec"].get("selector") or {}
    words = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        values = ",".join(sorted(each.get("values") or ()))
        words.append(_EXPRESSIONS[each["operator"]].format(each["key"], values))
    return ",".join(sorted(words, key=lambda word: word.lstrip("!"))) or NONE


_EXPRESSIONS = {"In": "{} in ({})", "NotIn": "{} notin ({})", "Exists": "{}", "DoesNotExist": "!{}"}


def _controller(obj: Object) -> str:
    owner = controller_of(obj)
    if owner is None:
        return NONE
    group = owner["apiVersion"].rpartition("/")[0]
    return f"{owner['kind'].lower()}{'.' if group else ''}{group}/{owner['name']}"


def _node_status(node: Object) -> str:
    ready = {"True": "Ready", "": "Unknown"}.get(condition_of(node, "Ready"), "NotReady")
    return f"{ready},SchedulingDisabled" if node["spec"].get("unschedulable") else ready


def _roles(node: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    found = {label.removeprefix(prefix) for label in labels_of(node) if label.startswith(prefix)}
    found.add(labels_of(node).get("kubernetes.io/role", ""))
    return ",".join(sorted(found - {""})) or NONE


def _address(of: str) -> Cell:
    def cell(node: Object, _: Milliseconds) -> str:
        addresses = (node.get("status") or {}).get("addresses") or ()
        return next((each["address"] for each in addresses if each["type"] == of), NONE)

    return cell


def _modes(modes: Sequence[str] | None) -> str:
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    return ",".join(name for mode, name in short.items() if mode in (modes or ()))


def _claim_modes(claim: Object) -> str:
    """Return a bound claim's modes; one that is not bound has none yet, as it has no capacity."""
    return _modes(_value(claim, "status", "accessModes")) if claim["spec"].get("volumeName") else ""


def _claim_capacity(claim: Object) -> str:
    return (
        str(_value(claim, "status", "capacity", "storage") or "") if claim["spec"].get("volumeName") else ""
    )


def _phase(obj: Object) -> str:
    return "Terminating" if is_terminating(obj) else str(_value(obj, "status", "phase") or "")


def _claim_of(volume: Object) -> str:
    claim = volume["spec"].get("claimRef")
    return f"{claim.get('namespace', '')}/{claim['name']}" if claim else ""


def _external_address(service: Object) -> str:
    spec = service["spec"]
    given = list(spec.get("externalIPs") or ())
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec.get("type") == "LoadBalancer":
        found = _value(service, "status", "loadBalancer", "ingress") or ()
        given = [str(each.get("ip") or each.get("hostname") or "") for each in found] + given
        return ",".join(given) or "<pending>"
    return ",".join(given) or NONE


def _ports(service: Object) -> str:
    def text(port: Object) -> str:
        number = f"{port['port']}:{port['nodePort']}" if port.get("nodePort") else str(port["port"])
        return f"{number}/{port.get('protocol', 'TCP')}"

    return ",".join(map(text, service["spec"].get("ports") or ())) or NONE


def _data(obj: Object) -> int:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def _first_seen(event: Object) -> str:
    return str(event.get("firstTimestamp") or event.get("eventTime") or "")


def _last_seen(event: Object) -> str:
    series = (event.get("series") or {}).get("lastObservedTime")
    return str(series or event.get("lastTimestamp") or _first_seen(event))


def _seen(when: Callable[[Object], str]) -> Cell:
    return lambda event, now: age(parse_rfc3339(when(event)), now) if when(event) else UNKNOWN


def _times_seen(event: Object) -> int:
    series = event.get("series")
    return int(series.get("count", 0)) if series else int(event.get("count") or 1)


def _involved(event: Object) -> str:
    involved = event.get("involvedObject") or {}
    kind = str(involved.get("kind", "")).lower()
    return f"{kind}/{involved['name']}" if involved.get("name") else kind


def _source(event: Object) -> str:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {host}" if host else str(component)


def _few(words: Sequence[str]) -> str:
    """Return the first three of several, and how many more there are."""
    more = f" + {len(words) - 3} more..." if len(words) > 3 else ""
    return ",".join(words[:3]) + more or UNSET


def _slice_ports(endpoints: Object) -> str:
    return _few([str(port.get("port", port.get("name") or "*")) for port in endpoints.get("ports") or ()])


def _slice_addresses(endpoints: Object) -> str:
    return _few([text for each in endpoints.get("endpoints") or () for text in each.get("addresses") or ()])


def _endpoints(obj: Object) -> str:
    """Return the ready addresses with their ports, three of them (printers.go formatEndpoints)."""
    subsets = obj.get("subsets") or ()
    found = [
        f"{address['ip']}:{port['port']}" if port else address["ip"]
        for subset in subsets
        for port in subset.get("ports") or (None,)
        for address in subset.get("addresses") or ()
    ]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more if subsets else NONE


def _bound_role(binding: Object) -> str:
    role = binding.get("roleRef") or {}
    return f"{role.get('kind', '')}/{role.get('name', '')}"


def _subjects(kind: str) -> Cell:
    def cell(binding: Object, _: Milliseconds) -> str:
        found = [each for each in binding.get("subjects") or () if each.get("kind") == kind]
        names = (
            f"{each['namespace']}/{each['name']}" if "namespace" in each else each["name"] for each in found
        )
        return ", ".join(names)

    return cell


def _storage_class_name(obj: Object) -> str:
    return f"{name_of(obj)} (default)" if is_default(obj) else name_of(obj)


def _flag(name: str) -> Cell:
    return lambda obj, _: bool(obj.get(name))


_NAME = Column("Name", _text(name_of), format="name")
CREATED_AT = Column("Created At", field("metadata", "creationTimestamp", default=UNKNOWN))
AGE = Column("Age", since("metadata", "creationTimestamp"))
CONTAINERS = Column("Containers", _text(_container_names), True)
IMAGES = Column("Images", _text(_images), True)
READY_OF_SET = Column("Ready", _text(_set_ready))
POD_ADDRESS = field("status", "podIP", default=NONE)
POD_NODE = field("spec", "nodeName", default=NONE)
_STORAGE_CLASS = Column("StorageClass", field("spec", "storageClassName"))
_ATTRIBUTES = Column("VolumeAttributesClass", field("spec", "volumeAttributesClassName", default=UNSET))
_MODE = Column("VolumeMode", field("spec", "volumeMode", default=UNSET), True)


def _counted(header: str, *path: str) -> Column:
    return Column(header, count(*path), type=INTEGER)


_POD = (
    _NAME,
    Column("Ready", _text(pod_ready)),
    Column("Status", _text(pod_status)),
    Column("Restarts", pod_restarts),
    AGE,
    Column("IP", POD_ADDRESS, True),
    Column("Node", POD_NODE, True),
    Column("Nominated Node", field("status", "nominatedNodeName", default=NONE), True),
    Column("Readiness Gates", _text(readiness_gates), True),
)
_DAEMON_SET = (
    _NAME,
    _counted("Desired", "status", "desiredNumberScheduled"),
    _counted("Current", "status", "currentNumberScheduled"),
    _counted("Ready", "status", "numberReady"),
    _counted("Up-to-date", "status", "updatedNumberScheduled"),
    _counted("Available", "status", "numberAvailable"),
    Column("Node Selector", lambda obj, _: _joined(obj["spec"]["template"]["spec"].get("nodeSelector"))),
    AGE,
    CONTAINERS,
    IMAGES,
    Column("Selector", _text(_label_selector), True),
)
_NODE = (
    _NAME,
    Column("Status", _text(_node_status)),
    Column("Roles", _text(_roles)),
    AGE,
    Column("Version", field("status", "nodeInfo", "kubeletVersion")),
    Column("Internal-IP", _address("InternalIP"), True),
    Column("External-IP", _address("ExternalIP"), True),
    Column("OS-Image", field("status", "nodeInfo", "osImage", default=UNKNOWN), True),
    Column("Kernel-Version", field("status", "nodeInfo", "kernelVersion", default=UNKNOWN), True),
    Column(
        "Container-Runtime", field("status", "nodeInfo", "containerRuntimeVersion", default=UNKNOWN), True
    ),
)
_CLAIM = (
    _NAME,
    Column("Status", _text(_phase)),
    Column("Volume", field("spec", "volumeName")),
    Column("Capacity", _text(_claim_capacity)),
    Column("Access Modes", _text(_claim_modes)),
    _STORAGE_CLASS,
    _ATTRIBUTES,
    AGE,
    _MODE,
)
_VOLUME = (
    _NAME,
    Column("Capacity", field("spec", "capacity", "storage")),
    Column("Access Modes", lambda obj, _: _modes(obj["spec"].get("accessModes"))),
    Column("Reclaim Policy", field("spec", "persistentVolumeReclaimPolicy")),
    Column("Status", _text(_phase)),
    Column("Claim", _text(_claim_of)),
    _STORAGE_CLASS,
    _ATTRIBUTES,
    Column("Reason", field("status", "reason")),
    AGE,
    _MODE,
)
_SERVICE = (
    _NAME,
    Column("Type", field("spec", "type", default="ClusterIP")),
    Column("Cluster-IP", field("spec", "clusterIP", default=NONE)),
    Column("External-IP", _text(_external_address)),
    Column("Port(s)", _text(_ports)),
    AGE,
    Column("Selector", lambda obj, _: _joined(obj["spec"].get("selector")), True),
)
_EVENT = (
    Column("Last Seen", _seen(_last_seen)),
    Column("Type", field("type")),
    Column("Reason", field("reason")),
    Column("Object", _text(_involved)),
    Column("Subobject", field("involvedObject", "fieldPath"), True),
    Column("Source", _text(_source), True),
    Column("Message", lambda event, _: str(event.get("message", "")).strip()),
    Column("First Seen", _seen(_first_seen), True),
    Column("Count", _text(_times_seen), True, INTEGER),
    Column("Name", _text(name_of), True, format="name"),
)
_BINDING = (
    _NAME,
    Column("Role", _text(_bound_role)),
    AGE,
    Column("Users", _subjects("User"), True),
    Column("Groups", _subjects("Group"), True),
    Column("ServiceAccounts", _subjects("ServiceAccount"), True),
)

_COLUMNS: Mapping[str, Sequence[Column]] = {
    kinds.STATEFUL_SET.resource: (_NAME, READY_OF_SET, AGE, CONTAINERS, IMAGES),
    kinds.SCALED.resource: (
        _NAME,
        _counted("Desired", "spec", "replicas"),
        _counted("Available", "status", "replicas"),
        AGE,
    ),
    kinds.DAEMON_SET.resource: _DAEMON_SET,
    kinds.CONTROLLER_REVISION.resource: (
        _NAME,
        Column("Controller", _text(_controller)),
        _counted("Revision", "revision"),
        AGE,
    ),
    kinds.POD.resource: _POD,
    kinds.NODE.resource: _NODE,
    kinds.CLAIM.resource: _CLAIM,
    kinds.VOLUME.resource: _VOLUME,
    kinds.SERVICE.resource: _SERVICE,
    kinds.NAMESPACE.resource: (_NAME, Column("Status", _text(_phase)), AGE),
    kinds.CONFIG_MAP.resource: (_NAME, Column("Data", _text(_data)), AGE),
    kinds.SECRET.resource: (
        _NAME,
        Column("Type", field("type", default="Opaque")),
        Column("Data", _text(_data)),
        AGE,
    ),
    kinds.SERVICE_ACCOUNT.resource: (
        _NAME,
        Column("Secrets", lambda obj, _: len(obj.get("secrets") or ())),
        AGE,
    ),
    kinds.EVENT.resource: _EVENT,
    kinds.LEASE.resource: (_NAME, Column("Holder", field("spec", "holderIdentity")), AGE),
    kinds.ENDPOINTS.resource: (_NAME, Column("Endpoints", _text(_endpoints)), AGE),
    kinds.ENDPOINT_SLICE.resource: (
        _NAME,
        Column("AddressType", field("addressType")),
        Column("Ports", _text(_slice_ports)),
        Column("Endpoints", _text(_slice_addresses)),
        AGE,
    ),
    kinds.BUDGET.resource: (
        _NAME,
        Column("Min Available", field("spec", "minAvailable", default="N/A")),
        Column("Max Unavailable", field("spec", "maxUnavailable", default="N/A")),
        _counted("Allowed Disruptions", "status", "disruptionsAllowed"),
        AGE,
    ),
    kinds.STORAGE_CLASS.resource: (
        Column("Name", _text(_storage_class_name), format="name"),
        Column("Provisioner", field("provisioner")),
        Column("ReclaimPolicy", field("reclaimPolicy", default="Delete")),
        Column("VolumeBindingMode", field("volumeBindingMode", default="Immediate")),
        Column("AllowVolumeExpansion", _flag("allowVolumeExpansion")),
        AGE,
    ),
    kinds.PRIORITY_CLASS.resource: (
        _NAME,
        _counted("Value", "value"),
        Column("Global-Default", _flag("globalDefault"), type=BOOLEAN),
        AGE,
        Column("PreemptionPolicy", field("preemptionPolicy")),
    ),
    kinds.ROLE.resource: (_NAME, CREATED_AT),
    kinds.CLUSTER_ROLE.resource: (_NAME, CREATED_AT),
    kinds.ROLE_BINDING.resource: _BINDING,
    kinds.CLUSTER_ROLE_BINDING.resource: _BINDING,
}
