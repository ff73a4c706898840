"""Graceful deletion: what a request to delete an object changes.

One place, because the command line, the API, controllers and garbage collection must not differ
(apiserver/pkg/registry/rest/delete.go, registry/generic/registry/store.go, registry/core/pod/strategy.go).
"""

from __future__ import annotations

from schemas.changes import Change, Delete, Replace
from schemas.kinds import NAMESPACE, POD
from schemas.objects import Object, has_ended, is_terminating, with_metadata
from schemas.times import Milliseconds, parse_rfc3339, rfc3339

BACKGROUND = "Background"
FOREGROUND = "Foreground"
ORPHAN = "Orphan"
"""Propagation policies: dependents go after the object, before it, or stay without owner."""

FOREGROUND_FINALIZER = "foregroundDeletion"
ORPHAN_FINALIZER = "orphan"
DATA_FINALIZER = "chronoset.dev/data"
"""Holds a PersistentVolume that is being deleted until its node's agent has removed the directory."""
_FINALIZER_OF = {FOREGROUND: FOREGROUND_FINALIZER, ORPHAN: ORPHAN_FINALIZER}
_DEFAULT_GRACE = 30


def deletion_of(
    obj: Object, now: Milliseconds, grace_seconds: int | None = None, propagation: str = BACKGROUND
) -> Change:
    """Return the change that a deletion of `obj` at `now` comes to.

    A pod that is bound and has not ended gets `grace_seconds` (its own terminationGracePeriodSeconds where
    None) to end, and is removed when its agent confirms; a namespace is only marked, and removed by garbage
    collection once it is empty; anything else goes at once. An object with finalizers, among them the one that
    `propagation` adds, is marked and stays until they are gone. An object that is being deleted already can
    only be given less time; where there is nothing to do, the Replace has equal sides.
    """
    finalizers = _finalizers_after(obj, propagation)
    grace = _grace_of(obj, grace_seconds)
    if not finalizers and not grace and obj["kind"] != NAMESPACE.kind:
        return Delete(obj)
    present = obj["metadata"].get("deletionGracePeriodSeconds", 0)
    deadline = now + grace * 1000
    if is_terminating(obj):
        grace = min(grace, present)
        deadline = parse_rfc3339(obj["metadata"]["deletionTimestamp"]) - (present - grace) * 1000
    marked = with_metadata(
        obj,
        deletionTimestamp=rfc3339(deadline),
        deletionGracePeriodSeconds=grace,
        finalizers=finalizers or None,
    )
    return Replace(obj, marked)


def _grace_of(obj: Object, asked: int | None) -> int:
    """Return the seconds that an object gets to end: 0 for all but pods (CheckGracefulDelete)."""
    if obj["kind"] != POD.kind:
        return 0
    spec = obj["spec"]
    if not spec.get("nodeName") or has_ended(obj):
        return 0
    if asked is None and is_terminating(obj):
        return int(obj["metadata"].get("deletionGracePeriodSeconds", 0))
    grace = int(spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE) if asked is None else asked)
    return grace if grace >= 0 else 1


def _finalizers_after(obj: Object, propagation: str) -> list[str]:
    """Return the finalizers with that of the policy, and without that of another."""
    kept = [each for each in obj["metadata"].get("finalizers", ()) if each not in _FINALIZER_OF.values()]
    required = _FINALIZER_OF.get(propagation)
    return [*kept, required] if required else kept
