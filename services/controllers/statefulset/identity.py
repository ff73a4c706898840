"""The identity of a set's pods: names, ordinals, labels, hostnames, and a pod built from a revision's
template.

Identity is what survives a pod: `db-1` is the same member before and after it is replaced
(pkg/controller/statefulset/stateful_set_utils.go).
"""

from __future__ import annotations

from schemas.defaults import pod_defaults
from schemas.kinds import POD
from schemas.objects import Object, labels_of, with_metadata
from schemas.revisions import REVISION_LABEL
from schemas.views import PodView, StatefulSetView
from services.controllers.references import controller_reference
from services.controllers.statefulset.claims import claim_name

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
_LARGEST = 2**31 - 1


def pod_name(set_name: str, ordinal: int) -> str:
    return f"{set_name}-{ordinal}"


def set_name_of(name: str) -> str:
    """Return the name of the set that a pod of this name could belong to: all before the last dash."""
    return name.rpartition("-")[0]


def ordinal_of(set_name: str, name: str) -> int | None:
    """Return the ordinal that a pod's name says, or None if it is no name that the set would give.

    Kubernetes reads `db-01` as ordinal 1 too, and so may see two pods of one ordinal; we do not.
    """
    prefix, _, digits = name.rpartition("-")
    if prefix != set_name or not (digits.isascii() and digits.isdigit()):
        return None
    ordinal = int(digits)
    return ordinal if str(ordinal) == digits and ordinal <= _LARGEST else None


def prototype_of(template: Object) -> Object:
    """Return a template as its pods have it: with the defaults that only pods have (SetDefaults_Pod)."""
    return {**template, "spec": pod_defaults({"spec": template["spec"]})["spec"]}


def new_pod(owner: StatefulSetView, ordinal: int, revision: str, template: Object) -> Object:
    """Return the pod of an ordinal at a revision (newStatefulSetPod, initIdentity, updateStorage)."""
    name = pod_name(owner.name, ordinal)
    metadata = template.get("metadata", {})
    spec = {**template["spec"], "hostname": name}
    if owner.service_name:
        spec["subdomain"] = owner.service_name
    if volumes := _volumes(owner, ordinal, spec.get("volumes", ())):
        spec["volumes"] = volumes
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {
            **{field: metadata[field] for field in ("annotations", "finalizers") if field in metadata},
            "name": name,
            "generateName": f"{owner.name}-",
            "namespace": owner.namespace,
            "labels": {
                **metadata.get("labels", {}),
                **_identity_labels(name, ordinal),
                REVISION_LABEL: revision,
            },
            "ownerReferences": [controller_reference(owner.raw)],
        },
        "spec": spec,
    }


def adopted(owner: StatefulSetView, pod: PodView, ordinal: int) -> Object:
    """Return an orphan with the set as its controller and the labels of its ordinal."""
    references = [*pod.raw["metadata"].get("ownerReferences", ()), controller_reference(owner.raw)]
    labels = {**labels_of(pod.raw), **_identity_labels(pod.name, ordinal)}
    return with_metadata(pod.raw, ownerReferences=references, labels=labels)


def with_identity(pod: PodView, ordinal: int) -> Object:
    """Return the pod with the labels of its ordinal; the same object where they are right already."""
    labels, name = pod.labels, pod.name
    if labels.get(POD_NAME_LABEL) == name and labels.get(POD_INDEX_LABEL) == str(ordinal):
        return pod.raw
    return with_metadata(pod.raw, labels={**labels, **_identity_labels(name, ordinal)})


def _identity_labels(name: str, ordinal: int) -> dict[str, str]:
    return {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal)}


def _volumes(owner: StatefulSetView, ordinal: int, given: list[Object]) -> list[Object]:
    """Return one volume for each claim template, then those of the template that none replaces."""
    claims = [
        {
            "name": template["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": claim_name(owner.name, template, ordinal)},
        }
        for template in owner.claim_templates
    ]
    replaced = {claim["name"] for claim in claims}
    return [*claims, *(volume for volume in given if volume["name"] not in replaced)]
