"""Who asks: by a bearer token or a client's certificate. Nobody is anonymous."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from schemas.errors import Unauthorized
from schemas.objects import Key, Object
from schemas.times import Milliseconds
from services.api.identity.authorities import user_of
from services.api.identity.bindings import AUTHENTICATED
from services.api.identity.tokens import Grant, holds, key_of_token
from services.api.requests import Caller, User

_known = lru_cache(4096)(user_of)


class Authenticator:
    """Knows users by what the log says of tokens, and by what the cluster's authority has signed."""

    def __init__(
        self,
        get: Callable[[Key], Object | None],
        unseal: Callable[[Object], Object],
        clock: Callable[[], Milliseconds],
    ) -> None:
        self._get = get
        self._unseal = unseal
        self._clock = clock

    def __call__(self, caller: Caller) -> User:
        """Return who asks. A token counts before a certificate, and a wrong one is not excused by a right one.

        Raises Unauthorized.
        """
        if caller.authorization:
            scheme, _, token = caller.authorization.partition(" ")
            grant = self.grant(token.strip()) if scheme.lower() == "bearer" else None
            if grant is not None:
                return _authenticated(grant.user)
        elif caller.certificate:
            user, ends = _known(caller.certificate)
            if user.name and self._clock() < ends:
                return _authenticated(user)
        raise Unauthorized("Unauthorized")

    def grant(self, token: str) -> Grant | None:
        """Return what a token grants now; None where it is none, unknown, taken back or over."""
        key = key_of_token(token)
        secret = self._get(key) if key else None
        return holds(self._unseal(secret), token, self._clock()) if secret is not None else None


def _authenticated(user: User) -> User:
    return replace(user, groups=(*dict.fromkeys((*user.groups, AUTHENTICATED)),))
