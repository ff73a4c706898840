"""An object as `describe` tells it: fields, then sections, the last of which says who changed it and why. Pure.

The order is kubectl's, so that eyes find what they know. A Secret's values are never shown, only their sizes.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas import kinds
from schemas.envelopes import Event
from schemas.objects import (
    LAST_APPLIED,
    Object,
    controller_of,
    is_terminating,
    kind_of,
    labels_of,
    name_of,
    namespace_of,
)
from schemas.pod_columns import pod_status
from schemas.positions import Position, stream_id_of
from schemas.revisions import REVISION_LABEL
from schemas.storage import trouble_of
from schemas.times import Milliseconds
from services.cli.columns import Layout, Setting, in_order, table_of
from services.cli.described_pods import container_lines, volume_lines
from services.cli.paragraphs import Fields, Part, Section, as_text, fields_of, moment, pairs, words
from services.cli.printing import yaml_text
from services.cli.rollouts import history_table
from services.cli.tables import table

if TYPE_CHECKING:
    from services.projections.reader import Change


@dataclass(frozen=True, slots=True)
class Subject:
    """An object and what is known around it.

    pods       those it controls, that run on it, that it selects, or that use it
    changes    newest first; `causes` are the events that led to them, by their position
    counts     of a namespace: how many objects of each kind it holds
    """

    obj: Object
    now: Milliseconds
    waiting: str = ""
    pods: Sequence[Object] = ()
    revisions: Sequence[Object] = ()
    claims: Sequence[Object] = ()
    events: Sequence[Object] = ()
    counts: Sequence[tuple[str, int]] = ()
    changes: Sequence[Change] = ()
    causes: Mapping[Position, Event] = field(default_factory=dict)


Describer = Callable[[Subject], Sequence[Part]]


def description(subject: Subject) -> str:
    """Return the text that describes an object."""
    describe = _DESCRIBERS.get(kind_of(subject.obj).resource, _anything)
    return as_text(
        [*_metadata(subject), *describe(subject), *_conditions(subject), *_events(subject), _changes(subject)]
    )


def _metadata(subject: Subject) -> list[Part]:
    obj, metadata = subject.obj, subject.obj["metadata"]
    notes = {name: text for name, text in (metadata.get("annotations") or {}).items() if name != LAST_APPLIED}
    owner = controller_of(obj)
    return [
        ("Name", name_of(obj)),
        ("Namespace", namespace_of(obj)),
        ("UID", metadata.get("uid", "")),
        ("Created", moment(metadata.get("creationTimestamp", ""), subject.now)),
        ("Deleted", _deletion(obj, subject.now)),
        ("Finalizers", list(metadata.get("finalizers") or ())),
        ("Labels", pairs(labels_of(obj))),
        ("Annotations", pairs(notes)),
        ("Controlled By", f"{owner['kind']}/{owner['name']}" if owner else ""),
    ]


def _deletion(obj: Object, now: Milliseconds) -> str:
    if not is_terminating(obj):
        return ""
    metadata = obj["metadata"]
    grace = metadata.get("deletionGracePeriodSeconds", 0)
    return f"to be gone by {moment(metadata['deletionTimestamp'], now)}, grace {grace} s"


def _stateful_set(subject: Subject) -> list[Part]:
    spec, status = subject.obj["spec"], subject.obj.get("status") or {}
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    counts = {name: status.get(f"{name}Replicas", 0) for name in ("ready", "available", "current", "updated")}
    return [
        ("Selector", _selector_text(spec.get("selector") or {})),
        ("Service", spec.get("serviceName", "")),
        (
            "Replicas",
            f"{spec.get('replicas', 1)} desired, {status.get('replicas', 0)} there, " + _counted(counts),
        ),
        ("First Ordinal", str((spec.get("ordinals") or {}).get("start", 0) or "")),
        ("Pod Management", spec.get("podManagementPolicy", "OrderedReady")),
        ("Update Strategy", words((spec.get("updateStrategy") or {}).get("type", ""), *pairs(rolling, " "))),
        ("Min Ready", f"{spec['minReadySeconds']} s" if spec.get("minReadySeconds") else ""),
        ("Claim Retention", ", ".join(pairs(retention, " "))),
        ("Current Revision", status.get("currentRevision", "")),
        ("Update Revision", status.get("updateRevision", "")),
        ("Waiting For", subject.waiting or "nothing"),
        *_template(spec["template"]),
        _claim_templates(spec.get("volumeClaimTemplates") or ()),
        *_dependents(subject),
    ]


def _daemon_set(subject: Subject) -> list[Part]:
    spec, status = subject.obj["spec"], subject.obj.get("status") or {}
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    counts = {
        "desired": status.get("desiredNumberScheduled", 0),
        "there": status.get("currentNumberScheduled", 0),
        "ready": status.get("numberReady", 0),
        "available": status.get("numberAvailable", 0),
        "updated": status.get("updatedNumberScheduled", 0),
        "misscheduled": status.get("numberMisscheduled", 0),
    }
    return [
        ("Selector", _selector_text(spec.get("selector") or {})),
        ("Node Selector", pairs(spec["template"]["spec"].get("nodeSelector") or {})),
        ("Nodes", _counted(counts)),
        ("Update Strategy", words((spec.get("updateStrategy") or {}).get("type", ""), *pairs(rolling, " "))),
        ("Min Ready", f"{spec['minReadySeconds']} s" if spec.get("minReadySeconds") else ""),
        ("Waiting For", subject.waiting or "nothing"),
        *_template(spec["template"]),
        *_dependents(subject),
    ]


def _pod(subject: Subject) -> list[Part]:
    pod = subject.obj
    spec, status = pod["spec"], pod.get("status") or {}
    now = subject.now
    return [
        ("Revision", labels_of(pod).get(REVISION_LABEL, "")),
        ("Node", spec.get("nodeName", "") or "none yet"),
        ("Status", pod_status(pod)),
        ("Phase", words(status.get("phase", "Pending"), status.get("reason", ""))),
        ("Message", status.get("message", "")),
        ("IP", status.get("podIP", "")),
        ("Started", moment(status.get("startTime", ""), now)),
        ("Restart Policy", spec.get("restartPolicy", "")),
        ("Grace", f"{spec.get('terminationGracePeriodSeconds', 30)} s"),
        ("Node Selector", pairs(spec.get("nodeSelector") or {})),
        ("Tolerations", [_toleration(each) for each in spec.get("tolerations") or ()]),
        Section(
            "Init Containers",
            container_lines(spec.get("initContainers") or (), status.get("initContainerStatuses") or (), now),
        ),
        Section(
            "Containers", container_lines(spec["containers"], status.get("containerStatuses") or (), now)
        ),
        Section("Volumes", volume_lines(spec.get("volumes") or ())),
    ]


def _node(subject: Subject) -> list[Part]:
    spec, status = subject.obj["spec"], subject.obj.get("status") or {}
    allocatable = status.get("allocatable") or {}
    capacity = {name: str(amount) for name, amount in (status.get("capacity") or allocatable).items()}
    rows = [(name, amount, str(allocatable.get(name, ""))) for name, amount in sorted(capacity.items())]
    return [
        ("Taints", [_taint(each) for each in spec.get("taints") or ()]),
        ("Unschedulable", "true" if spec.get("unschedulable") else "false"),
        ("Addresses", [f"{each['type']} {each['address']}" for each in status.get("addresses") or ()]),
        ("System", pairs(_told(status.get("nodeInfo") or {}), " ")),
        Section("Resources", table(("NAME", "CAPACITY", "ALLOCATABLE"), rows).splitlines() if rows else ()),
        _pods(subject),
    ]


def _claim_waits(subject: Subject) -> str:
    """Return what holds a claim up (pv_controller.go, WaitForFirstConsumer); empty where it is as it should be."""
    claim = subject.obj
    if (trouble := trouble_of(claim)) or claim["spec"].get("volumeName"):
        return trouble
    if subject.pods:
        return f"waiting for pod {name_of(in_order(subject.pods)[0])} to be scheduled"
    return "waiting for first consumer to be created before binding"


def _claim(subject: Subject) -> list[Part]:
    spec, status = subject.obj["spec"], subject.obj.get("status") or {}
    return [
        ("Status", status.get("phase", "Pending")),
        ("Storage Class", spec.get("storageClassName", "")),
        ("Requested", _storage((spec.get("resources") or {}).get("requests"))),
        ("Capacity", _storage(status.get("capacity"))),
        ("Access Modes", ", ".join(spec.get("accessModes") or ())),
        ("Volume", spec.get("volumeName", "") or "none yet"),
        ("Waiting For", _claim_waits(subject)),
        ("Used By", [name_of(pod) for pod in in_order(subject.pods)] or "no pod"),
    ]


def _volume(subject: Subject) -> list[Part]:
    spec, status = subject.obj["spec"], subject.obj.get("status") or {}
    claim = spec.get("claimRef") or {}
    return [
        ("Status", words(status.get("phase", ""), status.get("reason", ""))),
        ("Message", status.get("message", "")),
        ("Claim", f"{claim.get('namespace', '')}/{claim['name']}" if claim else "none"),
        ("Storage Class", spec.get("storageClassName", "")),
        ("Reclaim Policy", spec.get("persistentVolumeReclaimPolicy", "")),
        ("Capacity", _storage(spec.get("capacity"))),
        ("Access Modes", ", ".join(spec.get("accessModes") or ())),
        (
            "Source",
            [
                f"{name} {spec[name].get('path', '')}".rstrip()
                for name in ("local", "hostPath", "csi", "nfs")
                if name in spec
            ],
        ),
        Section(
            "Node Affinity", yaml_text(spec["nodeAffinity"]).splitlines() if spec.get("nodeAffinity") else ()
        ),
    ]


def _revision(subject: Subject) -> list[Part]:
    obj = subject.obj
    template = ((obj.get("data") or {}).get("spec") or {}).get("template")
    return [("Revision", str(obj.get("revision", ""))), *(_template(template) if template else ())]


def _service(subject: Subject) -> list[Part]:
    spec = subject.obj["spec"]
    ports = [
        words(
            each.get("name", ""),
            f"{each['port']}/{each.get('protocol', 'TCP')}",
            f"to {each.get('targetPort', each['port'])}",
        )
        for each in spec.get("ports") or ()
    ]
    return [
        ("Type", spec.get("type", "ClusterIP")),
        ("Cluster IP", spec.get("clusterIP", "")),
        ("Ports", ports),
        ("Selector", pairs(spec.get("selector") or {})),
        (
            "Publishes",
            "also pods that are not ready" if spec.get("publishNotReadyAddresses") else "ready pods",
        ),
        _pods(subject),
    ]


def _namespace(subject: Subject) -> list[Part]:
    rows = [f"{name} {count}" for name, count in subject.counts if count]
    return [("Status", (subject.obj.get("status") or {}).get("phase", "")), ("Holds", rows or "nothing")]


def _config_map(subject: Subject) -> list[Part]:
    obj, lines = subject.obj, list[str]()
    for name, text in sorted((obj.get("data") or {}).items()):
        lines += [f"{name}:", *(f"  {line}" for line in str(text).splitlines())]
    lines += [f"{name}: {_size(text)}" for name, text in sorted((obj.get("binaryData") or {}).items())]
    return [("Immutable", "yes" if obj.get("immutable") else ""), Section("Data", lines or ["none"])]


def _secret(subject: Subject) -> list[Part]:
    obj = subject.obj
    sizes: list[Part] = [(name, _size(text)) for name, text in sorted((obj.get("data") or {}).items())]
    return [
        ("Type", obj.get("type", "Opaque")),
        ("Immutable", "yes" if obj.get("immutable") else ""),
        Section("Data", as_text(sizes).splitlines() if sizes else ["none"]),
    ]


def _anything(subject: Subject) -> list[Part]:
    rest = {
        name: part for name, part in subject.obj.items() if name not in ("apiVersion", "kind", "metadata")
    }
    return [
        Section(name[:1].upper() + name[1:], yaml_text(part).splitlines())
        for name, part in rest.items()
        if part
    ]


_DESCRIBERS: Mapping[str, Describer] = {
    kinds.STATEFUL_SET.resource: _stateful_set,
    kinds.DAEMON_SET.resource: _daemon_set,
    kinds.POD.resource: _pod,
    kinds.NODE.resource: _node,
    kinds.CLAIM.resource: _claim,
    kinds.VOLUME.resource: _volume,
    kinds.CONTROLLER_REVISION.resource: _revision,
    kinds.SERVICE.resource: _service,
    kinds.NAMESPACE.resource: _namespace,
    kinds.CONFIG_MAP.resource: _config_map,
    kinds.SECRET.resource: _secret,
}


def _template(template: Object) -> list[Part]:
    spec, metadata = template["spec"], template.get("metadata") or {}
    top: Fields = [
        ("Labels", pairs(metadata.get("labels") or {})),
        ("Annotations", pairs(metadata.get("annotations") or {})),
    ]
    lines = [*fields_of(top), *volume_lines(spec.get("volumes") or ())]
    for heading, name in (("Init Containers", "initContainers"), ("Containers", "containers")):
        if spec.get(name):
            lines += [f"{heading}:", *(f"  {line}" for line in container_lines(spec[name], (), 0))]
    return [Section("Pod Template", lines)]


def _claim_templates(templates: Sequence[Object]) -> Section:
    rows = [
        (
            name_of(each),
            each["spec"].get("storageClassName", ""),
            _storage((each["spec"].get("resources") or {}).get("requests")),
            ", ".join(each["spec"].get("accessModes") or ()),
        )
        for each in templates
    ]
    header = ("NAME", "STORAGECLASS", "REQUESTED", "ACCESS MODES")
    return Section("Claim Templates", table(header, rows).splitlines() if rows else ())


def _dependents(subject: Subject) -> list[Part]:
    claims = _table(kinds.CLAIM, subject.claims, subject)
    revisions = history_table(subject.obj, list(subject.revisions), subject.now).splitlines()
    return [
        _pods(subject),
        Section("Claims", claims),
        Section("Revisions", revisions if subject.revisions else ()),
    ]


def _pods(subject: Subject) -> Section:
    """Return the pods as a table; with their namespaces where the object has none."""
    spans = not namespace_of(subject.obj)
    rows = [
        (
            *((namespace_of(pod),) if spans else ()),
            name_of(pod),
            pod_status(pod),
            labels_of(pod).get(REVISION_LABEL, ""),
            (pod.get("status") or {}).get("podIP", ""),
            pod["spec"].get("nodeName", ""),
            moment(pod["metadata"].get("creationTimestamp", ""), subject.now),
        )
        for pod in in_order(subject.pods)
    ]
    header = (*(("NAMESPACE",) if spans else ()), "NAME", "STATUS", "REVISION", "IP", "NODE", "CREATED")
    lines = table(header, rows).splitlines()
    return Section("Pods", lines if rows else ["none"])


def _table(kind: kinds.Kind, objects: Sequence[Object], subject: Subject) -> Sequence[str]:
    return table_of(kind, objects, Setting(subject.now), Layout()).splitlines() if objects else ()


def _conditions(subject: Subject) -> list[Part]:
    rows = [
        (
            each["type"],
            each["status"],
            moment(each.get("lastTransitionTime", ""), subject.now),
            each.get("reason", ""),
            each.get("message", ""),
        )
        for each in (subject.obj.get("status") or {}).get("conditions") or ()
    ]
    lines = table(("TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"), rows).splitlines()
    return [Section("Conditions", lines if rows else ())]


def _events(subject: Subject) -> list[Part]:
    return [Section("Events", _table(kinds.EVENT, subject.events, subject))]


def _changes(subject: Subject) -> Section:
    rows = [
        (
            moment(each.time, subject.now),
            stream_id_of(each.position),
            each.type,
            f"{each.claim} ({each.actor})" if each.claim else each.actor,
            _reason(each, subject.causes),
        )
        for each in subject.changes
    ]
    lines = table(("TIME", "POSITION", "CHANGE", "BY", "BECAUSE OF"), rows).splitlines()
    return Section("Changes", lines if rows else ["not known any more"])


def _reason(change: Change, causes: Mapping[Position, Event]) -> str:
    if not change.cause:
        return ""
    cause, position = causes.get(change.cause), stream_id_of(change.cause)
    return f"{cause.type} of {cause.key} ({position})" if cause else position


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _selector_text(selector: Object) -> list[str]:
    expressions = [
        words(each["key"], each["operator"], ",".join(each.get("values") or ()))
        for each in selector.get("matchExpressions") or ()
    ]
    return [*pairs(selector.get("matchLabels") or {}), *expressions]


def _toleration(each: Object) -> str:
    value = f"={each['value']}" if each.get("value") else ""
    seconds = f"for {each['tolerationSeconds']} s" if "tolerationSeconds" in each else ""
    return words(
        f"{each.get('key', '') or '*'}{value}",
        each.get("operator", "Equal"),
        each.get("effect", "every effect"),
        seconds,
    )


def _taint(each: Object) -> str:
    value = f"={each['value']}" if each.get("value") else ""
    return f"{each['key']}{value}:{each['effect']}"


def _told(values: Object) -> Object:
    return {name: value for name, value in values.items() if value != ""}


def _storage(amounts: Object | None) -> str:
    return str((amounts or {}).get("storage", ""))


def _size(encoded: object) -> str:
    """Return how many bytes a base64 text stands for; nothing of what they are."""
    try:
        return f"{len(b64decode(str(encoded), validate=True))} bytes"
    except (Error, ValueError):
        return "sealed: its key is not here"
