"""What is asked of a write besides being valid: rules that look at other objects (plugin/pkg/admission).

Who decides a person's or a client's write asks here, after validation.
"""

from __future__ import annotations

from events.commit import Reader
from schemas.errors import Forbidden
from schemas.kinds import CLAIM, STORAGE_CLASS
from schemas.objects import Object, key_of, name_of
from schemas.storage import named_class, requested, with_default_class


def admitted(old: Object | None, new: Object, reader: Reader) -> Object:
    """Return the object as it is stored: a new claim without a class gets the default one. Raises Forbidden."""
    if new["kind"] != CLAIM.kind:
        return new
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
