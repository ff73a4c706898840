"""Bytes of a manifest into objects: YAML or JSON, several documents, read strictly.

What a person hands in is untrusted and often mistyped. So the size is checked before anything is parsed, and
whatever would be read differently by two programs (duplicate keys, NaN, numbers beyond 64 bits, keys that are no
strings) is refused with a line that names the document, the field and what would be accepted.

YAML is read as Kubernetes reads it (sigs.k8s.io/yaml, YAML 1.1): `yes` and `on` are booleans, `0644` is octal,
and what looks like a date (`2026-11-23`) stays the string it is written as.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from schemas.errors import BadRequest
from schemas.kinds import BY_NAME, KINDS
from schemas.objects import Object, type_name

MAX_BYTES = 3 * 1024 * 1024
MAX_DEPTH = 100
MAX_ALIASED_VALUES = 100_000
"""How many values all aliases of one input may repeat; a nested-anchor bomb has billions."""

_LONGEST_MESSAGE = 500
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LEAST, _GREATEST = -(2**63), 2**63 - 1

_has_surrogate_escape = re.compile(r"\\[uU](?:0000)?[dD][89a-fA-F]").search
_has_surrogate = re.compile("[\ud800-\udfff]").search
_is_integer = re.compile(
    r"[-+]?(0[bB][01]+|0[oO]?[0-7]+|0[xX][0-9a-fA-F]+|0|[1-9][0-9]*)", re.ASCII
).fullmatch
_is_float = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII).fullmatch
_NOT_FINITE = {f"{sign}.{word}" for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")}
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((*_NOT_FINITE, ".nan", ".NaN", ".NAN"), math.nan),
}


def parse_documents(data: bytes, source: str = "") -> list[Object]:
    """Return the objects of a manifest in order: YAML or JSON, documents and `kind: List` items alike.

    Each has a known apiVersion and kind and a metadata.name; their schemas are checked elsewhere
    (schemas.canonical). `source` is the file's name, for the messages. Raises BadRequest.
    """
    try:
        documents = _read(_text_of(data))
        objects = [obj for number, read in documents for obj in _objects_of(read, number)]
    except _Refused as refused:
        raise BadRequest(_line(source, refused)) from None
    if not objects:
        raise BadRequest(f"{source or 'input'}: holds no object; write apiVersion, kind and metadata.name")
    return objects


def parse_value(data: bytes, source: str = "") -> Any:
    """Return the one JSON (or YAML) value of `data`, read as strictly as a manifest. Raises BadRequest."""
    try:
        values = [value for _, value in _read(_text_of(data))]
    except _Refused as refused:
        raise BadRequest(_line(source, refused)) from None
    if len(values) != 1:
        raise BadRequest(f"{source or 'input'}: holds {len(values)} values; write one")
    return values[0]


class _Refused(Exception):
    pass


class _NoJson(_Refused):
    """The text is no JSON; perhaps it is YAML."""


def _line(source: str, refused: _Refused) -> str:
    text = " ".join(str(refused).split())
    text = text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "..."
    return f"{source}: {text}" if source else text


def _text_of(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _Refused(f"{len(data)} bytes are too many; a manifest may have {MAX_BYTES} (3 MiB): split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Refused(
            f"byte {error.start} (0x{data[error.start]:02x}) is no UTF-8; save the text as UTF-8"
        ) from None


def _read(text: str) -> list[tuple[int, Any]]:
    """Return (number of the document, value), without empty documents."""
    values = _read_either(text) if text.lstrip()[:1] in ("{", "[") else list(_read_yaml(text))
    if _has_surrogate_escape(text):
        for number, value in values:
            _refuse_surrogates(value, number, "")
    return [(number, value) for number, value in values if value is not None]


def _read_either(text: str) -> list[tuple[int, Any]]:
    """Read what looks like JSON. What JSON refuses is read again as YAML, which it may be, and which names fields."""
    try:
        return _read_json(text)
    except _Refused as refused:
        try:
            values = list(_read_yaml(text))
        except _Unreadable:
            raise refused from None
        if isinstance(refused, _NoJson):
            return values
        raise


def _objects_of(value: Any, number: int) -> list[Object]:
    if not isinstance(value, dict):
        raise _Refused(
            f"document {number}: is a {type_name(value)}; write an object with apiVersion and kind"
        )
    if value.get("kind") == "List" and value.get("apiVersion") == "v1":
        items = value.get("items")
        if not isinstance(items, list):
            raise _Refused(f"document {number}: items: is a {type_name(items)}; write a list of objects")
        return [obj for item in items for obj in _objects_of(item, number)]
    _check_identity(value, number)
    return [value]


def _check_identity(obj: Object, number: int) -> None:
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    for name, held in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(held, str) or not held:
            raise _Refused(
                f"document {number}: {name}: {_shown(held)}; write a string, as apiVersion: apps/v1 and "
                "kind: StatefulSet"
            )
    if (api_version, kind) not in BY_NAME:
        raise _Refused(
            f"document {number}: apiVersion, kind: {api_version}, {kind} is unknown; {_alternatives(kind)}"
        )
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        raise _Refused(f"document {number}: metadata: {_shown(metadata)}; write an object with a name")
    own_name = metadata.get("name")
    if not isinstance(own_name, str) or not own_name:
        raise _Refused(
            f"document {number}: metadata.name: {_shown(own_name)}; every object needs a name, as db"
        )


def _alternatives(kind: Any) -> str:
    same = [row.api_version for row in KINDS if row.kind == kind]
    if same:
        return f"write apiVersion: {same[0]}"
    return "write one of " + ", ".join(f"{row.kind} ({row.api_version})" for row in KINDS)


def _read_json(text: str) -> list[tuple[int, Any]]:
    """Read one or more JSON values; `---` lines may stand between them."""
    values: list[tuple[int, Any]] = []
    at = _next_value(text, 0)
    while at < len(text):
        number = len(values) + 1
        try:
            value, at = _json_decoder(number).raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise _NoJson(
                f"document {number}: no JSON at line {error.lineno}, column {error.colno}: {error.msg}"
            ) from None
        except RecursionError:
            raise _Refused(_too_deep(number)) from None
        if _is_too_deep(value):
            raise _Refused(_too_deep(number))
        values.append((number, value))
        at = _next_value(text, at)
    return values


_between = re.compile(r"\s*(?:---\s*)*")


def _next_value(text: str, at: int) -> int:
    found = _between.match(text, at)
    return found.end() if found else at


def _json_decoder(number: int) -> json.JSONDecoder:
    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise _Refused(
                f"document {number}: {twice!r} is written twice in one object; write each key once"
            )
        return result

    def refuse_constant(word: str) -> None:
        raise _Refused(f"document {number}: {word} is no JSON number; write a finite number")

    return json.JSONDecoder(
        object_pairs_hook=object_of,
        parse_int=lambda text: _integer(text, 10, f"document {number}"),
        parse_float=lambda text: _float(text, f"document {number}"),
        parse_constant=refuse_constant,
    )


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _members(outer) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _members(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _too_deep(number: int, where: str = "") -> str:
    return f"document {number}: {where + ': ' if where else ''}is nested deeper than {MAX_DEPTH} levels"


def _integer(text: str, base: int, where: str) -> int:
    number = int(text, base) if len(text) <= 80 else _GREATEST + 1
    if not _LEAST <= number <= _GREATEST:
        raise _Refused(
            f"{where}: {text[:40]} does not fit 64 bits; write {_LEAST} to {_GREATEST}, or a string"
        )
    return number


def _float(text: str, where: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused(f"{where}: {text[:40]} is no finite number; write one below 1.8e308, or a string")
    return number


class _Unreadable(_Refused):
    """The text is no YAML at all."""


def _read_yaml(text: str) -> Iterator[tuple[int, Any]]:
    number = 0
    loader = None
    try:
        loader = _LOADER(text)
        reader = _YamlReader(loader)
        while not loader.check_event(yaml.StreamEndEvent):
            event = loader.get_event()
            if isinstance(event, yaml.DocumentStartEvent):
                number += 1
                reader.number, reader.anchors = number, {}
                value = reader.value(loader.get_event(), ())
                if reader.aliased and _is_too_deep(value):
                    raise _Refused(_too_deep(number))
                yield number, value
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join(str(error.problem or error.context).split())
        raise _Unreadable(f"document {max(number, 1)}: no YAML{place}: {problem}") from None
    except yaml.YAMLError as error:
        raise _Unreadable(f"document {max(number, 1)}: no YAML: {' '.join(str(error).split())}") from None
    finally:
        if loader is not None:
            loader.dispose()


_Path = tuple[str | int, ...]


@dataclass(slots=True)
class _YamlReader:
    """Builds values from the events of a YAML parser, so that nothing is made before it is checked."""

    loader: Any
    number: int = 0
    anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    """Values by anchor, each with how many values it holds."""
    made: int = 0
    aliased: int = 0

    def value(self, event: Any, path: _Path) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            self.made += 1
            result: Any = self.scalar(event, path)
        elif isinstance(event, yaml.AliasEvent):
            return self.alias(event.anchor, path)
        else:
            if len(path) >= MAX_DEPTH:
                raise _Refused(_too_deep(self.number, _dotted(path[:4]) + "..."))
            before = self.made
            self.made += 1
            result = self.mapping(path) if isinstance(event, yaml.MappingStartEvent) else self.sequence(path)
            if event.tag not in (None, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
                raise self.refusal(path, f"the tag {event.tag} is unknown; leave it out")
            if event.anchor is not None:
                self.anchors[event.anchor] = result, self.made - before
            return result
        if event.anchor is not None:
            self.anchors[event.anchor] = result, 1
        return result

    def alias(self, anchor: str | None, path: _Path) -> Any:
        if anchor is None or anchor not in self.anchors:
            raise self.refusal(path, f"the alias *{anchor} has no finished anchor &{anchor} before it")
        value, size = self.anchors[anchor]
        self.aliased += size
        self.made += size
        if self.aliased > MAX_ALIASED_VALUES:
            raise self.refusal(path, f"aliases repeat more than {MAX_ALIASED_VALUES} values; write them out")
        return value

    def sequence(self, path: _Path) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := self.loader.get_event(), yaml.SequenceEndEvent):
            result.append(self.value(event, (*path, len(result))))
        return result

    def mapping(self, path: _Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[Any] = []
        while not isinstance(event := self.loader.get_event(), yaml.MappingEndEvent):
            if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
                merged.append(self.value(self.loader.get_event(), (*path, "<<")))
                continue
            key = self.value(event, (*path, "?"))
            if not isinstance(key, str):
                raise self.refusal(path, f"the key {key!r} is a {type_name(key)}; put it in quotes")
            if key in result:
                raise self.refusal((*path, key), "is written twice in one object; write each key once")
            result[key] = self.value(self.loader.get_event(), (*path, key))
        for source in merged:
            self.merge(result, source, path)
        return result

    def merge(self, result: dict[str, Any], source: Any, path: _Path) -> None:
        """Add the fields of a merge key's value (`<<: *base`) that are not written out."""
        sources = source if isinstance(source, list) else [source]
        for fields in sources:
            if not isinstance(fields, dict):
                raise self.refusal((*path, "<<"), f"is a {type_name(fields)}; write an alias of an object")
            for key, value in fields.items():
                result.setdefault(key, value)

    def scalar(self, event: Any, path: _Path) -> Any:
        text = str(event.value)
        tag = (event.tag or "").removeprefix("tag:yaml.org,2002:")
        if tag in ("str", "!") or (not tag and not event.implicit[0]):
            return text
        if tag not in ("", "null", "bool", "int", "float", "timestamp"):
            raise self.refusal(path, f"the tag {event.tag} is unknown; leave it out")
        if text in _WORDS:
            word = _WORDS[text]
            if isinstance(word, float):
                raise self.refusal(path, f"{text} is no JSON number; write a finite number")
            return word
        return self.number_or_text(text, path)

    def number_or_text(self, text: str, path: _Path) -> Any:
        if text[0] not in "+-.0123456789":
            return text
        plain = text.replace("_", "")
        where = f"document {self.number}: {_dotted(path)}"
        if _is_integer(plain):
            digits = plain.lstrip("+-")
            octal = len(digits) > 1 and digits[0] == "0" and digits.isdecimal()
            return _integer(plain, 8 if octal else 0, where)
        return _float(plain, where) if _is_float(plain) else text

    def refusal(self, path: _Path, problem: str) -> _Refused:
        where = _dotted(path)
        return _Refused(f"document {self.number}: {where + ': ' if where else ''}{problem}")


def _refuse_surrogates(value: Any, number: int, where: str) -> None:
    if isinstance(value, str) and _has_surrogate(value):
        raise _Refused(f"document {number}: {where}: {value!a} has half a character (a lone surrogate)")
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_surrogates(key, number, f"{where}.{key!a}".lstrip("."))
            _refuse_surrogates(inner, number, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_surrogates(inner, number, f"{where}[{index}]")


def _dotted(path: _Path) -> str:
    """Return `spec.containers[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _shown(value: Any) -> str:
    return "is missing" if value is None else f"{str(value)[:60]!r} is a {type_name(value)}"
