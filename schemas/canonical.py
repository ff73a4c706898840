"""The canonical form in which objects are stored: what Kubernetes 1.36 would give back for a manifest.

Two spellings of one wish are one object, so that a typed client's GET and PUT changes nothing, a template counts as
changed exactly when it means something else, and patches stay small. Generation and revisions rest on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

from schemas.budget_rules import budget_warnings
from schemas.defaults import with_defaults
from schemas.definitions import Shape, path_text, shape_causes, shape_of
from schemas.errors import BadRequest, Cause
from schemas.kinds import BY_NAME
from schemas.objects import Object
from schemas.quantities import parse_quantity
from schemas.times import canonical_time
from schemas.untouched import with_untouched

_TIMES = {"Time": 0, "MicroTime": 6}
"""Definitions of times, and how many digits of a second they have."""

_PARTS = ("spec", "status")

FieldValidation = Literal["Strict", "Warn", "Ignore"]


@dataclass(frozen=True, slots=True)
class Canonical:
    """The canonical object; what its author should know; and what is wrong with it (then it is not complete).

    `unknown` are the paths of the fields that Kubernetes does not have, whatever was to become of them.
    """

    object: Object
    warnings: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    unknown: tuple[str, ...] = ()


def canonical(
    obj: Object, field_validation: FieldValidation = "Strict", stored: Object | None = None
) -> Canonical:
    """Return the canonical form of an object whose apiVersion and kind are known. The input is not edited.

    Of one that is to take the place of `stored`, what is left alone stays as it is (schemas.untouched); a spec or
    status that is the very object that is stored there is not looked at.

    Unknown fields are causes (Strict), warnings (Warn) or silently dropped (Ignore); nulls and empty optional values
    are dropped, quantities written canonically, defaults applied (apiserver/pkg/endpoints/handlers/rest.go).
    Applied to its own result it changes nothing. Raises BadRequest for an unknown kind.
    """
    kind = BY_NAME.get((obj.get("apiVersion", ""), obj.get("kind", "")))
    if kind is None:
        raise BadRequest(f"apiVersion, kind: {obj.get('apiVersion')!r}, {obj.get('kind')!r} is unknown")
    cleaning = _Cleaning()
    shape = shape_of(kind.definition)
    kept = _kept(obj, stored) if stored is not None else {}
    asked = {name: value for name, value in obj.items() if name not in kept} if kept else obj
    cleaned = {**cleaning.struct(asked, shape), **kept}
    unknown = [_unknown(path, known) for path, known in cleaning.unknown]
    paths = tuple(path for path, _ in cleaning.unknown)
    causes = [*cleaning.causes, *shape_causes(cleaned, kind)]
    if field_validation == "Strict":
        causes = [*unknown, *causes]
    if causes:
        return Canonical(cleaned, causes=tuple(causes), unknown=paths)
    warnings = (
        [f"unknown field {cause.field!r} is left out" for cause in unknown]
        if field_validation == "Warn"
        else []
    )
    complete = {**with_defaults(cleaned), **kept}
    if "spec" not in kept:
        warnings += [*_unused(complete), *_doubts(complete)]
    if stored is not None:
        today = cache(lambda: with_defaults(_Cleaning().struct(stored, shape)))
        complete = with_untouched(stored, obj, complete, today, shape)
    return Canonical(complete, tuple(warnings), unknown=paths)


def _kept(obj: Object, stored: Object) -> Object:
    """Return the parts of an object that are the very objects stored there: what else is written concerns neither."""
    return {name: obj[name] for name in _PARTS if name in stored and obj.get(name) is stored[name]}


@dataclass(slots=True)
class _Cleaning:
    """One walk over an object beside its shape, which builds the cleaned copy and notes what is wrong."""

    path: list[str | int] = field(default_factory=list)
    unknown: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)

    def value(self, value: Any, shape: Shape) -> Any:
        kind = type(value)
        if shape.is_quantity:
            return self.quantity(value)
        if kind is dict:
            if shape.fields is not None:
                return self.struct(value, shape)
            return self.map(value, shape.values) if shape.values is not None else value
        if kind is list and shape.items is not None:
            return self.list(value, shape.items)
        if kind is str and shape.name in _TIMES:
            return canonical_time(value, _TIMES[shape.name])
        if kind is float and value.is_integer() and "integer" in shape.types:
            return int(value)
        return value

    def struct(self, struct: dict[str, Any], shape: Shape) -> dict[str, Any]:
        fields = shape.fields or {}
        result: dict[str, Any] = {}
        for name, value in struct.items():
            inner = fields.get(name)
            if inner is None:
                self.unknown.append((path_text((*self.path, name)), tuple(fields)))
            elif value is not None:
                self.path.append(name)
                cleaned = self.value(value, inner)
                self.path.pop()
                if cleaned or inner.keeps_empty or name in shape.required or not _is_empty(cleaned, inner):
                    result[name] = cleaned
        for name in shape.always_written:
            result.setdefault(name, {})
        return result

    def map(self, values: dict[str, Any], shape: Shape) -> dict[str, Any]:
        result = {}
        for key, value in values.items():
            if value is not None:
                self.path.append(key)
                result[key] = self.value(value, shape)
                self.path.pop()
        return result

    def list(self, items: list[Any], shape: Shape) -> list[Any]:
        result = []
        for index, item in enumerate(items):
            self.path.append(index)
            result.append(self.value(item, shape))
            self.path.pop()
        return result

    def quantity(self, value: Any) -> Any:
        try:
            return str(parse_quantity(value).rounded_to_milli())
        except ValueError as error:
            self.causes.append(Cause(path_text(self.path), f"Invalid value: {error}"))
            return value


def _is_empty(value: Any, shape: Shape) -> bool:
    """True for an empty value that Go's omitempty leaves out: not a struct, and of the type it should have."""
    match value:
        case dict():
            return shape.values is not None
        case list():
            return shape.types == ("array",)
        case str():
            return shape.types == ("string",)
        case bool():
            return shape.types == ("boolean",)
        case int():
            return shape.types == ("integer",)
    return False


def _unknown(path: str, known: tuple[str, ...]) -> Cause:
    name = path.rpartition(".")[2]
    close = get_close_matches(name, known, n=1, cutoff=0.7)
    advice = f"did you mean {close[0]!r}?" if close else f"write one of {', '.join(sorted(known)[:40])}"
    return Cause(path, f"unknown field {name!r}; {advice}", "FieldValueNotSupported")


UNUSED_IN_POD: tuple[str, ...] = (
    "affinity.podAffinity",
    "affinity.podAntiAffinity",
    "ephemeralContainers",
    "hostAliases",
    "imagePullSecrets",
    "os",
    "resourceClaims",
    "resources.limits",
    "runtimeClassName",
    "securityContext.appArmorProfile",
    "securityContext.seLinuxOptions",
    "setHostnameAsFQDN",
    "topologySpreadConstraints",
)
"""Fields of a pod's spec that are stored but that nothing acts on."""
ISOLATING_IN_POD: tuple[str, ...] = (
    "dnsConfig",
    "hostIPC",
    "hostPID",
    "securityContext.seccompProfile",
    "securityContext.sysctls",
    "shareProcessNamespace",
)
"""Fields of a pod's spec that mean something for containers and nothing for processes."""
UNUSED_IN_CONTAINER: tuple[str, ...] = (
    "lifecycle.stopSignal",
    "resizePolicy",
    "restartPolicyRules",
    "securityContext.appArmorProfile",
    "securityContext.procMount",
    "securityContext.seLinuxOptions",
    "volumeDevices",
)
ISOLATING_IN_CONTAINER: tuple[str, ...] = (
    "securityContext.capabilities",
    "securityContext.privileged",
    "securityContext.seccompProfile",
)
"""The same of a container."""
UNUSED_IN_SERVICE: tuple[str, ...] = (
    "externalIPs",
    "loadBalancerClass",
    "loadBalancerIP",
    "trafficDistribution",
)


def _unused(obj: Object) -> list[str]:
    """Return a warning for each field that is known but not acted on."""
    spec = obj.get("spec") or {}
    match obj["kind"]:
        case "Pod":
            unused, isolating = _unused_in_pod(spec, "spec"), _isolating(spec, "spec")
        case "StatefulSet" | "DaemonSet":
            template, where = spec["template"]["spec"], "spec.template.spec"
            unused, isolating = _unused_in_pod(template, where), _isolating(template, where)
        case "Service":
            unused, isolating = _present(spec, "spec", UNUSED_IN_SERVICE), []
            if spec["type"] != "ClusterIP" or spec.get("clusterIP") != "None":
                unused.append("spec.type")
        case _:
            return []
    return [f"{path} is stored, but nothing acts on it (see docs/differences.md)" for path in unused] + [
        f"{path} is stored, and acted on where pods are containers (up --runtime docker) only"
        for path in isolating
    ]


def _doubts(obj: Object) -> list[str]:
    """Return a warning for what is valid and hardly meant."""
    return budget_warnings(obj["spec"]) if obj["kind"] == "PodDisruptionBudget" else []


def _unused_in_pod(spec: dict[str, Any], where: str) -> list[str]:
    found = _present(spec, where, UNUSED_IN_POD)
    for name in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(name, ())):
            at = f"{where}.{name}[{index}]"
            found += _present(container, at, UNUSED_IN_CONTAINER)
            if name == "containers" and "restartPolicy" in container:
                found.append(f"{at}.restartPolicy")
    if spec["schedulerName"] != "default-scheduler":
        found.append(f"{where}.schedulerName")
    return found


def _isolating(spec: dict[str, Any], where: str) -> list[str]:
    found = _present(spec, where, ISOLATING_IN_POD)
    for name in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(name, ())):
            found += _present(container, f"{where}.{name}[{index}]", ISOLATING_IN_CONTAINER)
    return found


def _present(part: dict[str, Any], where: str, paths: tuple[str, ...]) -> list[str]:
    return [f"{where}.{path}" for path in paths if _holds(part, path)]


def _holds(part: dict[str, Any], path: str) -> bool:
    step, _, rest = path.partition(".")
    if not rest:
        return part.get(step) not in (None, {}, [])
    return step in part and _holds(part[step], rest)
