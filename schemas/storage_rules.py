"""What is valid of storage classes, claims, volumes and host paths, and of a change of one.

(apis/storage/validation/validation.go; ValidatePersistentVolume* and validateHostPathVolumeSource of
apis/core/validation/validation.go)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.errors import Cause
from schemas.findings import (
    Findings,
    forbidden,
    immutable,
    invalid,
    named_badly,
    not_among,
    not_supported,
    repeated,
    required,
)
from schemas.metadata_rules import selector_findings
from schemas.names import dns_subdomain_problems, qualified_name_problems
from schemas.objects import Object
from schemas.quantities import compare_quantities, parse_quantity

HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_NO_SOURCE = frozenset(
    ("accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
     "storageClassName", "volumeAttributesClassName", "volumeMode")
)  # fmt: skip
_MOST_PARAMETERS, _LARGEST_PARAMETERS = 512, 256 * 1024


def storage_class_findings(obj: Object) -> Findings:
    """ValidateStorageClass."""
    provisioner = obj.get("provisioner", "")
    if not provisioner:
        yield required("provisioner")
    else:
        yield from named_badly("provisioner", provisioner.lower(), qualified_name_problems)
    yield from _parameter_findings(obj.get("parameters", {}))
    yield from not_among("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
    yield from not_among(
        "volumeBindingMode", obj.get("volumeBindingMode"), ("Immediate", "WaitForFirstConsumer")
    )
    for index, term in enumerate(obj.get("allowedTopologies", ())):
        yield from _topology_findings(term, f"allowedTopologies[{index}].matchLabelExpressions")


def storage_class_update_findings(old: Object, new: Object) -> Findings:
    """ValidateStorageClassUpdate: of a class only metadata, expansion, mount options and topologies may change."""
    for field in ("parameters", "provisioner", "reclaimPolicy"):
        if old.get(field) != new.get(field):
            yield forbidden(field, f"updates to {field} are forbidden.")
    yield from immutable("volumeBindingMode", old.get("volumeBindingMode"), new.get("volumeBindingMode"))


def host_path_findings(source: Object, where: str) -> Findings:
    """A host path has a path that does not climb, and a known type."""
    if not source.get("path"):
        yield required(f"{where}.path")
    yield from _climbing(f"{where}.path", source.get("path", ""))
    yield from not_among(f"{where}.type", source.get("type"), HOST_PATH_TYPES)


def _parameter_findings(parameters: dict[str, str]) -> Findings:
    if len(parameters) > _MOST_PARAMETERS:
        yield Cause("parameters", f"Too long: may not have more than {_MOST_PARAMETERS} entries", _TOO_LONG)
    if "" in parameters:
        yield invalid("parameters", "", "field can not be empty.")
    if sum(len(key) + len(value) for key, value in parameters.items()) > _LARGEST_PARAMETERS:
        yield Cause("parameters", f"Too long: may not be more than {_LARGEST_PARAMETERS} bytes", _TOO_LONG)


_TOO_LONG = "FieldValueTooLong"


def _topology_findings(term: Object, where: str) -> Findings:
    expressions = term.get("matchLabelExpressions", [])
    yield from repeated(where, ((index, each["key"]) for index, each in enumerate(expressions)), "key")
    for index, each in enumerate(expressions):
        at = f"{where}[{index}]"
        yield from named_badly(f"{at}.key", each["key"], qualified_name_problems)
        if not each.get("values"):
            yield required(f"{at}.values")
        yield from repeated(f"{at}.values", enumerate(each.get("values", ())))


def claim_findings(obj: Object) -> Findings:
    """ValidatePersistentVolumeClaimSpec."""
    spec = obj.get("spec", {})
    modes = spec.get("accessModes", [])
    if not modes:
        yield required("spec.accessModes", "at least 1 access mode is required")
    yield from _mode_findings(modes)
    yield from _class_name_findings(spec)
    yield from not_among("spec.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem"))
    if "selector" in spec:
        yield from selector_findings(spec["selector"], "spec.selector")
    storage = spec.get("resources", {}).get("requests", {}).get("storage")
    if storage is None:
        yield required("spec.resources[storage]")
    elif parse_quantity(storage).nanos <= 0:
        yield invalid("spec.resources[storage]", storage, "must be greater than zero")


def claim_update_findings(old: Object, new: Object) -> Findings:
    """Only the requested storage may grow, and an unbound claim may be bound (its volumeName set) once."""
    before, after = old.get("spec", {}), new.get("spec", {})
    mutable = {"resources", "volumeAttributesClassName"}
    if not before.get("volumeName"):
        mutable |= {"volumeName", "storageClassName"} if "storageClassName" not in before else {"volumeName"}
    if _without(before, mutable) != _without(after, mutable) or _other_resources(before) != _other_resources(
        after
    ):
        yield forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )
    was, now = (spec.get("resources", {}).get("requests", {}).get("storage", "0") for spec in (before, after))
    if compare_quantities(now, was) < 0:
        yield forbidden("spec.resources.requests.storage", "field can not be less than previous value")


def _other_resources(spec: Any) -> Any:
    return _without(spec.get("resources", {}), {"requests"})


def _without(part: Any, names: set[str]) -> Any:
    return {name: value for name, value in part.items() if name not in names}


def volume_findings(obj: Object) -> Findings:
    """ValidatePersistentVolumeSpec."""
    spec = obj.get("spec", {})
    if not spec.get("accessModes"):
        yield required("spec.accessModes")
    yield from _mode_findings(spec.get("accessModes", ()))
    yield from _class_name_findings(spec)
    yield from _capacity_findings(spec.get("capacity", {}))
    policies = ("Delete", "Recycle", "Retain")
    yield from not_among(
        "spec.persistentVolumeReclaimPolicy", spec.get("persistentVolumeReclaimPolicy"), policies
    )
    sources = sorted(spec.keys() - _NO_SOURCE)
    if not sources:
        yield required("spec", "must specify a volume type")
    for source in sources[1:]:
        yield forbidden(f"spec.{source}", "may not specify more than 1 volume type")
    yield from _source_findings(spec)


def _source_findings(spec: Object) -> Findings:
    if "nodeAffinity" in spec and not spec["nodeAffinity"].get("required"):
        yield required("spec.nodeAffinity.required", "must specify required node constraints")
    if "hostPath" in spec:
        yield from host_path_findings(spec["hostPath"], "spec.hostPath")
        if spec["hostPath"].get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            yield forbidden(
                "spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'"
            )
    if "local" in spec:
        if not spec["local"].get("path"):
            yield required("spec.local.path")
        yield from _climbing("spec.local.path", spec["local"].get("path", ""))
        if "nodeAffinity" not in spec:
            yield required("spec.nodeAffinity", "Local volume requires node affinity")


def _capacity_findings(capacity: Object) -> Findings:
    if not capacity:
        yield required("spec.capacity")
    elif capacity.keys() != {"storage"}:
        yield not_supported("spec.capacity", capacity, ("storage",))
    for name, amount in capacity.items():
        if parse_quantity(amount).nanos <= 0:
            yield invalid(f"spec.capacity[{name}]", amount, "must be greater than zero")


def _mode_findings(modes: Iterable[str]) -> Findings:
    """Access modes are known, and ReadWriteOncePod stands alone."""
    found = list(modes)
    for index, mode in enumerate(found):
        yield from not_among(f"spec.accessModes[{index}]", mode, _ACCESS_MODES)
    if "ReadWriteOncePod" in found and len(found) > 1:
        yield forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes")


def _class_name_findings(spec: Object) -> Findings:
    if spec.get("storageClassName"):
        yield from named_badly("spec.storageClassName", spec["storageClassName"], dns_subdomain_problems)


def _climbing(where: str, path: str) -> Findings:
    """Find a path that leads up (validatePathNoBacksteps)."""
    if ".." in path.split("/"):
        yield invalid(where, path, "must not contain '..'")


def volume_update_findings(old: Object, new: Object) -> Findings:
    """The source of a volume stays, and the nodes that reach it (ValidatePersistentVolumeUpdate)."""
    before, after = (_without(obj.get("spec", {}), set(_NO_SOURCE)) for obj in (old, new))
    if before != after:
        yield forbidden(
            "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"
        )
    yield from immutable("spec.volumeMode", old["spec"].get("volumeMode"), new["spec"].get("volumeMode"))
    affinity = old["spec"].get("nodeAffinity")
    if affinity is not None and affinity != new["spec"].get("nodeAffinity"):
        yield invalid(
            "spec.nodeAffinity",
            new["spec"].get("nodeAffinity"),
            "field is immutable, except for updating from beta label to GA",
        )
