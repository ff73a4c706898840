"""Kubernetes' protobuf envelope into the object that the same client would have sent as JSON.

kubectl 1.32 and typed Go clients send built-in kinds so. The envelope is four bytes and a `runtime.Unknown`: a kind and
the bytes of its message. schemas/protobuf-1.33.json (scripts/protobuf writes it) has the numbers of fields; their types
follow from the definitions that JSON is checked by, so a message is described when it is first met, and the protobuf
library reads it. What Go would leave out of JSON (zeros that are no pointers) is left out.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

from schemas.definitions import definitions
from schemas.kinds import SERVED, SUBRESOURCES, Kind, Subresource
from schemas.objects import Object
from schemas.patching import Json
from schemas.times import rfc3339
from services.api.failures import bad_request, unsupported_media_type

MAGIC = b"k8s\x00"
MOST_MESSAGES = 50_000
"""Messages in one body: an empty one takes two bytes and some microseconds. The largest pods hold a thousand."""
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_DELETE_OPTIONS = _META + "DeleteOptions"
_TIME, _MICRO_TIME, _FIELDS = _META + "Time", _META + "MicroTime", _META + "FieldsV1"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_RAW = "io.k8s.apimachinery.pkg.runtime.RawExtension"
_UNKNOWN, _TYPE_META, _STRINGS = "Unknown", "TypeMeta", "Strings"
_FILE = "chronoset.proto"

_PLAIN: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    _TIME: (("seconds", "int64", ""), ("nanos", "int64", "")),
    _MICRO_TIME: (("seconds", "int64", ""), ("nanos", "int64", "")),
    _FIELDS: (("raw", "bytes", ""),),
    _QUANTITY: (("string", "string", ""),),
    _INT_OR_STRING: (("type", "int64", ""), ("intVal", "int64", ""), ("strVal", "string", "")),
    _RAW: (("raw", "bytes", ""),),
    _STRINGS: (("items", "string", "list"),),
    _TYPE_META: (("apiVersion", "string", ""), ("kind", "string", "")),
    _UNKNOWN: (
        ("typeMeta", _TYPE_META, ""),
        ("raw", "bytes", ""),
        ("contentEncoding", "string", ""),
        ("contentType", "string", ""),
    ),
}
"""Messages that are no struct in JSON, or are none of its definitions: fields in the order of their numbers."""
_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int64": FieldDescriptorProto.TYPE_INT64,
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message, as JSON has it.

    type      string, bytes, bool, int64 (of which int32 is a part), or the name of a message
    several   `list`, `map` (from strings), or empty
    embedded  the fields, by number, of a message that has no name in JSON: they stand beside the others
    """

    name: str
    type: str
    several: str = ""
    keeps_zero: bool = True
    embedded: Mapping[int, Field] | None = None


def decode(body: bytes, expected: tuple[str, str], read_json: Callable[[bytes], Json]) -> Object:
    """Return the object in an envelope.

    `expected` are the apiVersion and kind of one that names none; `read_json` reads what is JSON within the message. A
    field whose number is unknown becomes an unknown field (`#41`), to be refused, warned of or ignored as the client
    wants. Raises Failure 400 for what is no message, 415 for a kind that is not read in this form.
    """
    if not body.startswith(MAGIC):
        raise bad_request(f"the body is no Kubernetes protobuf message: it begins with {body[:4]!r}")
    try:
        envelope = _message_class(_UNKNOWN).FromString(body[len(MAGIC) :])
        meta = envelope.typeMeta
        api_version, kind = (_text(meta.apiVersion), _text(meta.kind)) if meta.kind else expected
        definition = _definition_of(api_version, kind)
        if definition is None or envelope.contentEncoding or envelope.contentType:
            raise unsupported_media_type(
                (), f"{kind or 'this'} ({api_version}) is not read as protobuf here: send application/json"
            )
        message = _message_class(definition).FromString(envelope.raw)
        return {"apiVersion": api_version, "kind": kind, **_Reading(read_json).struct(message, definition)}
    except (DecodeError, OverflowError, OSError, ValueError) as error:
        raise bad_request(f"the body is no Kubernetes protobuf message: {error}") from error


def field_type_of(schema: Mapping[str, Any]) -> tuple[str, str]:
    """Return `type` and `several` of the field whose value has a schema."""
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1], ""
    match schema.get("type"):
        case "array":
            return field_type_of(schema["items"])[0], "list"
        case "object":
            inner, several = field_type_of(schema["additionalProperties"])
            return _STRINGS if several else inner, "map"
        case "string":
            return "bytes" if schema.get("format") == "byte" else "string", ""
        case "integer":
            return "int64", ""
        case "boolean":
            return "bool", ""
    raise ValueError(f"{schema} is no field of a message")


@dataclass(slots=True)
class _Reading:
    """One walk over a message, which may hold so many others."""

    read_json: Callable[[bytes], Json]
    left: int = MOST_MESSAGES

    def struct(self, message: Any, definition: str) -> Object:
        return self._fields(message, _fields_of(definition))

    def _fields(self, message: Any, fields: Mapping[int, Field]) -> Object:
        found: Object = {}
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"it holds more than {MOST_MESSAGES} messages")
        for described, value in message.ListFields():
            field = fields[described.number]
            if field.embedded is not None:
                found.update(self._fields(value, field.embedded))
            elif field.several == "list":
                found[field.name] = [self._value(each, field.type) for each in value]
            elif field.several == "map":
                found[field.name] = {
                    _text(name): self._value(each, field.type) for name, each in value.items()
                }
            elif value or field.keeps_zero:
                read = self._value(value, field.type)
                if read is not None:
                    found[field.name] = read
        found.update((f"#{unknown.field_number}", True) for unknown in UnknownFieldSet(message))
        return found

    def _value(self, value: Any, kind: str) -> Json:
        match kind:
            case "bytes":
                return b64encode(value).decode()
            case "string":
                return _text(value)
            case "int64" | "bool":
                return value
            case _ if kind == _STRINGS:
                return [_text(each) for each in value.items]
        return _SPECIAL[kind](value, self.read_json) if kind in _SPECIAL else self.struct(value, kind)


def _text(value: str | bytes) -> str:
    """Return a string; the library gives bytes where it is no UTF-8. Raises ValueError."""
    if isinstance(value, bytes):
        raise ValueError(f"{value[:40]!r} is no UTF-8")
    return value


def _time(value: Any, _: object) -> Json:
    return rfc3339(value.seconds * 1000) if value.ByteSize() else None


def _micro_time(value: Any, _: object) -> Json:
    if not 0 <= value.nanos < 10**9:
        raise ValueError(f"nanos: {value.nanos} is no part of a second")
    return f"{rfc3339(value.seconds * 1000)[:-1]}.{value.nanos // 1000:06d}Z" if value.ByteSize() else None


def _int_or_string(value: Any, _: object) -> Json:
    return _text(value.strVal) if value.type else value.intVal


def _raw(value: Any, read_json: Callable[[bytes], Json]) -> Json:
    return read_json(value.raw) if value.raw else None


def _quantity(value: Any, _: object) -> Json:
    return _text(value.string)


_SPECIAL: Mapping[str, Callable[[Any, Callable[[bytes], Json]], Json]] = {
    _TIME: _time,
    _MICRO_TIME: _micro_time,
    _INT_OR_STRING: _int_or_string,
    _RAW: _raw,
    _FIELDS: _raw,
    _QUANTITY: _quantity,
}


def _definition_of(api_version: str, kind: str) -> str | None:
    return _DELETE_OPTIONS if kind == "DeleteOptions" else _definitions_by_name().get((api_version, kind))


@cache
def _definitions_by_name() -> Mapping[tuple[str, str], str]:
    parts = [part for part in SUBRESOURCES.values() if part.definition]
    rows: list[Kind | Subresource] = [*SERVED, *parts]
    return {(row.api_version, row.kind): row.definition for row in rows}


@cache
def numbers() -> Mapping[str, Any]:
    """Return the numbers of fields by definition, as scripts/protobuf wrote them."""
    text = files("schemas").joinpath("protobuf-1.33.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def _fields_of(definition: str) -> Mapping[int, Field]:
    """Return the fields of a message by number."""
    if definition in _PLAIN:
        return {number: Field(*row) for number, row in enumerate(_PLAIN[definition], 1)}
    return dict(_numbered(numbers().get(definition, {}), definitions()[definition]))


def _numbered(table: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[int, Field]]:
    required = schema.get("required", ())
    for name, number in table.items():
        if isinstance(number, dict):
            yield int(name), Field("", "", embedded=dict(_numbered(number, schema)))
        else:
            inner = schema["properties"][name]
            kept = "x-keep" in inner or name in required
            yield number, Field(name, *field_type_of(inner), keeps_zero=kept)


@cache
def _message_class(definition: str) -> Any:
    """Return the class of a message; made with all others that it can hold."""
    file = FileDescriptorProto(name=_FILE, syntax="proto2")
    waiting, seen = [definition], {definition}
    while waiting:
        name = waiting.pop()
        message, held = _described("", _plain_name(name), _fields_of(name))
        file.message_type.append(message)
        waiting += held - seen
        seen |= held
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(_plain_name(definition)))


def _described(
    outer: str, message_name: str, fields: Mapping[int, Field]
) -> tuple[DescriptorProto, set[str]]:
    """Return the description of a message that is described within `outer`, and the names of those that it holds."""
    message, path = DescriptorProto(name=message_name), f"{outer}.{message_name}"
    held: set[str] = set()
    for number, field in fields.items():
        name = field.name or f"embedded{number}"
        if field.embedded is not None:
            inner, inner_held = _described(path, f"Embedded{number}", field.embedded)
            message.nested_type.append(inner)
            held |= inner_held
            _add(message, name, number, f"{path}.{inner.name}")
            continue
        if field.type not in _SCALARS:
            held.add(field.type)
        if field.several == "map":
            entry = message.nested_type.add(name=_entry_name(name))
            entry.options.map_entry = True
            _add(entry, "key", 1, "string")
            _add(entry, "value", 2, field.type)
            _add(message, name, number, f"{path}.{entry.name}", repeated=True)
        else:
            _add(message, name, number, field.type, repeated=field.several == "list")
    return message, held


def _add(message: DescriptorProto, name: str, number: int, kind: str, repeated: bool = False) -> None:
    label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, label=label)
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = kind if kind.startswith(".") else f".{_plain_name(kind)}"


def _plain_name(definition: str) -> str:
    """Return the name of a definition as protobuf allows it."""
    return definition.replace(".", "_")


def _entry_name(field: str) -> str:
    """Return the name that protobuf wants of a map's entry: `MatchLabelsEntry`."""
    return "".join(part[:1].upper() + part[1:] for part in field.split("_")) + "Entry"
