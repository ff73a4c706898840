"""Claims, volumes and storage classes: the questions that everybody asks of them.

One place, because the scheduler, the controller of volumes, StatefulSets and commands must not differ
(component-helpers/storage/volume, pkg/volume/util).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from schemas.kinds import CLAIM, VOLUME
from schemas.objects import Object, is_terminating, name_of, namespace_of, uid_of
from schemas.quantities import parse_quantity

PROVISIONER = "chronoset.dev/local"
"""Makes volumes as directories of a node; the only provisioner there is."""
NO_PROVISIONER = "kubernetes.io/no-provisioner"
"""Says that volumes of a class are made by people."""
LOCAL_CLASS = "local"
"""The default class that a cluster begins with."""
IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_IS_DEFAULT_BETA = "storageclass.beta.kubernetes.io/is-default-class"
_CLASS_BETA = "volume.beta.kubernetes.io/storage-class"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
HOSTNAME = "kubernetes.io/hostname"
STORAGE = "chronoset.dev/volumes"
"""A node's resource: how much its volumes may hold together. A node that does not report it has no limit."""

OPEN_CLAIMS = "claims/open"
UNCLAIMED_VOLUMES = "volumes/unclaimed"


class Trouble(NamedTuple):
    """Why a claim stays as it is: Kubernetes' reason, and its sentence."""

    reason: str
    message: str


def default_class(classes: Iterable[Object]) -> Object | None:
    """Return the default class: the newest that is marked, by name among equals (pkg/volume/util/storageclass.go)."""
    marked = sorted((each for each in classes if is_default(each)), key=name_of)
    return max(marked, key=lambda each: str(each["metadata"].get("creationTimestamp", "")), default=None)


def named_class(obj: Object) -> str | None:
    """Return the class that a claim or volume names, "" where it wants none; None where it says nothing."""
    beta = (obj["metadata"].get("annotations") or {}).get(_CLASS_BETA)
    name = beta if beta is not None else obj["spec"].get("storageClassName")
    return None if name is None else str(name)


def with_default_class(claim: Object, classes: Iterable[Object]) -> Object:
    """Return a claim that says nothing of a class with the default one, if there is (admission DefaultStorageClass)."""
    if named_class(claim) is not None:
        return claim
    found = default_class(classes)
    if found is None:
        return claim
    return {**claim, "spec": {**claim["spec"], "storageClassName": name_of(found)}}


def waits_for_consumer(storage_class: Object | None) -> bool:
    """True if claims of the class are bound when their first pod is placed."""
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def requested(claim: Object) -> int:
    """Return the bytes that a claim asks for."""
    return _bytes_in((claim["spec"].get("resources") or {}).get("requests"))


def granted(claim: Object) -> int:
    """Return the bytes that a claim has."""
    return _bytes_in(claim.get("status", {}).get("capacity"))


def capacity_of(volume: Object) -> int:
    """Return the bytes that a volume is for."""
    return _bytes_in(volume["spec"].get("capacity"))


def is_grown(claim: Object) -> bool:
    """True if a bound claim asks for more than it has."""
    return claim.get("status", {}).get("phase") == "Bound" and requested(claim) > granted(claim) > 0


def is_ours(volume: Object) -> bool:
    """True if the volume was made here, as a directory of a node."""
    annotations = volume["metadata"].get("annotations") or {}
    return annotations.get(PROVISIONED_BY) == PROVISIONER and bool(volume["spec"].get("local"))


def host_of(volume: Object) -> str:
    """Return what the only node of a volume of ours is called: its hostname label, or else its name."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for part in ("matchExpressions", "matchFields"):
            for each in term.get(part) or ():
                if each.get("key") in (HOSTNAME, "metadata.name") and each.get("values"):
                    return str(each["values"][0])
    return ""


def volumes_at(host: str) -> str:
    """Return the mark of the volumes that take room on a host."""
    return f"volumes/at/{host}"


def marks_of(obj: Object) -> Iterator[str]:
    """Yield what a State finds this claim or volume by.

    OPEN_CLAIMS are the claims that are not bound, or have grown; UNCLAIMED_VOLUMES the volumes that a claim could
    still get; `volumes_at(host)` the volumes of ours whose directories are, or may still be, on that host's disk.
    """
    match obj["kind"]:
        case CLAIM.kind:
            if obj.get("status", {}).get("phase") != "Bound" or is_grown(obj):
                yield OPEN_CLAIMS
        case VOLUME.kind:
            if not (obj["spec"].get("claimRef") or {}).get("uid"):
                yield UNCLAIMED_VOLUMES
            if is_ours(obj):
                yield volumes_at(host_of(obj))


def provisioning_trouble(claim: Object, storage_class: Object) -> Trouble | None:
    """Return why no volume is made for a claim of this class by us; None where one can be.

    Another provisioner is waited for (pv_controller.go ExternalProvisioning), what it makes is bound like any volume.
    """
    provisioner = storage_class.get("provisioner", "")
    if provisioner == NO_PROVISIONER:
        return Trouble("ProvisioningFailed", f'no volume plugin matched name: "{NO_PROVISIONER}"')
    if provisioner != PROVISIONER:
        return Trouble(
            "ExternalProvisioning",
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by "
            "the system administrator. If volume creation is delayed, please verify that the provisioner is running "
            "and correctly registered.",
        )
    if claim["spec"].get("selector"):
        return Trouble("ProvisioningFailed", "claim Selector is not supported")
    if claim["spec"].get("volumeMode") == "Block":
        return Trouble("ProvisioningFailed", f"{PROVISIONER} does not support block volume provisioning")
    if requested(claim) <= 0:
        return Trouble("ProvisioningFailed", "spec.resources[storage]: must be greater than zero")
    return None


def trouble_of(claim: Object) -> str:
    """Return the sentence that says why a claim is not bound, or does not grow; empty where nothing is said."""
    for each in claim.get("status", {}).get("conditions") or ():
        if each["type"] in ("Bound", "ControllerResizeError"):
            return str(each.get("message", ""))
    return ""


def no_class(name: str) -> Trouble:
    """Return what is said of a claim whose class does not exist."""
    return Trouble("ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found')


def mismatch(volume: Object, claim: Object, wanted_class: str) -> str:
    """Return why a volume does not do for a claim that names it (pv_controller.go checkVolumeSatisfyClaim)."""
    if capacity_of(volume) < requested(claim):
        return "requested PV is too small"
    if (named_class(volume) or "") != wanted_class:
        return "storageClassName does not match"
    if not _is_mode_equal(volume, claim):
        return "incompatible volumeMode"
    if not _has_modes(volume, claim):
        return "incompatible accessMode"
    return ""


def is_claimed_by(volume: Object, claim: Object) -> bool:
    """True if the volume is reserved for, or bound to, this very claim (IsVolumeBoundToClaim)."""
    reference = volume["spec"].get("claimRef") or {}
    return (
        bool(reference)
        and (reference.get("namespace"), reference.get("name")) == (namespace_of(claim), name_of(claim))
        and reference.get("uid", "") in ("", uid_of(claim))
    )


def could_hold(volume: Object, claim: Object) -> bool:
    """True if a volume that is not this claim's yet is free and large enough; the claim's selector is not looked at."""
    if is_terminating(volume) or capacity_of(volume) < requested(claim) or not _is_mode_equal(volume, claim):
        return False
    if volume["spec"].get("claimRef"):
        return is_claimed_by(volume, claim)
    return (
        volume.get("status", {}).get("phase") == "Available"
        and (named_class(volume) or "") == (named_class(claim) or "")
        and _has_modes(volume, claim)
    )


def is_default(storage_class: Object) -> bool:
    annotations = storage_class["metadata"].get("annotations") or {}
    return "true" in (annotations.get(IS_DEFAULT), annotations.get(_IS_DEFAULT_BETA))


def _is_mode_equal(volume: Object, claim: Object) -> bool:
    return bool(
        volume["spec"].get("volumeMode", "Filesystem") == claim["spec"].get("volumeMode", "Filesystem")
    )


def _has_modes(volume: Object, claim: Object) -> bool:
    return set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ())


def _bytes_in(resources: Object | None) -> int:
    try:
        return parse_quantity((resources or {}).get("storage", 0)).rounded_up()
    except ValueError:
        return 0
