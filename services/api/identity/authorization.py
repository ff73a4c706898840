"""May this user do that? A node's own limits first, then what roles allow (authorization modes Node and RBAC)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from events.state import State
from schemas.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, NAMESPACE, ROLE, ROLE_BINDING
from schemas.objects import Object
from services.api.identity import nodes
from services.api.identity.bindings import MASTERS, rules_of
from services.api.identity.rules import CLUSTER_ADMIN, ROLES, Attributes, Rule
from services.api.requests import Target, User

Reading = Callable[[], AbstractContextManager[State]]
"""Gives the present State for a moment (events.replica.Replica.reading)."""
MOST_KNOWN = 4096
"""Users in namespaces whose rules are kept."""


def attributes_of(target: Target) -> Attributes:
    """Return a target as authorizers see it: a namespace is in itself (request/requestinfo.go)."""
    namespace = target.namespace or (target.name if target.kind is NAMESPACE else "")
    return Attributes(
        target.verb,
        target.kind.group,
        target.kind.plural,
        target.subresource,
        namespace,
        target.name,
        field_selector=target.options.field_selector,
    )


class Authorizer:
    """Decides by the State as it is when it is asked.

    What a user's rules came from is kept with them: as long as the same objects are there (an object that changes is
    another one), the rules are the same.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._known: OrderedDict[tuple[str, tuple[str, ...], str], _Known] = OrderedDict()

    def of_target(self, user: User, target: Target) -> str | None:
        """Return why a user may not do what a target says, which may be empty; None where they may."""
        return self.refusal(user, attributes_of(target))

    def of_path(self, user: User, verb: str, path: str) -> str | None:
        """The same of a path that is no object's."""
        return self.refusal(user, Attributes(verb, path=path))

    def refusal(self, user: User, asked: Attributes) -> str | None:
        """Return why a user may not, or None."""
        if MASTERS in user.groups:
            return None
        with self._reading() as state:
            node = nodes.node_of(user)
            why = nodes.refusal(node, asked, state) if node and not asked.path else ""
            if why is None or any(rule.allows(asked) for rule in self._rules(user, asked.namespace, state)):
                return None
            return why

    def rules(self, user: User, namespace: str) -> tuple[Rule, ...]:
        """Return the rules that roles give a user in a namespace."""
        with self._reading() as state:
            return self._rules(user, namespace, state)

    def _rules(self, user: User, namespace: str, state: State) -> tuple[Rule, ...]:
        if MASTERS in user.groups:
            return ROLES[CLUSTER_ADMIN]
        read = [state.list(kind.resource) for kind in (CLUSTER_ROLE_BINDING, CLUSTER_ROLE)]
        if namespace:
            read += [state.list(kind.resource, namespace) for kind in (ROLE_BINDING, ROLE)]
        key = (user.name, user.groups, namespace)
        known = self._known.get(key)
        if known is None or known.read != read:
            known = self._known[key] = _Known(read, tuple(rules_of(user, namespace, state)))
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return known.rules


@dataclass(frozen=True, slots=True)
class _Known:
    """Rules, and the objects that they came from."""

    read: list[list[Object]]
    rules: tuple[Rule, ...]
