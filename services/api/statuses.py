"""Errors as Kubernetes' Status objects: reason, message, details, code (apimachinery/pkg/api/errors). Pure."""

from __future__ import annotations

from schemas.errors import (
    AlreadyExists,
    BadRequest,
    Cause,
    ChronosetError,
    CommandReused,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Outdated,
    PatchFailed,
    PreconditionFailed,
    Thinned,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from schemas.kinds import BY_RESOURCE
from schemas.objects import Key, Object, split_key
from services.api.failures import Failure, expired, failure
from services.api.requests import Target

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def status_of(error: ChronosetError, target: Target | None = None) -> Object:
    """Return the Status that an error is answered with; `target` is what the request was about."""
    if isinstance(error, Failure):
        return error.status
    match error:
        case Invalid():
            found = _invalid(error, target)
        case NotFound():
            found = _about(404, error.key, target, error, "{subject} not found")
        case AlreadyExists():
            found = _about(409, error.key, target, error, "{subject} already exists")
        case Outdated():
            found = _conflict(target.key if target and target.name else error.key, error.why)
        case Conflict():
            found = _conflict(target.key if target and target.name else error.key, MODIFIED)
        case PreconditionFailed():
            found = _conflict(target.key if target else "", str(error))
        case Forbidden():
            found = _forbidden(error, target)
        case Unauthorized():
            found = failure(401, "Unauthorized", "Unauthorized")
        case TooManyRequests():
            found = failure(429, "TooManyRequests", str(error), causes=_causes(error.causes))
        case PatchFailed():
            found = failure(422, "Invalid", str(error))
        case Thinned():
            found = expired(str(error))
        case BadRequest():
            found = failure(400, "BadRequest", str(error))
        case Unavailable():
            found = failure(503, "ServiceUnavailable", str(error), retryAfterSeconds=1)
        case CommandReused():
            found = failure(409, "Conflict", str(error))
        case _:
            found = failure(500, "InternalError", f"Internal error occurred: {error}")
    return found.status


def success(target: Target, uid: str = "") -> Object:
    """Return the Status that answers the deletion of an object that is gone at once."""
    details = {
        "name": target.name,
        "group": target.kind.group,
        "kind": target.kind.plural,
        "uid": uid,
    }
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {name: value for name, value in details.items() if value},
    }


def _about(code: int, key: Key, target: Target | None, error: ChronosetError, sentence: str) -> Failure:
    """Return the failure that concerns the object under `key`, else the target's; else it says what the error says."""
    if key:
        resource, _, name = split_key(key)
        kind = BY_RESOURCE[resource]
        group, plural = kind.group, kind.plural
    elif target is not None and target.name:
        group, plural, name = target.kind.group, target.kind.plural, target.name
    else:
        return failure(code, error.reason, str(error))
    subject = f'{_dotted(plural, group)} "{name}"'
    return failure(code, error.reason, sentence.format(subject=subject), **_details(name, group, plural))


def _conflict(key: Key, why: str) -> Failure:
    if not key:
        return failure(409, "Conflict", why)
    resource, _, name = split_key(key)
    kind = BY_RESOURCE.get(resource)
    plural, group = (kind.plural, kind.group) if kind else (resource, "")
    message = f'Operation cannot be fulfilled on {_dotted(plural, group)} "{name}": {why}'
    return failure(409, "Conflict", message, **_details(name, group, plural))


def _invalid(error: Invalid, target: Target | None) -> Failure:
    causes = [str(cause) for cause in error.causes]
    shown = causes[0] if len(causes) == 1 else f"[{', '.join(causes)}]"
    if target is None:
        return failure(422, "Invalid", f"{error.subject} is invalid: {shown}", causes=_causes(error.causes))
    part = target.part
    kind, group = (part.kind, part.group) if part and part.kind else (target.kind.kind, target.kind.group)
    return failure(
        422,
        "Invalid",
        f'{_dotted(kind, group)} "{target.name}" is invalid: {shown}',
        **_details(target.name, group, kind),
        causes=_causes(error.causes),
    )


def _forbidden(error: Forbidden, target: Target | None) -> Failure:
    message, causes = str(error), {"causes": _causes(error.causes)} if error.causes else {}
    if target is None:
        return failure(403, "Forbidden", f"forbidden: {message}")
    subject = target.subject if target.name else target.resource
    why = message.removeprefix(f"{subject} is forbidden: ")
    if target.kind.resource in BY_RESOURCE:
        why = why.removeprefix(f"{target.key}: ")
    details = _details(target.name, target.kind.group, target.kind.plural)
    return failure(403, "Forbidden", f"{subject} is forbidden: {why}", **details, **causes)


def _details(name: str, group: str, kind: str) -> dict[str, object]:
    return {word: value for word, value in (("name", name), ("group", group), ("kind", kind)) if value}


def _causes(causes: tuple[Cause, ...]) -> list[Object]:
    found = []
    for cause in causes:
        one = {"reason": cause.reason, "message": cause.message, "field": cause.field}
        found.append({word: value for word, value in one.items() if value})
    return found


def _dotted(name: str, group: str) -> str:
    return f"{name}.{group}" if group else name
