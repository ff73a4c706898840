"""What a rule of RBAC allows, and which rules the built-in roles have. Pure.

(k8s.io/component-helpers/auth/rbac/validation, plugin/pkg/auth/authorizer/rbac/bootstrappolicy)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schemas.objects import Object

ALL = "*"
READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", "patch", "update")

CLUSTER_ADMIN = "cluster-admin"
ADMIN = "admin"
EDIT = "edit"
VIEW = "view"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked for, as an authorizer sees it (authorizer.Attributes).

    `path` is set, and all else but the verb empty, for a request that is about no object. `field_selector` is the
    text of a list's or a watch's.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    field_selector: str = ""

    @property
    def whole(self) -> str:
        """`pods`, or `pods/log`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on resources of groups, some by name only; or verbs on paths. `*` is all (rbac/v1 PolicyRule)."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def allows(self, asked: Attributes) -> bool:
        """Say whether the rule allows what is asked for (rbac.RuleAllows)."""
        if not _has(self.verbs, asked.verb):
            return False
        if asked.path:
            return any(_is_below(asked.path, path) for path in self.paths)
        return (
            _has(self.groups, asked.group)
            and self._has_resource(asked)
            and (not self.names or asked.name in self.names)
        )

    def _has_resource(self, asked: Attributes) -> bool:
        if _has(self.resources, asked.whole):
            return True
        return bool(asked.subresource) and f"{ALL}/{asked.subresource}" in self.resources


def rule_of(raw: Object) -> Rule:
    """Return the rule that a Role or a ClusterRole has as an object."""
    return Rule(
        tuple(raw.get("verbs") or ()),
        tuple(raw.get("apiGroups") or ()),
        tuple(raw.get("resources") or ()),
        tuple(raw.get("resourceNames") or ()),
        tuple(raw.get("nonResourceURLs") or ()),
    )


def raw_of(rule: Rule) -> Object:
    """Return a rule as an object has it."""
    fields = {
        "verbs": rule.verbs,
        "apiGroups": rule.groups,
        "resources": rule.resources,
        "resourceNames": rule.names,
        "nonResourceURLs": rule.paths,
    }
    return {name: list(values) for name, values in fields.items() if values}


def uncovered(held: Iterable[Rule], wanted: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return what of the wanted rules no held rule allows, verb by verb (rbac validation.Covers)."""
    holds = tuple(held)
    return tuple(
        single
        for rule in wanted
        for single in _singles(rule)
        if not any(_covers(each, single) for each in holds)
    )


def _singles(rule: Rule) -> Iterable[Rule]:
    for verb in rule.verbs:
        yield from (Rule((verb,), paths=(path,)) for path in rule.paths)
        for group in rule.groups:
            for resource in rule.resources:
                for name in rule.names or ("",):
                    yield Rule((verb,), (group,), (resource,), (name,) if name else ())


def _covers(held: Rule, single: Rule) -> bool:
    if not _has(held.verbs, single.verbs[0]):
        return False
    if single.paths:
        return any(_is_below(single.paths[0], path) for path in held.paths)
    resource = single.resources[0]
    _, slash, part = resource.partition("/")
    return (
        _has(held.groups, single.groups[0])
        and (_has(held.resources, resource) or (bool(slash) and f"{ALL}/{part}" in held.resources))
        and (not held.names or (bool(single.names) and single.names[0] in held.names))
    )


def _has(values: tuple[str, ...], value: str) -> bool:
    return value in values or ALL in values


def _is_below(path: str, allowed: str) -> bool:
    return path == allowed or (allowed.endswith(ALL) and path.startswith(allowed[:-1]))


_CORE, _APPS, _POLICY = ("",), ("apps",), ("policy",)
_RBAC, _REVIEWS = ("rbac.authorization.k8s.io",), ("authorization.k8s.io",)
_SLICES, _LEASES, _EVENTS = ("discovery.k8s.io",), ("coordination.k8s.io",), ("events.k8s.io",)
_WORKLOADS = (
    "daemonsets",
    "deployments",
    "deployments/scale",
    "replicasets",
    "replicasets/scale",
    "statefulsets",
    "statefulsets/scale",
)
_BASICS = (
    "configmaps",
    "events",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "replicationcontrollers/scale",
    "serviceaccounts",
    "services",
)
_BATCH, _NETWORK = ("batch",), ("networking.k8s.io",)
_STATES = ("namespaces/status", "persistentvolumeclaims/status", "pods/log", "pods/status", "services/status")
_APPS_STATES = ("controllerrevisions", "daemonsets/status", "statefulsets/status")

_VIEWS = (
    Rule(READ, _CORE, (*_BASICS, *_STATES, "bindings", "endpoints", "namespaces")),
    Rule(READ, _APPS, (*_WORKLOADS, *_APPS_STATES)),
    Rule(READ, _POLICY, ("poddisruptionbudgets", "poddisruptionbudgets/status")),
    Rule(READ, _SLICES, ("endpointslices",)),
    Rule(READ, _EVENTS, ("events",)),
    Rule(READ, _BATCH, ("cronjobs", "jobs")),
    Rule(READ, _NETWORK, ("ingresses",)),
)
_EDITS = (
    *_VIEWS,
    Rule(WRITE, _CORE, (*_BASICS, "secrets")),
    Rule(READ, _CORE, ("secrets", "pods/attach", "pods/exec", "pods/portforward")),
    Rule(WRITE, _CORE, ("pods/attach", "pods/exec", "pods/portforward")),
    Rule(("create",), _CORE, ("pods/eviction",)),
    Rule(WRITE, _APPS, _WORKLOADS),
    Rule(WRITE, _POLICY, ("poddisruptionbudgets",)),
    Rule((*READ, *WRITE), _LEASES, ("leases",)),
    Rule(WRITE, _EVENTS, ("events",)),
    Rule(WRITE, _BATCH, ("cronjobs", "jobs")),
    Rule(WRITE, _NETWORK, ("ingresses",)),
)
_ADMINS = (
    *_EDITS,
    Rule((*READ, *WRITE), _RBAC, ("roles", "rolebindings")),
    Rule(("create",), _REVIEWS, ("localsubjectaccessreviews",)),
)

ROLES: Mapping[str, tuple[Rule, ...]] = {
    CLUSTER_ADMIN: (Rule((ALL,), (ALL,), (ALL,)), Rule((ALL,), paths=(ALL,))),
    ADMIN: _ADMINS,
    EDIT: _EDITS,
    VIEW: _VIEWS,
}
"""The cluster roles that are always there. No object says them, so that nobody can change what they mean."""

EVERYBODYS: tuple[Rule, ...] = (
    Rule(("create",), _REVIEWS, ("selfsubjectaccessreviews", "selfsubjectrulesreviews")),
    Rule(("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
    Rule(
        ("get", "head"),
        paths=(
            "/",
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/healthz",
            "/livez",
            "/openapi",
            "/openapi/*",
            "/readyz",
            "/version",
            "/version/",
        ),
    ),
)
"""What everybody may who is known: system:basic-user, system:discovery, system:public-info-viewer."""
