"""Bodies into values: objects, patches, DeleteOptions. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from schemas.documents import MAX_BYTES, MAX_DEPTH, parse_value
from schemas.errors import BadRequest
from schemas.event_shapes import core_event_of
from schemas.objects import Object
from schemas.patching import Json
from services.api.failures import bad_request
from services.api.negotiation import JSON, PROTOBUF, YAML, body_type_of
from services.api.paths import propagation_of
from services.api.protobuf import decode
from services.api.requests import Options, Target

MAX_BODY = MAX_BYTES


def value_of(body: bytes, media_type: str, strict: bool = False) -> Json:
    """Return the one value of a body. With `strict` also a key that is written twice is refused. Raises Failure 400."""
    if media_type == YAML or strict:
        try:
            return parse_value(body)
        except BadRequest as error:
            raise bad_request(f"the body cannot be read: {error}") from error
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is no JSON: {error}") from error
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_too_deep(value):
        raise bad_request(f"the body is nested deeper than {MAX_DEPTH} levels")
    return value


def object_of(body: bytes, content_type: str, target: Target) -> Object:
    """Return the object that a create or an update carries, as far as it must be right to be decided upon.

    It has the apiVersion and kind of the target (or of its subresource; an Event of events.k8s.io gets those that are
    stored), metadata, and the target's namespace and name (handlers/create.go, update.go, rest.go checkName).
    """
    part = target.part
    kind = part.kind if part and part.kind else target.kind.kind
    api_version = part.api_version if part and part.kind else target.kind.api_version
    strict = target.options.field_validation == "Strict"
    obj = _typed_value_of(body, content_type, (api_version, kind), strict)
    if not isinstance(obj, dict):
        raise bad_request("the body is no object")
    if not obj.get("kind") and not obj.get("apiVersion"):
        obj = {"apiVersion": api_version, "kind": kind, **obj}
    if (obj.get("apiVersion"), obj.get("kind")) != (api_version, kind):
        raise bad_request(
            f"{obj.get('kind')} in version {obj.get('apiVersion')!r} cannot be handled as a {kind}: "
            f"this path takes {kind} ({api_version})".replace("'", '"')
        )
    placed = _placed(obj, target)
    return core_event_of(placed) if target.kind.stored_as else placed


def patch_of(body: bytes) -> Json:
    """Return the patch that a body is."""
    return value_of(body, JSON)


def delete_options_of(body: bytes, content_type: str, options: Options) -> Options:
    """Return the options of a delete: those of the query, unless the body has any, which then counts alone."""
    if not body:
        return options
    given = _typed_value_of(body, content_type, ("v1", "DeleteOptions"))
    if not isinstance(given, dict):
        raise bad_request("the body of a delete is a DeleteOptions object")
    if given.get("kind", "DeleteOptions") != "DeleteOptions":
        raise bad_request(f"the body of a delete is a DeleteOptions object, not a {given['kind']}")
    return with_delete_options(options, given)


def part_of(obj: Object, field: str) -> Object:
    """Return a field that is an object, empty where there is none. Raises Failure 400."""
    found: Object = _typed(obj, field, dict) or {}
    return found


def with_delete_options(options: Options, given: Object) -> Options:
    """Return options with what a DeleteOptions object says. Raises Failure 400 and 422."""
    preconditions = _typed(given, "preconditions", dict) or {}
    dry_run = _typed(given, "dryRun", list) or []
    if any(each != "All" for each in dry_run):
        raise bad_request(f"dryRun: {dry_run} is not supported; write All")
    propagation = _typed(given, "propagationPolicy", str) or ""
    orphan = _typed(given, "orphanDependents", bool)
    if propagation and orphan is not None:
        raise bad_request("orphanDependents and deletionPropagation cannot be both set")
    return replace(
        options,
        grace_seconds=_typed(given, "gracePeriodSeconds", int, options.grace_seconds),
        propagation=propagation_of("propagationPolicy", propagation) if propagation else options.propagation,
        orphan=options.orphan if orphan is None else orphan,
        dry_run=bool(dry_run) or options.dry_run,
        expected_uid=_typed(preconditions, "uid", str) or "",
        expected_version=_typed(preconditions, "resourceVersion", str) or "",
    )


def _typed_value_of(body: bytes, content_type: str, expected: tuple[str, str], strict: bool = False) -> Json:
    """Return the value of a body that is of a kind (`expected`, where it names none), and so may be protobuf."""
    media_type = body_type_of(content_type)
    if media_type != PROTOBUF:
        return value_of(body, media_type, strict)
    return decode(body, expected, lambda inner: value_of(inner, JSON))


def _placed(obj: Object, target: Target) -> Object:
    metadata = obj.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise bad_request("metadata is no object")
    for field in ("name", "namespace", "generateName", "uid", "resourceVersion"):
        _typed(metadata, field, str)
    namespace, name = metadata.get("namespace") or "", metadata.get("name") or ""
    if target.namespace and namespace not in ("", target.namespace):
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if target.name and name not in ("", target.name):
        raise bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({target.name})"
        )
    if target.verb == "update" and not name:
        raise bad_request("name must be provided")
    placed = {**metadata, "namespace": target.namespace} if target.namespace else metadata
    return {**obj, "metadata": placed}


def _typed(obj: Object, field: str, kind: type, default: Any = None) -> Any:
    value = obj.get(field)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise bad_request(f"{field}: {value!r} is no {_WORDS[kind]}")
    return value


_WORDS = {dict: "object", list: "list", str: "string", bool: "boolean", int: "whole number"}


def _is_too_deep(value: Json) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = (
            each.values() if isinstance(each, dict) else each
            for each in level
            if isinstance(each, dict | list)
        )
        level = [each for members in inner for each in members if isinstance(each, dict | list)]
        if not level:
            return False
    return True
