r"""Field selectors: `status.phase=Running,spec.nodeName!=n1`, with the few fields that Kubernetes has for each kind.

The grammar is apimachinery/pkg/fields' (`\` before `,`, `=` and `\` in a value), the fields are those of each
registry's ToSelectableFields (pkg/apis/core/v1/conversion.go). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from schemas.errors import BadRequest
from schemas.kinds import EVENT, EVENT_OF_EVENTS, NAMESPACE, NODE, POD, SECRET, SERVICE, Kind
from schemas.objects import Object

Fields = Callable[[Object], bool]
"""True of an object that is selected."""

_ALL = ("metadata.name", "metadata.namespace")
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
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
        *(f"involvedObject.{field}" for field in _INVOLVED),
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    EVENT_OF_EVENTS.resource: (
        *(f"regarding.{field}" for field in _INVOLVED),
        "reason",
        "reportingController",
        "type",
    ),
}
_STORED_NAMES = {"regarding": "involvedObject", "reportingController": "reportingComponent"}
"""Fields of events.k8s.io by their names in the stored shape."""
_FLAGS = ("spec.hostNetwork", "spec.unschedulable")
_TERM = re.compile(r"([^=!,]*)(!=|==|=)((?:\\[\\,=]|[^\\,=])*)(?:,|\Z)")


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: a field is, or is not, a value. `path` is in the stored shape."""

    path: tuple[str, ...]
    equal: bool
    value: str

    def matches(self, obj: Object) -> bool:
        return (_value(obj, self.path) == self.value) is self.equal


def parse_field_selector(text: str, kind: Kind) -> Fields:
    """Return the predicate of a field selector for stored objects of a kind; all are selected by an empty one.

    Raises BadRequest for a field that cannot be selected by, naming those that can, and for what cannot be read.
    """
    allowed = (*_ALL, *_OF_KIND.get(kind.resource, ()))
    terms = []
    at = 0
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None and text[at] != ",":
            raise BadRequest(
                f"invalid field selector: {text!r}: cannot read {text[at:]!r}; write conditions like "
                "metadata.name=web-0 or status.phase!=Running, joined by commas"
            )
        if found is not None:
            terms.append(_term(found, allowed))
        at = found.end() if found else at + 1
    return lambda obj: all(term.matches(obj) for term in terms)


def equalities_of(text: str) -> Mapping[str, str]:
    """Return what a field selector that can be read wants fields to be, by their names in the stored shape."""
    wanted = {}
    for found in _TERM.finditer(text):
        if found[2] != "!=":
            first, *rest = found[1].strip().split(".")
            wanted[".".join((_STORED_NAMES.get(first, first), *rest))] = _unescaped(found[3])
    return wanted


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value)


def _term(found: re.Match[str], allowed: tuple[str, ...]) -> Term:
    label = found[1].strip()
    if label not in allowed:
        raise BadRequest(f"field label not supported: {label}; write one of {', '.join(allowed)}")
    first, *rest = label.split(".")
    path = (_STORED_NAMES.get(first, first), *rest)
    return Term(path, found[2] != "!=", _unescaped(found[3]))


def _value(obj: Object, path: tuple[str, ...]) -> str:
    value: object = obj
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if path == ("source",):
        component = value.get("component") if isinstance(value, dict) else None
        return str(component or obj.get("reportingComponent") or "")
    if ".".join(path) in _FLAGS:
        return "true" if value else "false"
    return "" if value is None else str(value)
