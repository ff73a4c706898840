"""Which rules a user has: what RoleBindings and ClusterRoleBindings say (rbac/validation/rule.go). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from events.commit import Reader
from schemas.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from schemas.objects import Object, key_of, namespace_of
from services.api.identity.rules import CLUSTER_ADMIN, EVERYBODYS, ROLES, Rule, rule_of
from services.api.requests import User

MASTERS = "system:masters"
"""The group that may do everything, whatever is bound."""
AUTHENTICATED = "system:authenticated"
ACCOUNT = "system:serviceaccount:"


def rules_of(user: User, namespace: str, reader: Reader) -> Iterator[Rule]:
    """Yield the rules of a user in a namespace; empty: for the cluster as a whole."""
    if MASTERS in user.groups:
        yield from ROLES[CLUSTER_ADMIN]
        return
    if AUTHENTICATED in user.groups:
        yield from EVERYBODYS
    for binding in reader.list(CLUSTER_ROLE_BINDING.resource):
        if concerns(binding, user):
            yield from rules_of_role(binding, reader)
    if namespace:
        for binding in reader.list(ROLE_BINDING.resource, namespace):
            if concerns(binding, user):
                yield from rules_of_role(binding, reader)


def concerns(binding: Object, user: User) -> bool:
    """Say whether a user is among the subjects of a binding."""
    return any(_is_subject(each, user, namespace_of(binding)) for each in binding.get("subjects") or ())


def rules_of_role(binding: Object, reader: Reader) -> tuple[Rule, ...]:
    """Return the rules of the role that a binding refers to; none where there is no such role."""
    reference = binding.get("roleRef") or {}
    name = str(reference.get("name", ""))
    if reference.get("kind") == CLUSTER_ROLE.kind:
        if name in ROLES:
            return ROLES[name]
        found = reader.get(key_of(CLUSTER_ROLE.resource, "", name))
    else:
        found = reader.get(key_of(ROLE.resource, namespace_of(binding), name))
    return tuple(map(rule_of, (found or {}).get("rules") or ()))


def service_account_name(namespace: str, name: str) -> str:
    """Return the name of a service account as a user."""
    return f"{ACCOUNT}{namespace}:{name}"


def service_account_groups(user: str) -> tuple[str, ...]:
    """Return the groups of a service account by its name as a user; none for other users."""
    if not user.startswith(ACCOUNT):
        return ()
    return "system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}"


def _is_subject(subject: Object, user: User, namespace: str) -> bool:
    match subject.get("kind"):
        case "User":
            return bool(subject["name"] == user.name)
        case "Group":
            return subject["name"] in user.groups
        case "ServiceAccount":
            place = subject.get("namespace") or namespace
            return user.name == service_account_name(place, subject["name"])
    return False
