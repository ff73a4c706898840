"""Whom a claim goes with: persistentVolumeClaimRetentionPolicy, written as owner references.

The controller never deletes a claim. It says who owns it, and garbage collection does the rest: with whenDeleted the
set owns the claims of its replicas, with whenScaled a condemned pod owns its own, from before it is deleted
(isClaimOwnerUpToDate, updateClaimOwnerRefForSetAndPod in stateful_set_utils.go).
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.objects import Object, name_of, uid_of, with_metadata
from schemas.views import ClaimView, StatefulSetView
from services.controllers.references import controller_reference
from services.controllers.statefulset.claims import claim_names


def is_kept_as_it_should(owner: StatefulSetView, claim: Object) -> bool:
    """True if a replica's claim has the one owner, or none, that the policy gives it: there is nothing to look into."""
    references = claim["metadata"].get("ownerReferences")
    if not owner.deletes_claims_when_deleted:
        return not references
    return bool(
        references
        and len(references) == 1
        and references[0]["uid"] == owner.uid
        and references[0].get("controller")
    )


def with_retention(owner: StatefulSetView, claim: Object, pod: Object, is_condemned: bool) -> Object:
    """Return a claim of `pod` with the owner that the policy gives it; the same object where it has it already.

    `pod` may be one that is only about to be created, without a uid. A claim that refers to a set or pod of the
    same name and another uid is garbage collection's, and stays as it is. Where somebody else is the claim's
    controller, the set and the pod step back.
    """
    references = claim["metadata"].get("ownerReferences") or []
    wanted = _wanted_reference(owner, pod, is_condemned)
    if not references and wanted is None:
        return claim
    ours = [each for each in references if _names(each, owner.raw) or _names(each, pod)]
    if any(each["uid"] not in (owner.uid, uid_of(pod)) for each in ours):
        return claim
    others = [each for each in references if each not in ours]
    if _has_policy(owner) and any(each.get("controller") for each in others):
        wanted = None
    if _is_right(ours, wanted):
        return claim
    kept = [*others, wanted] if wanted else others
    return with_metadata(claim, ownerReferences=kept or None)


def stale_claim(owner: StatefulSetView, ordinal: int, pod_name: str, present: Mapping[str, ClaimView]) -> str:
    """Return the claim of an ordinal without a pod that goes with its former pod; empty if none (PodClaimIsStale)."""
    if not owner.deletes_claims_when_scaled:
        return ""
    for name in claim_names(owner, ordinal):
        references = present[name].raw["metadata"].get("ownerReferences") or () if name in present else ()
        if any(each["kind"] == "Pod" and each["name"] == pod_name for each in references):
            return name
    return ""


def _wanted_reference(owner: StatefulSetView, pod: Object, is_condemned: bool) -> Object | None:
    if is_condemned and owner.deletes_claims_when_scaled:
        return controller_reference(pod)
    return controller_reference(owner.raw) if owner.deletes_claims_when_deleted else None


def _is_right(ours: list[Object], wanted: Object | None) -> bool:
    if wanted is None:
        return not ours
    return [(each["uid"], bool(each.get("controller"))) for each in ours] == [(wanted["uid"], True)]


def _has_policy(owner: StatefulSetView) -> bool:
    return owner.deletes_claims_when_deleted or owner.deletes_claims_when_scaled


def _names(reference: Object, obj: Object) -> bool:
    """True if a reference names an object by kind and name, whatever its uid (matchesRef)."""
    return (reference["apiVersion"], reference["kind"], reference["name"]) == (
        obj["apiVersion"],
        obj["kind"],
        name_of(obj),
    )
