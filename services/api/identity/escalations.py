"""Nobody gives himself, or others, more than he has (registry/rbac escalation_check.go; the tokens' part is ours)."""

from __future__ import annotations

from typing import Any

from events.state import State
from schemas.errors import Forbidden, NotFound
from schemas.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from schemas.objects import Object, key_of, namespace_of
from services.api.identity.authorization import Authorizer
from services.api.identity.bindings import MASTERS, rules_of, rules_of_role
from services.api.identity.rules import ROLES, Attributes, Rule, raw_of, rule_of, uncovered
from services.api.identity.tokens import is_token
from services.api.requests import User
from services.api.seams import Wish
from services.commands.sources import subject_of

_ROLES = (ROLE.kind, CLUSTER_ROLE.kind)
_BINDINGS = (ROLE_BINDING.kind, CLUSTER_ROLE_BINDING.kind)


def check_escalation(wish: Wish, authorizer: Authorizer, state: State) -> None:
    """Raise Forbidden where a wish would let somebody do what its author may not do himself."""
    user, new = wish.user, wish.new
    if MASTERS in user.groups:
        return
    for obj in (wish.old, new):
        if obj is not None and is_token(obj):
            raise Forbidden(f"only members of {MASTERS} make, change or take back tokens")
    if new is None or (wish.old is not None and _grants(wish.old) == _grants(new)):
        return
    kind = wish.target.kind
    if new["kind"] in _ROLES and not _may(authorizer, wish, kind.plural, "escalate"):
        _check(user, tuple(map(rule_of, new.get("rules") or ())), namespace_of(new), state)
    elif new["kind"] in _BINDINGS and not _may(authorizer, wish, _bound(new), "bind"):
        _check_role(new, state)
        _check(user, rules_of_role(new, state), namespace_of(new), state)


def _check_role(binding: Object, state: State) -> None:
    """Raise NotFound where a binding's role is not there: what it will be once it is, nobody knows yet."""
    reference = binding["roleRef"]
    name = str(reference.get("name", ""))
    if reference.get("kind") == CLUSTER_ROLE.kind:
        if name in ROLES:
            return
        key = key_of(CLUSTER_ROLE.resource, "", name)
    else:
        key = key_of(ROLE.resource, namespace_of(binding), name)
    if state.get(key) is None:
        raise NotFound(f"{subject_of(key)} not found", key)


def _check(user: User, wanted: tuple[Rule, ...], namespace: str, state: State) -> None:
    if extra := uncovered(rules_of(user, namespace, state), wanted):
        shown = "\n".join(f"{raw_of(rule)}" for rule in extra[:20])
        raise Forbidden(
            f'user "{user.name}" (groups={list(user.groups)}) is attempting to grant RBAC permissions not currently '
            f"held:\n{shown}"
        )


def _may(authorizer: Authorizer, wish: Wish, plural: str, verb: str) -> bool:
    assert wish.new is not None
    name = (wish.new.get("roleRef") or {}).get("name", "") if verb == "bind" else wish.target.name
    asked = Attributes(verb, ROLE.group, plural, "", namespace_of(wish.new), name)
    return authorizer.refusal(wish.user, asked) is None


def _bound(binding: Object) -> str:
    is_role = (binding.get("roleRef") or {}).get("kind") == ROLE.kind
    return ROLE.plural if is_role else CLUSTER_ROLE.plural


def _grants(obj: Object) -> Any:
    return [obj.get(field) for field in ("rules", "roleRef", "subjects")]
