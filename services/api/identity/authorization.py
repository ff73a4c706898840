"""May this user do that? A node's own limits first, then what roles allow (authorization modes Node and RBAC)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from events.state import State
from schemas.kinds import NAMESPACE
from services.api.identity import nodes
from services.api.identity.bindings import rules_of
from services.api.identity.rules import Attributes, Rule
from services.api.requests import Target, User

Reading = Callable[[], AbstractContextManager[State]]
"""Gives the present State for a moment (events.replica.Replica.reading)."""


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
    """Decides by the State as it is when it is asked."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def of_target(self, user: User, target: Target) -> str | None:
        """Return why a user may not do what a target says, which may be empty; None where they may."""
        return self.refusal(user, attributes_of(target))

    def of_path(self, user: User, verb: str, path: str) -> str | None:
        """The same of a path that is no object's."""
        return self.refusal(user, Attributes(verb, path=path))

    def refusal(self, user: User, asked: Attributes) -> str | None:
        """Return why a user may not, or None. Cost: one look at each binding of the cluster and the namespace."""
        with self._reading() as state:
            node = nodes.node_of(user)
            why = nodes.refusal(node, asked, state) if node and not asked.path else ""
            if why is None or any(rule.allows(asked) for rule in rules_of(user, asked.namespace, state)):
                return None
            return why

    def rules(self, user: User, namespace: str) -> Iterator[Rule]:
        """Return the rules that roles give a user in a namespace."""
        with self._reading() as state:
            return iter(tuple(rules_of(user, namespace, state)))
