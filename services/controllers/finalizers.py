"""Finalizers: what taking one away from an object comes to (registry/generic/registry/store.go)."""

from __future__ import annotations

from schemas.changes import Change, Delete, Replace
from schemas.objects import Object, is_terminating, with_metadata


def has_finalizer(obj: Object, finalizer: str) -> bool:
    return finalizer in (obj["metadata"].get("finalizers") or ())


def without_finalizer(obj: Object, finalizer: str) -> Change:
    """Return the change that takes `finalizer` away: the end of an object that only waited for this.

    A pod whose grace period runs stays until its agent confirms, a namespace until it is finalized.
    """
    finalizers = [each for each in obj["metadata"].get("finalizers") or () if each != finalizer]
    return finalized(obj, with_metadata(obj, finalizers=finalizers or None))


def finalized(old: Object, new: Object) -> Change:
    """Return the change from `old` to `new`: a Delete where nothing holds a terminating `new` any longer."""
    metadata = new["metadata"]
    is_held = (
        not is_terminating(new)
        or metadata.get("finalizers")
        or metadata.get("deletionGracePeriodSeconds")
        or (new["kind"] == "Namespace" and new.get("spec", {}).get("finalizers"))
    )
    return Replace(old, new) if is_held else Delete(old)
