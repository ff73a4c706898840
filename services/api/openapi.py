"""OpenAPI: what the objects look like and what can be done with them, for programs (kubectl explain, its validation).

Version 3 is a document for each group-version and an index of them, version 2 one document for all. Both are made of
the definitions in schemas/kubernetes-1.36.json and of services.api.operations. The definitions have no prose, so
`kubectl explain` shows fields and types without descriptions. A document is made when it is first asked for, and kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from schemas.definitions import definitions
from schemas.kinds import SERVED, SUBRESOURCES, Kind
from schemas.patching import Json
from services.api.discovery import GIT_VERSION, group_versions, kinds_of, path_of
from services.api.negotiation import JSON
from services.api.openapi_binary import MEDIA_TYPE as PROTOBUF
from services.api.openapi_binary import openapi_v2_message
from services.api.operations import (
    BODIES,
    DELETE_OPTIONS,
    PATCH,
    STATUS,
    Operation,
    list_definition,
    operations_of,
)

_INFO = {"title": "Chronoset", "version": GIT_VERSION}
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_OWN_MARKS = ("x-keep", "x-always")
_NAMED = "x-kubernetes-group-version-kind"


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is sent, and the hash of it: its ETag (in quotes), and what stands in the index."""

    body: bytes
    hash: str

    @property
    def etag(self) -> str:
        return f'"{self.hash}"'


def _document(content: Json) -> Document:
    return _kept(orjson.dumps(content))


def _kept(body: bytes) -> Document:
    return Document(body, hashlib.sha256(body).hexdigest()[:32].upper())


@cache
def index_v3() -> Document:
    """Return `/openapi/v3`: where each group-version's document is. The address changes with its content."""
    found = {_place(*pair): document_v3(*pair) for pair in group_versions()}
    paths = {
        place: {"serverRelativeURL": f"/openapi/v3/{place}?hash={document.hash}"}
        for place, document in found.items()
        if document is not None
    }
    return _document({"paths": paths})


@cache
def document_v3(group: str, version: str) -> Document | None:
    """Return `/openapi/v3/apis/<group>/<version>`, or `/openapi/v3/api/v1`; None where it is not served."""
    kinds = kinds_of(group, version)
    if not kinds:
        return None
    schemas = {name: _translated(schema, _as_v3) for name, schema in _reached(kinds).items()}
    return _document(
        {
            "openapi": "3.0.0",
            "info": _INFO,
            "paths": _paths(kinds, _path_parameter_v3, _operation_v3),
            "components": {"schemas": schemas},
        }
    )


@cache
def document_v2(media_type: str = JSON) -> Document:
    """Return `/openapi/v2`, swagger 2.0 of all that is served: in JSON, or as the protobuf message Go clients read."""
    schemas = {name: _translated(schema, _as_v2) for name, schema in _reached(SERVED).items()}
    content = {
        "swagger": "2.0",
        "info": _INFO,
        "paths": _paths(SERVED, _path_parameter_v2, _operation_v2),
        "definitions": schemas,
    }
    return _kept(openapi_v2_message(content)) if media_type == PROTOBUF else _document(content)


def v2_media_type(accept: str) -> str:
    """Return the media type in which to answer `/openapi/v2` to an Accept header."""
    offered = (word.split(";")[0].strip().replace("v2@v1.0", "v2.v1.0") for word in accept.split(","))
    return next((word for word in offered if word in (PROTOBUF, JSON)), JSON)


def _place(group: str, version: str) -> str:
    return path_of(group, version).removeprefix("/")


def _paths(
    kinds: Iterable[Kind], parameter: Callable[[str], Json], written: Callable[[Operation], Json]
) -> Json:
    paths: dict[str, Json] = {}
    for operation in (each for kind in kinds for each in operations_of(kind)):
        found = paths.setdefault(operation.path, {"parameters": [*map(parameter, operation.parameters)]})
        found[operation.deed.method] = written(operation)
    return paths


def _reached(kinds: Iterable[Kind]) -> Mapping[str, Json]:
    """Return the definitions that the kinds and their operations reach, each kind's with its group-version-kind."""
    rows = list(kinds)
    parts = (SUBRESOURCES[name] for kind in rows for name in kind.subresources)
    every = {**definitions(), **{list_definition(kind): _list_schema(kind) for kind in rows}}
    every[PATCH] = {"type": "object"}
    for name, named in _names_of_kinds():
        if name in every:
            every[name] = {**every[name], _NAMED: [*every[name].get(_NAMED, ()), named]}
    starts = [PATCH, DELETE_OPTIONS, STATUS]
    starts += [list_definition(kind) if "list" in kind.verbs else kind.definition for kind in rows]
    starts += [part.definition for part in parts if part.definition]
    found: dict[str, Json] = {}
    while starts:
        name = starts.pop()
        if name not in found:
            found[name] = every[name]
            starts.extend(_references(every[name]))
    return dict(sorted(found.items()))


def _list_schema(kind: Kind) -> Json:
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": {"$ref": f"#/$defs/{kind.definition}"}},
            "kind": {"type": "string"},
            "metadata": {"$ref": f"#/$defs/{_META}ListMeta"},
        },
    }


def _names_of_kinds() -> Iterator[tuple[str, Json]]:
    """Return each definition that is a kind, with what `x-kubernetes-group-version-kind` says; some are of several."""
    for kind in SERVED:
        yield kind.definition, _named(kind.group, kind.version, kind.kind)
        yield list_definition(kind), _named(kind.group, kind.version, f"{kind.kind}List")
    kinds = {kind.definition for kind in SERVED}
    for part in SUBRESOURCES.values():
        if part.definition and part.definition not in kinds:
            yield part.definition, _named(part.group, part.version, part.kind)
    for group, version in group_versions():
        yield DELETE_OPTIONS, _named(group, version, "DeleteOptions")
    yield STATUS, _named("", "v1", "Status")


def _named(group: str, version: str, kind: str) -> Json:
    return {"group": group, "version": version, "kind": kind}


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for inner in node for name in _references(inner)]
    if not isinstance(node, dict):
        return []
    found = [name for inner in node.values() for name in _references(inner)]
    return [*found, _target(node)] if isinstance(node.get("$ref"), str) else found


def _target(schema: Json) -> str:
    return str(schema["$ref"]).rsplit("/", 1)[1]


def _translated(schema: Json, form: Callable[[Json], Json]) -> Json:
    """Return a schema of ours in the words of one OpenAPI version, without the marks that are ours."""
    result = {word: value for word, value in schema.items() if word not in _OWN_MARKS}
    if "properties" in result:
        result["properties"] = {
            name: _translated(inner, form) for name, inner in result["properties"].items()
        }
    for word in ("items", "additionalProperties"):
        if isinstance(result.get(word), dict):
            result[word] = _translated(result[word], form)
    return form(result)


def _as_v3(schema: Json) -> Json:
    """Put a reference that has neighbours into `allOf` (3.0 would ignore them), several types into `oneOf`."""
    if "$ref" in schema:
        reference = {"$ref": f"#/components/schemas/{_target(schema)}"}
        others = {word: value for word, value in schema.items() if word != "$ref"}
        return {**others, "allOf": [reference]} if others else reference
    if isinstance(schema.get("type"), list):
        choices = [{"type": word} for word in schema["type"]]
        mark = {"format": "int-or-string"} if "integer" in schema["type"] else {}
        return {**{word: value for word, value in schema.items() if word != "type"}, **mark, "oneOf": choices}
    return schema


def _as_v2(schema: Json) -> Json:
    """Point references at `definitions`; what has several types is a string there, as Kubernetes writes it."""
    if "$ref" in schema:
        return {**schema, "$ref": f"#/definitions/{_target(schema)}"}
    if isinstance(schema.get("type"), list):
        mark = {"format": "int-or-string"} if "integer" in schema["type"] else {}
        return {**schema, "type": "string", **mark}
    return schema


def _common(operation: Operation) -> Json:
    """Return what both versions say in the same words."""
    return {
        "operationId": operation.id,
        "x-kubernetes-action": operation.deed.action,
        _NAMED: _named(*operation.named),
    }


def _answer_code(operation: Operation) -> str:
    return "201" if operation.deed.action == "post" else "200"


def _path_parameter_v3(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}


def _operation_v3(operation: Operation) -> Json:
    answer: dict[str, Json] = {"description": "OK"}
    if operation.answer:
        answer["content"] = _content(operation.answer, BODIES)
    query = [
        {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
        for name, kind in sorted(operation.deed.query.items())
    ]
    body = {"requestBody": _body_v3(operation)} if operation.body else {}
    return {**_common(operation), "parameters": query, **body, "responses": {_answer_code(operation): answer}}


def _body_v3(operation: Operation) -> Json:
    content = _content(operation.body, operation.body_types)
    return {"content": content, **({} if operation.body == DELETE_OPTIONS else {"required": True})}


def _content(definition: str, media_types: Iterable[str]) -> Json:
    schema = {"$ref": f"#/components/schemas/{definition}"}
    return {media_type: {"schema": schema} for media_type in media_types}


def _path_parameter_v2(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "type": "string", "uniqueItems": True}


def _operation_v2(operation: Operation) -> Json:
    answer: dict[str, Json] = {"description": "OK"}
    if operation.answer:
        answer["schema"] = {"$ref": f"#/definitions/{operation.answer}"}
    parameters: list[Json] = [
        {"name": name, "in": "query", "type": kind, "uniqueItems": True}
        for name, kind in sorted(operation.deed.query.items())
    ]
    if operation.body:
        schema = {"$ref": f"#/definitions/{operation.body}"}
        required = {} if operation.body == DELETE_OPTIONS else {"required": True}
        parameters.append({"name": "body", "in": "body", **required, "schema": schema})
    return {
        **_common(operation),
        "consumes": list(operation.body_types) if operation.body else ["*/*"],
        "produces": list(BODIES) if operation.answer else [JSON, "text/plain"],
        "parameters": parameters,
        "responses": {_answer_code(operation): answer},
    }
