"""What is asked of a write besides being valid: rules that look at other objects (plugin/pkg/admission).

Who decides a person's or a client's write asks here, on the command line as in the HTTP API. What is added to new pods
stands in events.admission, since controllers make pods too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from events.commit import Reader
from schemas.errors import Forbidden
from schemas.kinds import CLAIM, NAMESPACE, NODE, PRIORITY_CLASS, STORAGE_CLASS
from schemas.objects import Object, key_of, name_of
from schemas.storage import named_class, requested, with_default_class
from schemas.taints import NOT_READY

IMMORTAL = ("default", "kube-system", "kube-public")
"""Namespaces that are never deleted (namespace/lifecycle/admission.go)."""
SYSTEM_PRIORITIES: Mapping[str, int] = {
    "system-node-critical": 2_000_001_000,
    "system-cluster-critical": 2_000_000_000,
}
"""The priority classes that every cluster has (apis/scheduling/v1/helpers.go)."""
HIGHEST_PRIORITY = 1_000_000_000
"""Of priority classes that people make."""


def admitted(old: Object | None, new: Object, reader: Reader) -> Object:
    """Return the object as it is stored: completed by what is there. Raises Forbidden."""
    admit = _BY_KIND.get(new["kind"])
    return admit(old, new, reader) if admit else new


def check_deletion(obj: Object) -> None:
    """Raise Forbidden for what is never deleted."""
    if obj["kind"] == NAMESPACE.kind and name_of(obj) in IMMORTAL:
        raise Forbidden(f'namespaces "{name_of(obj)}" is forbidden: this namespace may not be deleted')
    if obj["kind"] == PRIORITY_CLASS.kind and name_of(obj) in SYSTEM_PRIORITIES:
        raise Forbidden(
            f'priorityclasses.scheduling.k8s.io "{name_of(obj)}" is forbidden: this is a system priority class and '
            "cannot be deleted"
        )


def _admitted_claim(old: Object | None, new: Object, reader: Reader) -> Object:
    """A new claim without a class gets the default one; one that grows must be able to."""
    if old is None:
        return with_default_class(new, reader.list(STORAGE_CLASS.resource))
    if requested(new) > requested(old):
        _check_growth(old, reader)
    return new


def _check_growth(claim: Object, reader: Reader) -> None:
    """Raise Forbidden where a claim cannot grow (storage/persistentvolume/resize/admission.go)."""
    subject = f'persistentvolumeclaims "{name_of(claim)}" is forbidden'
    if claim.get("status", {}).get("phase") != "Bound":
        raise Forbidden(f"{subject}: Only bound persistent volume claims can be expanded")
    class_name = named_class(claim)
    found = reader.get(key_of(STORAGE_CLASS.resource, "", class_name)) if class_name else None
    if found is None or not found.get("allowVolumeExpansion"):
        raise Forbidden(
            f"{subject}: only dynamically provisioned pvc can be resized and the storageclass that provisions "
            "the pvc must support resize"
        )


def _admitted_node(old: Object | None, new: Object, _reader: Reader) -> Object:
    """A new node takes no pods until it is known to be Ready (admission/nodetaint)."""
    taints = new.get("spec", {}).get("taints") or []
    is_tainted = any((each["key"], each["effect"]) == (NOT_READY, "NoSchedule") for each in taints)
    if old is not None or is_tainted:
        return new
    tainted = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]
    return {**new, "spec": {**new.get("spec", {}), "taints": tainted}}


def _admitted_priority_class(old: Object | None, new: Object, reader: Reader) -> Object:
    """Only one class is everybody's, and the highest priorities are the system's (admission/priority)."""
    name, value = name_of(new), int(new.get("value", 0))
    subject = f'priorityclasses.scheduling.k8s.io "{name}" is forbidden'
    is_reserved = value > HIGHEST_PRIORITY or name.startswith("system-")
    if old is None and is_reserved and SYSTEM_PRIORITIES.get(name) != value:
        raise Forbidden(
            f"{subject}: maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}, and names that "
            "begin with system- are reserved"
        )
    if new.get("globalDefault") and not (old or {}).get("globalDefault"):
        for each in reader.list(PRIORITY_CLASS.resource):
            if each.get("globalDefault") and name_of(each) != name:
                raise Forbidden(
                    f"{subject}: PriorityClass {name_of(each)} is already marked as default. Only one default can exist"
                )
    return new


_BY_KIND: Mapping[str, Callable[[Object | None, Object, Reader], Object]] = {
    CLAIM.kind: _admitted_claim,
    NODE.kind: _admitted_node,
    PRIORITY_CLASS.kind: _admitted_priority_class,
}
