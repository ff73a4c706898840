"""What metadata and selectors must look like (apimachinery/pkg/api/validation and apis/meta/v1/validation)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from schemas.findings import Findings, forbidden, immutable, invalid, named_badly, negative, required
from schemas.kinds import Kind
from schemas.names import (
    dns_1035_problems,
    dns_label_problems,
    dns_subdomain_problems,
    label_value_problems,
    path_segment_problems,
    qualified_name_problems,
)
from schemas.objects import Object

MAX_ANNOTATIONS = 256 * 1024
_NAME_RULES: dict[str, Callable[[str], Iterator[str]]] = {
    "Namespace": dns_label_problems,
    "Service": dns_1035_problems,
    "Role": path_segment_problems,
    "RoleBinding": path_segment_problems,
    "ClusterRole": path_segment_problems,
    "ClusterRoleBinding": path_segment_problems,
}


def metadata_findings(obj: Object, kind: Kind) -> Findings:
    """Find what is wrong with an object's metadata; names by the rule of the kind."""
    metadata = obj.get("metadata", {})
    name, namespace = metadata.get("name", ""), metadata.get("namespace", "")
    if not name:
        yield required("metadata.name", "name is required")
    else:
        yield from named_badly("metadata.name", name, _NAME_RULES.get(kind.kind, dns_subdomain_problems))
    if not kind.namespaced and namespace:
        yield forbidden("metadata.namespace", "not allowed on this type")
    elif kind.namespaced and not namespace:
        yield required("metadata.namespace")
    elif namespace:
        yield from named_badly("metadata.namespace", namespace, dns_label_problems)
    yield from label_findings(metadata.get("labels", {}), "metadata.labels")
    yield from annotation_findings(metadata.get("annotations", {}), "metadata.annotations")
    yield from negative("metadata.generation", metadata.get("generation"))
    yield from _owner_findings(metadata.get("ownerReferences", ()))
    for index, finalizer in enumerate(metadata.get("finalizers", ())):
        yield from named_badly(f"metadata.finalizers[{index}]", finalizer, qualified_name_problems)


def label_findings(labels: dict[str, str], where: str) -> Findings:
    """Find label keys and values of bad syntax (ValidateLabels)."""
    for key, value in labels.items():
        yield from named_badly(where, key, qualified_name_problems)
        yield from named_badly(where, value, label_value_problems)


def annotation_findings(annotations: dict[str, str], where: str) -> Findings:
    """Find annotation keys of bad syntax, and more than 256 KiB of annotations in all."""
    for key in annotations:
        yield from (invalid(where, key, problem) for problem in qualified_name_problems(key.lower()))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > MAX_ANNOTATIONS:
        yield invalid(where, f"{size} bytes", f"may not be more than {MAX_ANNOTATIONS} bytes")


def _owner_findings(references: Any) -> Findings:
    for index, reference in enumerate(references):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not reference.get(field):
                yield invalid(f"metadata.ownerReferences[{index}].{field}", "", "must not be empty")
    controllers = [reference.get("name", "") for reference in references if reference.get("controller")]
    first_two = [json.dumps(name)[1:-1] for name in controllers[:2]]
    if len(controllers) > 1:
        yield invalid(
            "metadata.ownerReferences",
            controllers,
            "Only one reference can have Controller set to true. "
            f'Found "true" in references for {" and ".join(first_two)}',
        )


def metadata_update_findings(old: Object, new: Object) -> Findings:
    """Find changes of metadata that are fixed for an object's life (ValidateObjectMetaUpdate)."""
    before, after = old["metadata"], new["metadata"]
    for field in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"):
        if field in before:
            yield from immutable(f"metadata.{field}", before[field], after.get(field))
    added = [name for name in after.get("finalizers", ()) if name not in before.get("finalizers", ())]
    if "deletionTimestamp" in before and added:
        yield forbidden(
            "metadata.finalizers",
            f"no new finalizers can be added if the object is being deleted, found new finalizers {added}",
        )


def selector_findings(selector: Object, where: str) -> Findings:
    """Find what is wrong with `{matchLabels, matchExpressions}` (ValidateLabelSelector)."""
    yield from label_findings(selector.get("matchLabels", {}), f"{where}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions", ())):
        yield from expression_findings(expression, f"{where}.matchExpressions[{index}]", ())


def expression_findings(expression: Object, where: str, comparisons: tuple[str, ...]) -> Findings:
    """Find what is wrong with one `{key, operator, values}`; `comparisons` are Gt and Lt where allowed."""
    operator, values = expression["operator"], expression.get("values", [])
    if operator in ("In", "NotIn"):
        if not values:
            yield required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            yield forbidden(
                f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            )
    elif operator in comparisons:
        if len(values) != 1:
            yield required(
                f"{where}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"
            )
    else:
        yield invalid(f"{where}.operator", operator, "not a valid selector operator")
    yield from named_badly(f"{where}.key", expression["key"], qualified_name_problems)
    for index, value in enumerate(values):
        yield from named_badly(f"{where}.values[{index}]", value, label_value_problems)
