"""Whether an object, or a change of one, is valid: Kubernetes' rules, field paths and sentences.

Expects canonical objects (schemas.canonical), so that types are right and defaults applied. Answers with every cause
found, as a value; the edge raises `schemas.errors.Invalid` of them.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable

from schemas.budget_rules import budget_findings
from schemas.errors import Cause
from schemas.findings import (
    Findings,
    forbidden,
    immutable,
    invalid,
    item,
    named_badly,
    negative,
    not_among,
    repeated,
    required,
)
from schemas.metadata_rules import (
    label_findings,
    metadata_findings,
    metadata_update_findings,
)
from schemas.names import config_key_problems, dns_label_problems, port_name_problems
from schemas.objects import Object, kind_of
from schemas.patching import strictly_equal
from schemas.pod_rules import pod_spec_findings, pod_update_findings, port_number_findings, taint_findings
from schemas.rbac_rules import binding_update_findings, cluster_role_binding_findings, role_binding_findings
from schemas.storage_rules import (
    claim_findings,
    claim_update_findings,
    storage_class_findings,
    storage_class_update_findings,
    volume_findings,
    volume_update_findings,
)
from schemas.workload_rules import (
    daemon_set_findings,
    daemon_set_update_findings,
    revision_findings,
    revision_update_findings,
    stateful_set_findings,
    stateful_set_update_findings,
)

_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_MAX_DATA = 1024 * 1024
_BESIDE = frozenset(("apiVersion", "kind", "metadata", "status"))
_RULES_OF_STATUS = ("PodDisruptionBudget",)
"""Kinds that have rules for their status."""


def validate_create(obj: Object) -> tuple[Cause, ...]:
    """Return everything that is wrong with a canonical object that is to be created; nothing if it is valid."""
    kind = kind_of(obj)
    rules = _RULES.get(kind.kind, _no_findings)
    return tuple(dict.fromkeys((*metadata_findings(obj, kind), *rules(obj))))


def validate_update(old: Object, new: Object) -> tuple[Cause, ...]:
    """Return everything that is wrong with `new` in place of the stored `old`, both canonical and of one kind.

    What is the same object in both, as the spec is where a status is written, was right when it was stored.
    """
    kind, found = kind_of(new), list[Cause]()
    if not strictly_equal(old["metadata"], new["metadata"]):
        found += [*metadata_update_findings(old, new), *metadata_findings(new, kind)]
    if kind.kind in _RULES_OF_STATUS or not _is_kept(old, new):
        found += _UPDATE_RULES.get(kind.kind, _no_update_findings)(old, new)
        found += _RULES.get(kind.kind, _no_findings)(new)
    return tuple(dict.fromkeys(found))


def _is_kept(old: Object, new: Object) -> bool:
    """Say whether nothing but the metadata and the status can differ."""
    return old.keys() - _BESIDE == new.keys() - _BESIDE and all(
        new[name] is old[name] for name in new.keys() - _BESIDE
    )


def _no_findings(_: Object) -> Findings:
    return iter(())


def _no_update_findings(_old: Object, _new: Object) -> Findings:
    return iter(())


def _pod_findings(obj: Object) -> Findings:
    yield from pod_spec_findings(obj.get("spec", {}), "spec")


def _node_findings(obj: Object) -> Findings:
    yield from taint_findings(obj.get("spec", {}).get("taints", []), "spec.taints")


def _service_findings(obj: Object) -> Findings:
    spec = obj.get("spec", {})
    ports, headless = spec.get("ports", []), spec.get("clusterIP") == "None"
    yield from not_among("spec.type", spec.get("type"), _SERVICE_TYPES)
    yield from not_among("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"))
    if not ports and not headless and spec.get("type") != "ExternalName":
        yield required("spec.ports")
    if headless and spec.get("type") in ("NodePort", "LoadBalancer"):
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {spec['type']} services")
    if spec.get("type") == "ExternalName" and not spec.get("externalName"):
        yield required("spec.externalName")
    yield from label_findings(spec.get("selector", {}), "spec.selector")
    yield from repeated("spec.ports", ((i, port.get("name", "")) for i, port in enumerate(ports)), "name")
    for index, port in enumerate(ports):
        yield from _service_port_findings(port, f"spec.ports[{index}]", len(ports) > 1)


def _service_port_findings(port: Object, where: str, needs_name: bool) -> Findings:
    if "name" in port:
        yield from named_badly(f"{where}.name", port["name"], dns_label_problems)
    elif needs_name:
        yield required(f"{where}.name")
    yield from port_number_findings(port["port"], f"{where}.port")
    yield from not_among(f"{where}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))
    target = port.get("targetPort")
    if isinstance(target, int):
        yield from port_number_findings(target, f"{where}.targetPort")
    elif target is not None:
        yield from named_badly(f"{where}.targetPort", target, port_name_problems)


def _service_update_findings(old: Object, new: Object) -> Findings:
    """A cluster IP stays, `None` included, except for and from an ExternalName."""
    before, after = old.get("spec", {}), new.get("spec", {})
    if "ExternalName" in (before.get("type"), after.get("type")) or "clusterIP" not in before:
        return
    if "clusterIP" not in after:
        yield invalid("spec.clusterIPs[0]", after.get("clusterIPs", []), "primary clusterIP can not be unset")
    elif after["clusterIP"] != before["clusterIP"]:
        yield invalid("spec.clusterIPs[0]", [after["clusterIP"]], "may not change once set")


def _config_map_findings(obj: Object) -> Findings:
    data, binary = obj.get("data", {}), obj.get("binaryData", {})
    for where, values in (("data", data), ("binaryData", binary)):
        for key in values:
            yield from named_badly(item(where, key), key, config_key_problems)
    for key in sorted(data.keys() & binary.keys()):
        yield invalid(item("data", key), key, "duplicate of key present in binaryData")
    yield from _base64_findings(binary, "binaryData")
    yield from _size_findings([*data.values(), *binary.values()])


def _secret_findings(obj: Object) -> Findings:
    data = obj.get("data", {})
    for key in data:
        yield from named_badly(item("data", key), key, config_key_problems)
    yield from _base64_findings(data, "data")
    yield from _size_findings(list(data.values()))


def _base64_findings(values: dict[str, str], where: str) -> Findings:
    for key, value in values.items():
        try:
            binascii.a2b_base64(value, strict_mode=True)
        except (binascii.Error, ValueError):
            yield Cause(
                item(where, key), "Invalid value: must be base64 (RFC 4648); use stringData for plain text"
            )


def _size_findings(values: list[str]) -> Findings:
    size = sum(len(value.encode()) for value in values)
    if size > _MAX_DATA:
        yield Cause(
            "data", f"Too long: {size} bytes; may not be more than {_MAX_DATA} bytes", "FieldValueTooLong"
        )


def _frozen_update_findings(old: Object, new: Object) -> Findings:
    """A ConfigMap or Secret that was made immutable stays as it is."""
    if not old.get("immutable"):
        return
    for field in ("immutable", "data", "binaryData"):
        if old.get(field) != new.get(field):
            yield forbidden(field, "field is immutable when `immutable` is set")


def _secret_update_findings(old: Object, new: Object) -> Findings:
    yield from immutable("type", old.get("type"), new.get("type"))
    yield from _frozen_update_findings(old, new)


def _lease_findings(obj: Object) -> Findings:
    spec = obj.get("spec", {})
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        yield invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
    yield from negative("spec.leaseTransitions", spec.get("leaseTransitions"))


def _event_findings(obj: Object) -> Findings:
    about = obj["involvedObject"].get("namespace", "")
    if obj["metadata"].get("namespace", "") != (about or "default"):
        yield invalid("involvedObject.namespace", about, "does not match event.namespace")


def _priority_class_update_findings(old: Object, new: Object) -> Findings:
    """What pods were given at their creation stays what the class says (ValidatePriorityClassUpdate)."""
    for field in ("value", "preemptionPolicy"):
        if old.get(field) != new.get(field):
            yield forbidden(field, "may not be changed in an update.")


_RULES: dict[str, Callable[[Object], Findings]] = {
    "StatefulSet": stateful_set_findings,
    "DaemonSet": daemon_set_findings,
    "ControllerRevision": revision_findings,
    "Pod": _pod_findings,
    "Node": _node_findings,
    "Service": _service_findings,
    "PersistentVolumeClaim": claim_findings,
    "PersistentVolume": volume_findings,
    "StorageClass": storage_class_findings,
    "ConfigMap": _config_map_findings,
    "Secret": _secret_findings,
    "Lease": _lease_findings,
    "Event": _event_findings,
    "PodDisruptionBudget": budget_findings,
    "RoleBinding": role_binding_findings,
    "ClusterRoleBinding": cluster_role_binding_findings,
}

_UPDATE_RULES: dict[str, Callable[[Object, Object], Findings]] = {
    "StatefulSet": stateful_set_update_findings,
    "DaemonSet": daemon_set_update_findings,
    "ControllerRevision": revision_update_findings,
    "Pod": pod_update_findings,
    "Service": _service_update_findings,
    "PersistentVolumeClaim": claim_update_findings,
    "PersistentVolume": volume_update_findings,
    "StorageClass": storage_class_update_findings,
    "ConfigMap": _frozen_update_findings,
    "Secret": _secret_update_findings,
    "RoleBinding": binding_update_findings,
    "ClusterRoleBinding": binding_update_findings,
    "PriorityClass": _priority_class_update_findings,
}
