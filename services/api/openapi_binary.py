"""OpenAPI version 2 as protobuf: the only form of it that Go clients read.

kubectl 1.27 and 1.28 read it before they apply anything, `explain` of 1.27 too. The messages are those of gnostic's
OpenAPIv2.proto; only the fields that services.api.openapi writes are here, by their numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from schemas.patching import Json

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What the answer is called. Clients ask for it with `v2@v1.0`, which is no media type that they would read."""

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def openapi_v2_message(document: Mapping[str, Json]) -> bytes:
    """Return a swagger 2.0 document, as services.api.openapi makes it, as a message `openapi.v2.Document`."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    paths = (_named(2, path, _path_item(item)) for path, item in document["paths"].items())
    schemas = (_named(1, name, _schema(schema)) for name, schema in document["definitions"].items())
    return _text(1, document["swagger"]) + _part(2, info) + _parts(8, paths) + _parts(9, schemas)


def _schema(schema: Mapping[str, Json]) -> bytes:
    more, properties = schema.get("additionalProperties"), schema.get("properties") or {}
    return b"".join(
        (
            _text(1, schema.get("$ref", "")),
            _text(2, schema.get("format", "")),
            *(_text(19, name) for name in schema.get("required", ())),
            _part(21, _part(1, _schema(more))) if isinstance(more, dict) else b"",
            _part(22, _text(1, schema["type"])) if "type" in schema else b"",
            _part(23, _part(1, _schema(schema["items"]))) if "items" in schema else b"",
            _parts(25, (_named(1, name, _schema(inner)) for name, inner in properties.items())),
            *_extensions(31, schema),
        )
    )


def _path_item(item: Mapping[str, Json]) -> bytes:
    operations = (_part(_METHODS[name], _operation(item[name])) for name in _METHODS if name in item)
    return b"".join((*operations, *(_part(9, _parameter(each)) for each in item["parameters"])))


def _operation(operation: Mapping[str, Json]) -> bytes:
    answers = (_named(1, code, _part(1, _answer(answer))) for code, answer in operation["responses"].items())
    return b"".join(
        (
            _text(5, operation["operationId"]),
            *(_text(6, media_type) for media_type in operation["produces"]),
            *(_text(7, media_type) for media_type in operation["consumes"]),
            *(_part(8, _parameter(each)) for each in operation["parameters"]),
            _parts(9, answers),
            *_extensions(13, operation),
        )
    )


def _answer(answer: Mapping[str, Json]) -> bytes:
    schema = _part(2, _part(1, _schema(answer["schema"]))) if "schema" in answer else b""
    return _text(1, answer["description"]) + schema


def _parameter(parameter: Mapping[str, Json]) -> bytes:
    """Return a ParametersItem: of the body, of the query or of the path, each of which is a message of its own."""
    name, place = parameter["name"], _text(2, parameter["in"])
    required = bool(parameter.get("required"))
    match parameter["in"]:
        case "body":
            body = (
                _text(2, name)
                + _text(3, "body")
                + _flag(4, required)
                + _part(5, _schema(parameter["schema"]))
            )
            return _part(1, _part(1, body))
        case "query":
            query = (
                _flag(1, required) + place + _text(4, name) + _text(6, parameter["type"]) + _flag(20, True)
            )
            return _part(1, _part(2, _part(3, query)))
    path = _flag(1, required) + place + _text(4, name) + _text(5, parameter["type"]) + _flag(19, True)
    return _part(1, _part(2, _part(4, path)))


def _extensions(number: int, value: Mapping[str, Json]) -> Iterable[bytes]:
    """Return what begins with `x-`: a name and its value as YAML, of which JSON is a part."""
    for name, content in value.items():
        if name.startswith("x-"):
            yield _part(number, _text(1, name) + _part(2, _text(2, json.dumps(content))))


def _named(number: int, name: str, value: bytes) -> bytes:
    """Return an entry of a map: a message of name and value."""
    return _part(number, _text(1, name) + _part(2, value))


def _parts(number: int, entries: Iterable[bytes]) -> bytes:
    """Return a message made of entries."""
    return _part(number, b"".join(entries))


def _text(number: int, text: str) -> bytes:
    return _part(number, text.encode()) if text else b""


def _flag(number: int, value: bool) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _part(number: int, content: bytes) -> bytes:
    """Return a field whose value has a length: wire type 2."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
