"""Owner references that controllers write."""

from __future__ import annotations

from schemas.objects import Object, name_of, uid_of, with_metadata


def controller_reference(owner: Object) -> Object:
    """Return the reference by which an object belongs to its controller (metav1.NewControllerRef)."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def released(obj: Object, owner: Object) -> Object:
    """Return an object without its reference to an owner."""
    references = [each for each in obj["metadata"]["ownerReferences"] if each["uid"] != uid_of(owner)]
    return with_metadata(obj, ownerReferences=references or None)
