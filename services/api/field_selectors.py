"""Field selectors: `status.phase=Running,spec.nodeName!=n1`, with the few fields that Kubernetes has for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from schemas.kinds import EVENT, NAMESPACE, NODE, POD, SECRET, SERVICE, Kind
from schemas.objects import Object
from services.api.failures import bad_request

Fields = Callable[[Object], bool]

_ALL = ("metadata.name", "metadata.namespace")
_OF_KIND: Mapping[str, tuple[str, ...]] = {
    POD.resource: (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    NODE.resource: ("spec.unschedulable",),
    NAMESPACE.resource: ("status.phase",),
    SECRET.resource: ("type",),
    SERVICE.resource: ("spec.clusterIP", "spec.type"),
    EVENT.resource: (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}


def parse_field_selector(text: str, kind: Kind) -> Fields:
    """Return the predicate of a field selector for objects of a kind. Raises Failure 400 for an unknown field."""
    allowed = (*_ALL, *_OF_KIND.get(kind.stored_as or kind.resource, ()))
    terms = [_term(part, allowed, text) for part in text.split(",") if part.strip()]

    def matches(obj: Object) -> bool:
        return all((_value(obj, path) == value) is equal for path, equal, value in terms)

    return matches


def _term(part: str, allowed: tuple[str, ...], text: str) -> tuple[str, bool, str]:
    for operator, equal in (("!=", False), ("==", True), ("=", True)):
        path, found, value = part.partition(operator)
        if found:
            path = path.strip()
            if path not in allowed:
                raise bad_request(f"field label not supported: {path}; write one of {', '.join(allowed)}")
            return path, equal, value.strip()
    raise bad_request(
        f"invalid field selector: {text!r}: write conditions like metadata.name=web-0, joined by commas"
    )


def _value(obj: Object, path: str) -> str:
    value: object = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if path == "source" and isinstance(value, dict):
        value = value.get("component")
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "false" if path in ("spec.hostNetwork", "spec.unschedulable") else ""
    return str(value)
