"""Tokens of service accounts: `kubectl create token`, `serviceaccounts/token` (registry/core/serviceaccount TokenREST).

Such a token is a Secret like every other one here (tokens), and ends with its account too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import Cause
from schemas.kinds import SERVICE_ACCOUNT, SUBRESOURCES
from schemas.objects import Object, uid_of
from schemas.times import Milliseconds, rfc3339
from services.api.app import caller_of
from services.api.bodies import object_of, part_of
from services.api.failures import Failure, invalid
from services.api.identity.bindings import service_account_groups, service_account_name
from services.api.identity.tokens import new_token, secret_of
from services.api.negotiation import JSON
from services.api.requests import Target, User
from services.api.writes import ReplicaSources, Writes, intent_of
from services.commands.deciding import Decided
from services.commands.objects import CreateObject, decide_write
from services.commands.sources import existing

PART = (SERVICE_ACCOUNT.resource, "token")
USUAL, SHORTEST, LONGEST = 3_600, 600, 1 << 32
"""Seconds that a token lasts: where nobody says, at least, and at most."""


@dataclass(frozen=True, slots=True)
class TokenRequests:
    """Makes tokens of accounts that are there."""

    writes: Writes
    clock: Callable[[], Milliseconds]

    async def __call__(self, request: Request, user: User, target: Target, body: bytes) -> Response:
        """Answer a TokenRequest with the token. Raises NotFound, and Failure 422 for what is not to be had here."""
        wanted = object_of(body, request.headers.get("content-type", ""), target)
        seconds = _seconds(part_of(wanted, "spec"))
        token, ends = new_token(), self.clock() + seconds * 1000
        name = service_account_name(target.namespace, target.name)
        groups = service_account_groups(name)

        def decided(sources: ReplicaSources, _now: Milliseconds) -> Decided:
            account = existing(sources, target.key)
            return decide_write(CreateObject(secret_of(token, name, groups, ends, uid_of(account))), sources)

        key, intent = f"{target.key}/token", intent_of(user, caller_of(request))
        if target.options.dry_run:
            await self.writes.try_out(key, decided, intent)
        else:
            await self.writes.write(key, decided, intent)
        return Response(orjson.dumps(self._answer(target, seconds, token, ends)), 201, media_type=JSON)

    def _answer(self, target: Target, seconds: int, token: str, ends: Milliseconds) -> Object:
        part, now = SUBRESOURCES["token"], rfc3339(self.clock())
        return {
            "kind": part.kind,
            "apiVersion": part.api_version,
            "metadata": {"name": target.name, "namespace": target.namespace, "creationTimestamp": now},
            "spec": {"audiences": [], "expirationSeconds": seconds, "boundObjectRef": None},
            "status": {"token": token, "expirationTimestamp": rfc3339(ends)},
        }


def _seconds(spec: Object) -> int:
    """Return how long a token is to last. Raises Failure 422."""
    seconds = spec.get("expirationSeconds")
    if seconds is None:
        seconds = USUAL
    if type(seconds) is not int or seconds < SHORTEST:
        raise _wrong(
            "expirationSeconds", f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        )
    if seconds > LONGEST:
        raise _wrong(
            "expirationSeconds",
            f"Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds",
        )
    if spec.get("audiences"):
        raise _wrong(
            "audiences", f"Invalid value: {spec['audiences']}: tokens are for this API alone: leave it out"
        )
    if spec.get("boundObjectRef"):
        raise _wrong(
            "boundObjectRef", "Invalid value: tokens end with their account and their time: leave it out"
        )
    return seconds


def _wrong(field: str, problem: str) -> Failure:
    part = SUBRESOURCES["token"]
    return invalid(part.kind, part.group, Cause(f"spec.{field}", problem))
