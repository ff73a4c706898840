"""What can be done with each kind and where, as values: what the OpenAPI documents list as paths.

One table for both OpenAPI versions; the paths, the verbs and what they take follow from schemas.kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.kinds import SUBRESOURCES, Kind
from services.api.discovery import path_of
from services.api.negotiation import JSON, PATCHES, YAML

BODIES = (JSON, YAML)

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
PATCH = _META + "Patch"
"""A patch of any of the three kinds; the only definition besides lists that is not in the published file."""
DELETE_OPTIONS = _META + "DeleteOptions"
STATUS = _META + "Status"

_BOOLEAN, _INTEGER, _STRING = "boolean", "integer", "string"
_WRITING = {"dryRun": _STRING, "fieldManager": _STRING, "fieldValidation": _STRING}
_DELETING = {
    "dryRun": _STRING,
    "gracePeriodSeconds": _INTEGER,
    "orphanDependents": _BOOLEAN,
    "propagationPolicy": _STRING,
}
_LISTING = {
    "allowWatchBookmarks": _BOOLEAN,
    "continue": _STRING,
    "fieldSelector": _STRING,
    "labelSelector": _STRING,
    "limit": _INTEGER,
    "resourceVersion": _STRING,
    "resourceVersionMatch": _STRING,
    "sendInitialEvents": _BOOLEAN,
    "timeoutSeconds": _INTEGER,
    "watch": _BOOLEAN,
}
_LOG = {
    "container": _STRING,
    "follow": _BOOLEAN,
    "limitBytes": _INTEGER,
    "previous": _BOOLEAN,
    "sinceSeconds": _INTEGER,
    "sinceTime": _STRING,
    "tailLines": _INTEGER,
    "timestamps": _BOOLEAN,
}
_TERMINAL = {
    "command": _STRING,
    "container": _STRING,
    "stderr": _BOOLEAN,
    "stdin": _BOOLEAN,
    "stdout": _BOOLEAN,
    "tty": _BOOLEAN,
}
_STREAMS = {
    "exec": _TERMINAL,
    "attach": {name: _TERMINAL[name] for name in _TERMINAL if name != "command"},
    "portforward": {"ports": _INTEGER},
}


@dataclass(frozen=True, slots=True)
class Deed:
    """How a verb stands in an OpenAPI document: its HTTP method, its action, the first word of its id, its query."""

    method: str
    action: str
    word: str
    query: dict[str, str]


_DEEDS = {
    "list": Deed("get", "list", "list", _LISTING),
    "create": Deed("post", "post", "create", _WRITING),
    "deletecollection": Deed("delete", "deletecollection", "deleteCollection", {**_DELETING, **_LISTING}),
    "get": Deed("get", "get", "read", {}),
    "update": Deed("put", "put", "replace", _WRITING),
    "patch": Deed("patch", "patch", "patch", {**_WRITING, "force": _BOOLEAN}),
    "delete": Deed("delete", "delete", "delete", _DELETING),
}
_OF_COLLECTION = ("list", "create", "deletecollection")
_OF_OBJECT = ("get", "update", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `body` and `answer` are names of definitions; empty: none (text, a stream).

    `named` is the (group, version, kind) that `x-kubernetes-group-version-kind` tells: kubectl finds by it whether a
    kind takes `fieldValidation` (kubectl/pkg/validation, query_param_verifier_v3).
    """

    path: str
    deed: Deed
    id: str
    named: tuple[str, str, str]
    body: str = ""
    answer: str = ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names in the path, in order: `namespace`, `name`."""
        return tuple(step[1:-1] for step in self.path.split("/") if step.startswith("{"))

    @property
    def body_types(self) -> tuple[str, ...]:
        """Return the media types that the body may have."""
        return tuple(PATCHES) if self.deed.method == "patch" else BODIES


def list_definition(kind: Kind) -> str:
    """Return the name of the definition of a kind's list: `io.k8s.api.core.v1.PodList`."""
    return f"{kind.definition}List"


def operations_of(kind: Kind) -> Iterator[Operation]:
    """Return all that can be done with a kind: with its collection, with one object, with the parts of one."""
    base = path_of(kind.group, kind.version)
    collection = (
        f"{base}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{base}/{kind.plural}"
    )
    if kind.namespaced and "list" in kind.verbs:
        everywhere = f"{base}/{kind.plural}"
        named = f"list{_camel(kind)}{kind.kind}ForAllNamespaces"
        yield Operation(everywhere, _DEEDS["list"], named, _own(kind), "", list_definition(kind))
    for verb in _OF_COLLECTION:
        if verb in kind.verbs:
            yield _operation(kind, collection, verb)
    for verb in _OF_OBJECT:
        if verb in kind.verbs:
            yield _operation(kind, f"{collection}/{{name}}", verb)
    for name in kind.subresources:
        yield from _part_operations(kind, name, f"{collection}/{{name}}/{name}")


def _operation(kind: Kind, path: str, verb: str) -> Operation:
    deed = _DEEDS[verb]
    answers = {"list": list_definition(kind), "delete": STATUS, "deletecollection": STATUS}
    return Operation(path, deed, _id(deed.word, kind), _own(kind), _body(verb, kind.definition),
                     answers.get(verb, kind.definition))  # fmt: skip


def _part_operations(kind: Kind, name: str, path: str) -> Iterator[Operation]:
    part = SUBRESOURCES[name]
    named = (part.group, part.version, part.kind) if part.kind else _own(kind)
    for verb in part.verbs:
        deed, definition = _DEEDS[verb], part.definition or kind.definition
        if name == "log":
            deed = Deed("get", "get", "read", _LOG)
        if name in _STREAMS:
            deed = Deed(deed.method, "connect", f"connect{deed.method.title()}", _STREAMS[name])
        plain = name == "log" or name in _STREAMS
        yield Operation(
            path,
            deed,
            _id(deed.word, kind) + name.title(),
            named,
            "" if plain else _body(verb, definition),
            "" if plain else definition,
        )


def _body(verb: str, definition: str) -> str:
    match verb:
        case "create" | "update":
            return definition
        case "patch":
            return PATCH
        case "delete" | "deletecollection":
            return DELETE_OPTIONS
    return ""


def _own(kind: Kind) -> tuple[str, str, str]:
    return kind.group, kind.version, kind.kind


def _id(word: str, kind: Kind) -> str:
    return f"{word}{_camel(kind)}{'Namespaced' if kind.namespaced else ''}{kind.kind}"


def _camel(kind: Kind) -> str:
    """Return `CoreV1`, `RbacAuthorizationV1`: how a group-version stands in the id of an operation."""
    words = kind.group.removesuffix(".k8s.io").split(".") if kind.group else ["core"]
    return "".join(word.title() for word in (*words, kind.version))
