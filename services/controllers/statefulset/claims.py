"""The claims of a set's pods: named for their ordinal, created with its pod, kept when the pod goes.

(getPersistentVolumeClaims in stateful_set_utils.go, createPersistentVolumeClaims in stateful_pod_control.go)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from schemas.kinds import CLAIM
from schemas.objects import Object
from schemas.views import ClaimView, StatefulSetView
from services.controllers.references import controller_reference


def claim_name(set_name: str, template: Object, ordinal: int) -> str:
    """Return the name of the claim that a template gives to an ordinal: `data-db-0`."""
    return f"{template['metadata']['name']}-{set_name}-{ordinal}"


def claim_names(owner: StatefulSetView, ordinal: int) -> list[str]:
    return [f"{stem}{ordinal}" for stem in claim_stems(owner)]


def claim_stems(owner: StatefulSetView) -> list[str]:
    """Return what the names of the claims of each template begin with: `data-db-`."""
    return [f"{template['metadata']['name']}-{owner.name}-" for template in owner.claim_templates]


def missing_claims(
    owner: StatefulSetView, ordinal: int, present: Mapping[str, ClaimView]
) -> Iterator[Object]:
    """Yield the claims that an ordinal lacks; existing ones are used as they are."""
    for template in owner.claim_templates:
        name = claim_name(owner.name, template, ordinal)
        if name not in present:
            yield _claim(owner, template, name)


def present_claims(
    owner: StatefulSetView, ordinal: int, present: Mapping[str, ClaimView]
) -> Iterator[Object]:
    """Yield the claims that an ordinal has."""
    return (present[name].raw for name in claim_names(owner, ordinal) if name in present)


def blocking_claim(owner: StatefulSetView, ordinal: int, present: Mapping[str, ClaimView]) -> str:
    """Return the name of an ordinal's claim that is being deleted, upon which no pod may be built; empty if none."""
    for name in claim_names(owner, ordinal):
        if name in present and present[name].is_terminating:
            return name
    return ""


def sets_of_claim(name: str) -> Iterator[tuple[str, str]]:
    """Yield (template name, set name) for every way to read a claim's name `<template>-<set>-<ordinal>`."""
    stem, _, ordinal = name.rpartition("-")
    if not ordinal.isdigit():
        return
    for index, character in enumerate(stem):
        if character == "-" and 0 < index < len(stem) - 1:
            yield stem[:index], stem[index + 1 :]


def _claim(owner: StatefulSetView, template: Object, name: str) -> Object:
    metadata = template["metadata"]
    matched = (owner.selector or {}).get("matchLabels", {})
    return {
        "apiVersion": CLAIM.api_version,
        "kind": CLAIM.kind,
        "metadata": {
            **({"annotations": metadata["annotations"]} if "annotations" in metadata else {}),
            "name": name,
            "namespace": owner.namespace,
            "labels": {**metadata.get("labels", {}), **matched},
            **(
                {"ownerReferences": [controller_reference(owner.raw)]}
                if owner.deletes_claims_when_deleted
                else {}
            ),
        },
        "spec": template["spec"],
        "status": {"phase": "Pending"},
    }
