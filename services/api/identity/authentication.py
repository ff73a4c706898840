"""Who asks: by a bearer token or a client's certificate. Nobody is anonymous."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from schemas.errors import Unauthorized
from schemas.kinds import SERVICE_ACCOUNT
from schemas.objects import Key, Object, key_of, uid_of
from schemas.times import Milliseconds
from services.api.identity.authorities import user_of
from services.api.identity.bindings import ACCOUNT, AUTHENTICATED
from services.api.identity.tokens import Grant, holds, key_of_token
from services.api.requests import Caller, User

MOST_KNOWN = 4096
"""Tokens and certificates whose users are kept."""


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
        self._known: OrderedDict[bytes, tuple[Object, Grant]] = OrderedDict()

    def __call__(self, caller: Caller) -> User:
        """Return who asks. A token counts before a certificate, and a wrong one is not excused by a right one.

        Raises Unauthorized.
        """
        if caller.authorization:
            scheme, _, token = caller.authorization.partition(" ")
            grant = self.grant(token.strip()) if scheme.lower() == "bearer" else None
            if grant is not None:
                return grant.user
        elif caller.certificate:
            user, ends = _user_of(caller.certificate)
            if user.name and self._clock() < ends:
                return user
        raise Unauthorized("Unauthorized")

    def grant(self, token: str) -> Grant | None:
        """Return what a token grants now; None where it is none, unknown, taken back or over.

        A Secret is opened once: as long as the same object is there, it says the same.
        """
        key = key_of_token(token)
        secret = self._get(key) if key else None
        if secret is None:
            return None
        digest, now = hashlib.sha256(token.encode()).digest(), self._clock()
        known = self._known.get(digest)
        if known is not None and known[0] is secret:
            return known[1] if (not known[1].ends or now < known[1].ends) and self._stands(known[1]) else None
        grant = holds(self._unseal(secret), token, now)
        if grant is not None:
            grant = replace(grant, user=_authenticated(grant.user))
            self._known[digest] = secret, grant
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return grant if grant is not None and self._stands(grant) else None

    def _stands(self, grant: Grant) -> bool:
        """Say whether the account of a token is the one that it was made for."""
        if not grant.account:
            return True
        namespace, _, name = grant.user.name.removeprefix(ACCOUNT).partition(":")
        found = self._get(key_of(SERVICE_ACCOUNT.resource, namespace, name))
        return found is not None and uid_of(found) == grant.account


@lru_cache(MOST_KNOWN)
def _user_of(certificate: bytes) -> tuple[User, Milliseconds]:
    user, ends = user_of(certificate)
    return _authenticated(user), ends


def _authenticated(user: User) -> User:
    return replace(user, groups=(*dict.fromkeys((*user.groups, AUTHENTICATED)),))
