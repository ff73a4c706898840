"""What an HTTP API refuses that no other edge does: as errors, so that whoever notices can raise them."""

from __future__ import annotations

from schemas.errors import Cause, ChronosetError
from schemas.objects import Object


class Failure(ChronosetError):
    """A refusal that knows the Status it is answered with."""

    def __init__(self, status: Object) -> None:
        self.status = status
        super().__init__(str(status["message"]))


def failure(code: int, reason: str, message: str, **details: object) -> Failure:
    """Return the failure of a code (404), a reason (`NotFound`) and a message, with what Status.details may have."""
    status: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if details:
        status["details"] = details
    return Failure(status)


def bad_request(message: str) -> Failure:
    """400: the request cannot be read."""
    return failure(400, "BadRequest", message)


def no_such_path() -> Failure:
    """404: nothing is served there (apimachinery/pkg/api/errors NewGenericServerResponse).

    Its details are there and empty: by that clients tell it from an object that is missing (`kubectl debug`).
    """
    found = failure(404, "NotFound", "the server could not find the requested resource")
    found.status["details"] = {}
    return found


def method_not_allowed(verb: str, resource: str) -> Failure:
    """405: the resource is there, this verb of it is not."""
    return failure(
        405,
        "MethodNotAllowed",
        f"{verb} is not supported on resources of kind {resource!r}".replace("'", '"'),
    )


def not_acceptable(accepted: tuple[str, ...]) -> Failure:
    """406: no form that the client accepts."""
    return failure(
        406, "NotAcceptable", f"only the following media types are accepted: {', '.join(accepted)}"
    )


def unsupported_media_type(accepted: tuple[str, ...], why: str = "") -> Failure:
    """415: a body in a form that is not read here."""
    return failure(
        415,
        "UnsupportedMediaType",
        why
        or "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted),
    )


def invalid(kind: str, group: str, cause: Cause) -> Failure:
    """422: a field of something without a name, as a review or options, is wrong (apimachinery NewInvalid)."""
    subject = f"{kind}.{group}" if group else kind
    told = {"reason": cause.reason, "message": cause.message, "field": cause.field}
    return failure(422, "Invalid", f'{subject} "" is invalid: {cause}', group=group, kind=kind, causes=[told])


def forbidden_option(name: str, problem: str) -> Failure:
    """422: an option of a list or a watch that does not go with the others."""
    cause = Cause(name, f"Forbidden: {problem}", "FieldValueForbidden")
    return invalid("ListOptions", "meta.k8s.io", cause)


def too_large(limit: int) -> Failure:
    """413: a body beyond `limit` bytes."""
    return failure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def too_many_requests(seconds: int = 1) -> Failure:
    """429: this user has as many requests in flight as one may have."""
    return failure(
        429, "TooManyRequests", "too many requests, please try again later", retryAfterSeconds=seconds
    )


def expired(message: str) -> Failure:
    """410: a position that is not at hand any more."""
    return failure(410, "Expired", message)


def too_new(asked: int, current: int) -> Failure:
    """504: a position that the log has not reached (apiserver/pkg/storage NewTooLargeResourceVersionError)."""
    return failure(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        causes=[{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        retryAfterSeconds=1,
    )
