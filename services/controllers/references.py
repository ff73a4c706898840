"""Owner references that controllers write."""

from __future__ import annotations

from schemas.objects import Object, name_of, uid_of


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
