"""Asking as somebody else: `kubectl --as bob` (apiserver/pkg/endpoints/filters/impersonation)."""

from __future__ import annotations

from services.api.failures import bad_request, failure
from services.api.identity.authorization import Authorizer
from services.api.identity.bindings import ACCOUNT, AUTHENTICATED, service_account_groups
from services.api.identity.rules import Attributes
from services.api.requests import User

_AUTHENTICATION = "authentication.k8s.io"


def impersonated(user: User, wanted: User | None, authorizer: Authorizer) -> User:
    """Return as whom a user asks: as himself, or as the one he wants to be. Raises Failure 403 where he may not.

    The log names both.
    """
    if wanted is None:
        return user
    if not wanted.name:
        raise bad_request("requested impersonation without a user: send Impersonate-User as well")
    asked = [
        _subject(wanted.name),
        *(Attributes("impersonate", "", "groups", name=each) for each in wanted.groups),
    ]
    if wanted.uid:
        asked.append(Attributes("impersonate", _AUTHENTICATION, "uids", name=wanted.uid))
    for each in asked:
        if authorizer.refusal(user, each) is not None:
            raise _forbidden(user, each)
    groups = wanted.groups or service_account_groups(wanted.name)
    return User(
        wanted.name,
        tuple(dict.fromkeys((*groups, AUTHENTICATED))),
        wanted.uid,
        user.authenticated,
        user.name,
    )


def _subject(name: str) -> Attributes:
    if name.startswith(ACCOUNT) and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        return Attributes("impersonate", "", "serviceaccounts", namespace=namespace, name=account)
    return Attributes("impersonate", "", "users", name=name)


def _forbidden(user: User, asked: Attributes) -> Exception:
    resource = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    return failure(
        403,
        "Forbidden",
        f'{resource} "{asked.name}" is forbidden: User "{user.name}" cannot impersonate resource "{asked.resource}" '
        f'in API group "{asked.group}" {where}',
        name=asked.name,
        group=asked.group,
        kind=asked.resource,
    )
