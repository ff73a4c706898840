"""Bearer tokens: 256 random bits, of which only a hash is kept, as a Secret in kube-system.

A Secret, because every change of an object is an event: all API processes know a token as soon as it is in the log, who
made it and who took it back is history like everything else, and its hash lies encrypted there. The part before the
dot is public: it names the Secret. (The form is that of Kubernetes' bootstrap tokens.)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from events.commit import Reader
from schemas.changes import Change
from schemas.deletion import BACKGROUND, deletion_of
from schemas.errors import Unavailable
from schemas.kinds import SECRET
from schemas.objects import Key, Object, is_terminating, key_of, uid_of
from schemas.times import Milliseconds, parse_rfc3339, rfc3339
from services.api.requests import User

NAMESPACE = "kube-system"
TYPE = "chronoset.dev/token"
"""The type of the Secrets that are tokens. Whoever may write them may be anybody: see escalations."""
BOOTSTRAPPERS = "system:bootstrappers"
"""The group of join tokens: all that it may do is to join (services.api.node_paths)."""
MOST_ENDINGS = 500
"""Tokens that are taken away at a time."""
_PREFIX = "token-"
_TOKEN = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Grant:
    """Whom a token stands for, and until when (0: for ever); `account` is the uid of the one that it ends with."""

    user: User
    ends: Milliseconds = 0
    account: str = ""


def new_token() -> str:
    """Return a token: 8 bytes that name it, a dot, 32 that are secret."""
    return f"{secrets.token_hex(8)}.{secrets.token_urlsafe(32)}"


def key_of_token(token: str) -> Key | None:
    """Return the key of the Secret that knows a token; None for what is no token of ours."""
    found = _TOKEN.fullmatch(token)
    return key_of(SECRET.resource, NAMESPACE, _PREFIX + found[1]) if found else None


def id_of(secret: Object) -> str:
    """Return what the token of a Secret begins with."""
    return str(secret["metadata"]["name"]).removeprefix(_PREFIX)


def secret_of(token: str, name: str, groups: Sequence[str], ends: Milliseconds, account: str = "") -> Object:
    """Return the Secret by which a token is known."""
    found = _TOKEN.fullmatch(token)
    assert found is not None
    data = {"user": name, "groups": ",".join(groups), "hash": _hash(token)}
    if ends:
        data["expiration"] = rfc3339(ends)
    if account:
        data["account"] = account
    encoded = {field: base64.b64encode(value.encode()).decode() for field, value in data.items()}
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": {"name": _PREFIX + found[1], "namespace": NAMESPACE},
        "type": TYPE,
        "data": encoded,
    }


def is_token(obj: Object) -> bool:
    """Say whether an object is a token's Secret, by its type or by where one is looked for."""
    metadata = obj["metadata"]
    placed = metadata.get("namespace") == NAMESPACE and metadata["name"].startswith(_PREFIX)
    return obj["kind"] == SECRET.kind and (obj.get("type") == TYPE or placed)


def grant_of(secret: Object) -> Grant | None:
    """Return what a token's Secret, in the clear, grants; None where it cannot be read."""
    try:
        data = {
            name: base64.b64decode(value, validate=True).decode() for name, value in secret["data"].items()
        }
        ends = parse_rfc3339(data["expiration"]) if "expiration" in data else 0
        groups = tuple(group for group in data.get("groups", "").split(",") if group)
        return Grant(User(data["user"], groups, authenticated="token"), ends, data.get("account", ""))
    except (ValueError, KeyError, AttributeError):
        return None


class Endings:
    """Which tokens are over. What a Secret says is read once, as long as the same object is there."""

    def __init__(
        self, reader: Reader, unseal: Callable[[Object], Object], clock: Callable[[], Milliseconds]
    ) -> None:
        self._reader = reader
        self._unseal = unseal
        self._clock = clock
        self._known: dict[str, tuple[Object, Milliseconds]] = {}

    def __call__(self) -> list[Change]:
        """Return their deletions, so many at most (pkg/controller/bootstrap/tokencleaner)."""
        known, now = self._known, self._clock()
        self._known = {}
        over = []
        for secret in self._reader.list(SECRET.resource, NAMESPACE):
            if secret.get("type") != TYPE or is_terminating(secret):
                continue
            found = known.get(uid_of(secret))
            ends = found[1] if found is not None and found[0] is secret else self._ends(secret)
            self._known[uid_of(secret)] = secret, ends
            if 0 < ends <= now:
                over.append(deletion_of(secret, now, None, BACKGROUND))
        return over[:MOST_ENDINGS]

    def _ends(self, secret: Object) -> Milliseconds:
        """Return when a token is over; 0 where it never is, or cannot be read."""
        try:
            grant = grant_of(self._unseal(secret))
        except Unavailable:
            return 0
        return grant.ends if grant is not None else 0


def holds(secret: Object, token: str, now: Milliseconds) -> Grant | None:
    """Return what a token grants by its Secret, in the clear; None where it is another, over, or being deleted."""
    if secret.get("type") != TYPE or is_terminating(secret):
        return None
    grant = grant_of(secret)
    if grant is None or (grant.ends and grant.ends <= now):
        return None
    known = base64.b64decode(secret["data"].get("hash", ""))
    return grant if hmac.compare_digest(known, _hash(token).encode()) else None


def _hash(token: str) -> str:
    """SHA-256 at once: what has 256 random bits needs no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()
