"""From a method, a path and a query to a target. Pure.

The grammar and the verbs are those of apiserver/pkg/endpoints/request/requestinfo.go: `/api/v1/...` and
`/apis/<group>/<version>/...`, with `namespaces/<namespace>/` before kinds that live in one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import parse_qsl

from schemas.deletion import BACKGROUND, FOREGROUND, ORPHAN
from schemas.kinds import BY_PATH, NAMESPACE, SUBRESOURCES, Kind
from services.api.failures import Failure, bad_request, failure, no_such_path
from services.api.requests import Options, Target

MOST_KNOWN = 1024
"""Requests whose targets are kept: clients ask for the same ones again and again."""
_OF_COLLECTION = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_OF_OBJECT = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_PART = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PROPAGATIONS = (BACKGROUND, FOREGROUND, ORPHAN)
_VALIDATIONS = ("Ignore", "Strict", "Warn")
_MATCHES = ("Exact", "NotOlderThan")


@lru_cache(MOST_KNOWN)
def target_of(method: str, path: str, query: str) -> Target:
    """Return what a request is about. Raises Failure: 404 for a path that is nothing here, 405, 400 or 422."""
    kind, namespace, name, subresource = _place_of(path)
    options = options_of(query)
    verb = _verb_of(method, name, subresource)
    if verb == "list" and _is_watch(query):
        verb = "watch"
    allowed = SUBRESOURCES[subresource].verbs if subresource else kind.verbs
    needs_namespace = kind.namespaced and not namespace and (name or verb == "create")
    if verb not in allowed or needs_namespace:
        raise failure(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
        )
    return Target(verb, kind, namespace, name, subresource, options)


def _place_of(path: str) -> tuple[Kind, str, str, str]:
    """Return kind, namespace, name and subresource."""
    parts = path.strip("/").split("/")
    match parts:
        case ["api", "v1", *rest]:
            group, version = "", "v1"
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise no_such_path()
    if not all(rest) or not rest:
        raise no_such_path()
    namespace = ""
    if rest[0] == NAMESPACE.plural and len(rest) > 2 and rest[2] not in NAMESPACE.subresources:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *too_many = [*rest, "", ""] if len(rest) < 3 else rest
    kind = BY_PATH.get((group, version, plural))
    if kind is None or too_many[:1] not in ([], [""]):
        raise no_such_path()
    if (namespace and not kind.namespaced) or (subresource and subresource not in kind.subresources):
        raise no_such_path()
    return kind, namespace, name, subresource


def _verb_of(method: str, name: str, subresource: str) -> str:
    if subresource:
        verbs = _OF_PART
    elif name:
        verbs = _OF_OBJECT
    else:
        verbs = _OF_COLLECTION
    return verbs.get("GET" if method == "HEAD" else method, "")


def _is_watch(query: str) -> bool:
    return any(
        name == "watch" and value.lower() not in ("false", "0") for name, value in parse_qsl(query, True)
    )


def options_of(query: str) -> Options:
    """Return the options that a query gives. Raises Failure (400 for what cannot be read, 422 for what is not known).

    Parameters that are not known are left alone, as the API server does.
    """
    given: dict[str, object] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        reader = _READERS.get(name)
        if reader is not None:
            field, read = reader
            if value or field in _MAY_BE_EMPTY:
                given.setdefault(field, read(name, value))
    if given.get("orphan") is not None and given.get("propagation"):
        raise bad_request("orphanDependents and deletionPropagation cannot be both set")
    return Options(**given)  # type: ignore[arg-type]


def _text(_name: str, value: str) -> str:
    return value


def _number(name: str, value: str) -> int:
    try:
        number = int(value) if value.isascii() else -1
    except ValueError:
        raise bad_request(f'{name}: strconv.ParseInt: parsing "{value}": invalid syntax') from None
    if not 0 <= number < 2**63:
        raise bad_request(f"{name}: {value!r} is out of range: write a whole number from 0")
    return number


def _grace(name: str, value: str) -> int:
    """A grace period may be negative: it then means 1 (schemas.deletion)."""
    return -_number(name, value[1:]) if value.startswith("-") else _number(name, value)


def _boolean(_name: str, value: str) -> bool:
    """As apimachinery reads it from a query: anything but `false` and `0` is true, given without a value too."""
    return value.lower() not in ("false", "0")


def _one_of(choices: tuple[str, ...], subject: str) -> Callable[[str, str], str]:
    def read(name: str, value: str) -> str:
        if value not in choices:
            raise _unsupported(subject, name, value, choices)
        return value

    return read


def propagation_of(name: str, value: str) -> str:
    """Return a propagation policy. Raises Failure 422 for one that is not known."""
    return _one_of(_PROPAGATIONS, "DeleteOptions")(name, value)


def _dry_run(name: str, value: str) -> bool:
    if value != "All":
        raise _unsupported("options", name, value, ("All",))
    return True


def _unsupported(subject: str, name: str, value: str, choices: tuple[str, ...]) -> Failure:
    shown = ", ".join(f'"{choice}"' for choice in choices)
    problem = f'Unsupported value: "{value}": supported values: {shown}'
    cause = {"reason": "FieldValueNotSupported", "message": problem, "field": name}
    return failure(422, "Invalid", f"{subject} is invalid: {name}: {problem}", causes=[cause])


_READERS: Mapping[str, tuple[str, Callable[[str, str], object]]] = {
    "labelSelector": ("label_selector", _text),
    "fieldSelector": ("field_selector", _text),
    "resourceVersion": ("resource_version", _text),
    "resourceVersionMatch": ("resource_version_match", _one_of(_MATCHES, "ListOptions.meta.k8s.io")),
    "limit": ("limit", _number),
    "continue": ("continue_token", _text),
    "timeoutSeconds": ("timeout_seconds", _number),
    "allowWatchBookmarks": ("allow_bookmarks", _boolean),
    "sendInitialEvents": ("send_initial_events", _boolean),
    "dryRun": ("dry_run", _dry_run),
    "fieldValidation": ("field_validation", _one_of(_VALIDATIONS, "options")),
    "fieldManager": ("field_manager", _text),
    "force": ("force", _boolean),
    "gracePeriodSeconds": ("grace_seconds", _grace),
    "propagationPolicy": ("propagation", propagation_of),
    "orphanDependents": ("orphan", _boolean),
    "includeObject": ("include", _one_of(("None", "Metadata", "Object"), "TableOptions.meta.k8s.io")),
}
_MAY_BE_EMPTY = ("allow_bookmarks", "send_initial_events", "force", "orphan")
