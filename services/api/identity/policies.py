"""The policy of a real API server: everything of this package, put together over what its replica knows."""

from __future__ import annotations

from collections.abc import Callable

from events.commit import Reader
from events.replica import Replica
from schemas.objects import Object
from schemas.times import Milliseconds
from services.api.identity.authentication import Authenticator
from services.api.identity.authorization import Authorizer
from services.api.identity.escalations import check_escalation
from services.api.identity.impersonation import impersonated
from services.api.identity.nodes import node_of, restrict
from services.api.identity.reviews import review_handlers
from services.api.requests import Caller, User
from services.api.seams import Admitted, Policy, Wish
from services.commands.admission import admitted, check_deletion


def policy_over(
    replica: Replica, unseal: Callable[[Object], Object], clock: Callable[[], Milliseconds]
) -> Policy:
    """Return who may come in, what they may do, what is made of it and what they are told about that."""
    authenticator = Authenticator(replica.get, unseal, clock)
    authorizer = Authorizer(replica.reading)

    def admit(wish: Wish, reader: Reader, _now: Milliseconds) -> Admitted:
        with replica.reading() as state:
            if node := node_of(wish.user):
                restrict(node, wish, state)
            check_escalation(wish, authorizer, state)
        if wish.new is not None:
            return Admitted(admitted(wish.old, wish.new, reader))
        if wish.old is not None:
            check_deletion(wish.old)
        return Admitted(None)

    def authenticate(caller: Caller) -> User:
        return impersonated(authenticator(caller), caller.wanted, authorizer)

    return Policy(
        authenticate=authenticate,
        authorize=authorizer.of_target,
        authorize_path=authorizer.of_path,
        admit=admit,
        open_paths=frozenset(("/livez", "/readyz", "/healthz", "/version")),
        parts=review_handlers(authenticator, authorizer),
    )
