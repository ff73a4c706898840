"""The pods of a DaemonSet: their names, and how one is made from the template, adopted and released.

A name is a function of (uid, node, revision, attempt), so two workers that create the same pod collide on its name
and only one of them succeeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container

from schemas.daemon_pods import with_node, with_tolerations
from schemas.defaults import pod_defaults
from schemas.kinds import POD
from schemas.objects import Object, with_metadata
from schemas.revisions import REVISION_LABEL, safe_encode
from schemas.views import DaemonSetView, PodView
from services.controllers.references import controller_reference

_LONGEST_STEM = 52
"""A name's last label fits a hostname: 63 characters, a dash and ten for the suffix."""


def pod_name(owner: DaemonSetView, node: str, revision: str, attempt: int) -> str:
    """Return the name of an attempt at a pod: `fluentd-bcdfghjklm`."""
    digest = hashlib.sha256(f"{owner.uid}/{node}/{revision}/{attempt}".encode()).digest()
    suffix = safe_encode(int.from_bytes(digest[:8], "big") % 10**10)
    return f"{owner.name[:_LONGEST_STEM]}-{suffix}"


def free_name(owner: DaemonSetView, node: str, revision: str, attempts: int, taken: Container[str]) -> str:
    """Return the first name from attempt number `attempts` on that is not taken."""
    while (name := pod_name(owner, node, revision, attempts)) in taken:
        attempts += 1
    return name


def prototype_of(owner: DaemonSetView, revision: str) -> Object:
    """Return a pod of the template that lacks only its name and its node (CreatePodTemplate)."""
    metadata = owner.template.get("metadata") or {}
    pod = {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {
            **{field: metadata[field] for field in ("annotations", "finalizers") if field in metadata},
            "generateName": f"{owner.name}-",
            "namespace": owner.namespace,
            "labels": {**(metadata.get("labels") or {}), REVISION_LABEL: revision},
            "ownerReferences": [controller_reference(owner.raw)],
        },
        "spec": with_tolerations(owner.template["spec"]),
    }
    return pod_defaults(pod)


def new_pod(prototype: Object, name: str, node: str) -> Object:
    """Return the pod for a node; the scheduler binds it there, never the controller."""
    return {
        **prototype,
        "metadata": {**prototype["metadata"], "name": name},
        "spec": with_node(prototype["spec"], node),
    }


def adopted(owner: DaemonSetView, pod: PodView) -> Object:
    """Return an orphan with the set as its controller."""
    references = [*pod.raw["metadata"].get("ownerReferences", ()), controller_reference(owner.raw)]
    return with_metadata(pod.raw, ownerReferences=references)
