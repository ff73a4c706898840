"""Whole objects as an API's client writes them: create, update, patch, and the parts with a path of their own. Pure.

What the registries' strategies do between decoding and storing (apiserver/pkg/registry/rest/{create,update}.go and
pkg/registry/*/strategy.go): a client's word on what is ours counts for nothing, a write of the object leaves its status
alone and one of the status all else, and a version or uid that was named must be the present one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.canonical import Canonical, canonical
from schemas.changes import Create, Replace
from schemas.documents import MAX_BYTES
from schemas.errors import AlreadyExists, BadRequest, Cause, Invalid, Outdated, PatchFailed
from schemas.event_shapes import core_event_of, events_event_of
from schemas.kinds import EVENT, LEASE, NAMESPACE, NODE, SERVICE, SUBRESOURCES, Kind
from schemas.objects import (
    Key,
    Object,
    key_of_object,
    kind_of,
    split_key,
    uid_of,
    version_of,
    with_metadata,
)
from schemas.patching import Json, apply_json_patch, apply_merge_patch
from schemas.validation import validate_create, validate_update
from services.commands.commands import JSON_PATCH, MERGE_PATCH
from services.commands.deciding import Decided
from services.commands.sources import Sources, existing, subject_of

STATUS = "status"
SCALE = "scale"
MOST_OPERATIONS = 10_000
"""Of a JSON patch, as many as the API server takes."""
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
_OURS = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
)
_NOBODYS = ("managedFields", "selfLink")
_CREATED_BY_UPDATE = frozenset(
    (
        LEASE.resource,
        EVENT.resource,
        SERVICE.resource,
        "rbac.authorization.k8s.io/roles",
        "rbac.authorization.k8s.io/rolebindings",
        "rbac.authorization.k8s.io/clusterroles",
        "rbac.authorization.k8s.io/clusterrolebindings",
    )
)
"""Kinds whose PUT creates what is not there (AllowCreateOnUpdate)."""

Admission = Callable[[Object | None, Object], tuple[Object, tuple[str, ...]]]
"""Given what is there (None: nothing) and what is to be: what becomes of it, and warnings. Raises what it refuses."""


@dataclass(frozen=True, slots=True)
class CreateObject:
    """Make an object that must not exist. It has a name."""

    object: Object
    field_validation: str = "Warn"


@dataclass(frozen=True, slots=True)
class UpdateObject:
    """Put a whole object, or the part of it that `subresource` names, in the place of what is there."""

    key: Key
    object: Object
    subresource: str = ""
    field_validation: str = "Warn"


@dataclass(frozen=True, slots=True)
class PatchObject:
    """Change an object, or the part of it that `subresource` names, by a patch: `json`, `merge` or `strategic`.

    `kind` is that whose shape the patch is written for, where it may not be the stored one's.
    """

    key: Key
    type: str
    patch: Json
    subresource: str = ""
    field_validation: str = "Warn"
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """Give a pod that has no node one; `uid`, where it is not empty, is the pod's."""

    key: Key
    node: str
    uid: str = ""


Write = CreateObject | UpdateObject | PatchObject


def admit_all(_old: Object | None, new: Object) -> tuple[Object, tuple[str, ...]]:
    """Admit everything as it is."""
    return new, ()


def decide_write(command: Write, sources: Sources, admission: Admission = admit_all) -> Decided:
    """Conclude what a write comes to. Raises NotFound, AlreadyExists, Outdated, BadRequest, Invalid, Forbidden."""
    match command:
        case CreateObject():
            return decide_create(command, sources, admission)
        case UpdateObject():
            return decide_update(command, sources, admission)
        case PatchObject():
            return decide_patch(command, sources, admission)


def decide_create(command: CreateObject, sources: Sources, admission: Admission = admit_all) -> Decided:
    """Conclude what creating an object comes to."""
    obj = command.object
    key = key_of_object(obj)
    if version_of_text(obj):
        raise BadRequest("resourceVersion should not be set on objects to be created")
    if sources.get(key) is not None:
        raise AlreadyExists(f"{subject_of(key)} already exists", key)
    obj = with_metadata(obj, **dict.fromkeys((*_OURS, *_NOBODYS)))
    if STATUS in kind_of(obj).subresources and obj["kind"] != NODE.kind:
        obj = {name: value for name, value in obj.items() if name != "status"}
    checked, warnings = checked_object(obj, command.field_validation)
    new, said = admission(None, checked)
    if causes := validate_create(new):
        raise Invalid(subject_of(key), causes)
    return Decided((Create(new),), (*warnings, *said))


def decide_update(command: UpdateObject, sources: Sources, admission: Admission = admit_all) -> Decided:
    """Conclude what putting an object comes to; of a few kinds a missing one is created."""
    resource = split_key(command.key)[0]
    if resource in _CREATED_BY_UPDATE and not command.subresource and sources.get(command.key) is None:
        obj = with_metadata(command.object, resourceVersion=None)
        return decide_create(CreateObject(obj, command.field_validation), sources, admission)
    live = existing(sources, command.key)
    clear = sources.unseal(live)
    if command.subresource == SCALE:
        return _replacement(live, clear, scaled(clear, command.object), command, admission)
    return _replacement(live, clear, command.object, command, admission)


def decide_patch(command: PatchObject, sources: Sources, admission: Admission = admit_all) -> Decided:
    """Conclude what a patch comes to."""
    live = existing(sources, command.key)
    clear = sources.unseal(live)
    if command.subresource == SCALE:
        wanted = scaled(clear, _patched(scale_of(clear), command, SUBRESOURCES[SCALE].definition))
    elif command.kind is not None and command.kind.stored_as:
        shown = events_event_of(clear)
        wanted = _patched(shown, command, command.kind.definition)
        _check_identity(shown, wanted)
        wanted = core_event_of(wanted)
    else:
        wanted = _patched(clear, command, kind_of(clear).definition)
        _check_identity(clear, wanted)
    return _replacement(live, clear, wanted, command, admission)


def decide_bind(command: Bind, sources: Sources) -> Object:
    """Return the pod with its node set. Raises Outdated where it has one already, is another, or ends."""
    pod = existing(sources, command.key)
    name = pod["metadata"]["name"]
    if command.uid and command.uid != uid_of(pod):
        raise Outdated(command.key, _other_uid(command.uid, pod))
    if "deletionTimestamp" in pod["metadata"]:
        raise Outdated(command.key, f"pod {name} is being deleted, cannot be assigned to a host")
    if bound := pod["spec"].get("nodeName"):
        raise Outdated(command.key, f'pod {name} is already assigned to node "{bound}"')
    return {**pod, "spec": {**pod["spec"], "nodeName": command.node}}


def json_patched(target: Object, patch: Json) -> Json:
    """Return what a JSON patch makes of an object. Raises BadRequest where it, or that, is too long; PatchFailed."""
    if isinstance(patch, list) and len(patch) > MOST_OPERATIONS:
        raise BadRequest(f"a JSON patch of {len(patch)} operations is too long: at most {MOST_OPERATIONS}")
    patched = apply_json_patch(target, patch)
    if not _is_within(patched, MAX_BYTES):
        raise BadRequest(f"the patch makes more than {MAX_BYTES} bytes of the object")
    return patched


def scale_of(workload: Object) -> Object:
    """Return a StatefulSet as its Scale (registry/apps/statefulset/storage scaleFromStatefulSet)."""
    metadata = workload["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    spec, status = workload["spec"], workload.get("status") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": {"replicas": status.get("replicas", 0), "selector": _selector_text(spec.get("selector"))},
    }


def scaled(workload: Object, scale: Json) -> Object:
    """Return the workload with the replicas that a Scale says, resting on the version and uid that it names."""
    if not isinstance(scale, dict) or not isinstance(scale.get("metadata", {}), dict):
        raise BadRequest("a Scale is an object with spec.replicas")
    spec = scale.get("spec") or {}
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else None
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise BadRequest(f"spec.replicas: {replicas!r} is no whole number")
    if replicas < 0:
        problem = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise Invalid("Scale", (Cause("spec.replicas", problem),))
    named = {
        name: scale["metadata"].get(name) or None
        for name in ("uid", "resourceVersion")
        if "metadata" in scale
    }
    return with_metadata({**workload, "spec": {**workload["spec"], "replicas": replicas}}, **named)


def checked_object(
    obj: Object, field_validation: str, stored: Object | None = None
) -> tuple[Object, tuple[str, ...]]:
    """Return the canonical form of an object, and warnings. Raises BadRequest for what its kind cannot hold.

    Unknown fields are named as the API server names them: an error under Strict, a warning under Warn, else nothing.
    Where the object is to take the place of `stored`, what it leaves alone stays as it is.
    """
    checked = canonical(obj, "Ignore", stored)
    _refuse_shape(obj, checked)
    unknown = tuple(f'unknown field "{path}"' for path in checked.unknown)
    if unknown and field_validation == "Strict":
        raise BadRequest(f"{_cannot_be_handled(obj)}: strict decoding error: {', '.join(unknown)}")
    return checked.object, (*(unknown if field_validation == "Warn" else ()), *checked.warnings)


def version_of_text(obj: Object) -> str:
    """Return the resourceVersion that a client wrote; `0` and nothing are the same: none."""
    version = obj["metadata"].get("resourceVersion") or ""
    return "" if version == "0" else str(version)


def check_preconditions(key: Key, live: Object, uid: str, version: str) -> None:
    """Raise Outdated where an object is not the one that is named (each empty: whichever)."""
    if uid and uid != uid_of(live):
        raise Outdated(key, _other_uid(uid, live))
    if version and version != str(version_of(live)):
        raise Outdated(
            key,
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({version_of(live)}). The object might have been modified",
        )


def _replacement(
    live: Object, clear: Object, wanted: Object, command: UpdateObject | PatchObject, admission: Admission
) -> Decided:
    """Return the change of `live` (`clear`: with its values unsealed) into what is wanted of it."""
    key, metadata = command.key, wanted["metadata"]
    if (uid := metadata.get("uid")) and uid != uid_of(live):
        raise Outdated(key, _other_uid(uid, live))
    asked = version_of_text(wanted)
    if asked and not _is_version(asked):
        problem = f"Invalid value: {asked!r}: must be a decimal string".replace("'", '"')
        raise Invalid(subject_of(key), (Cause("metadata.resourceVersion", problem),))
    if asked and int(asked) != version_of(live):
        raise Outdated(key, MODIFIED)
    whole = _status_written(clear, wanted) if command.subresource == STATUS else _spec_written(clear, wanted)
    try:
        checked, warnings = checked_object(whole, command.field_validation, clear)
    except BadRequest as error:
        if isinstance(command, PatchObject):
            raise PatchFailed(str(error)) from error
        raise
    new, said = admission(clear, checked)
    if causes := validate_update(clear, new):
        raise Invalid(subject_of(key), causes)
    return Decided((Replace(live, new),), (*warnings, *said))


def _spec_written(clear: Object, wanted: Object) -> Object:
    """Return what is wanted with the status and the metadata that are not a client's to write."""
    rest = wanted
    if STATUS in kind_of(clear).subresources:
        rest = {name: value for name, value in wanted.items() if name != "status"}
        if "status" in clear:
            rest["status"] = clear["status"]
    if clear["kind"] == NAMESPACE.kind:
        rest = {**rest, "spec": clear.get("spec", {})}
    return _with_our_metadata(clear, rest)


def _status_written(clear: Object, wanted: Object) -> Object:
    """Return the object with the status, and the labels and annotations, that are wanted of it."""
    status = {"status": wanted["status"]} if wanted.get("status") else {}
    rest = {name: value for name, value in clear.items() if name != "status"}
    metadata = {**wanted["metadata"], "ownerReferences": clear["metadata"].get("ownerReferences")}
    return _with_our_metadata(clear, {**rest, **status, "metadata": metadata})


def _with_our_metadata(clear: Object, wanted: Object) -> Object:
    ours = {name: clear["metadata"].get(name) for name in _OURS}
    return with_metadata(wanted, **ours, **dict.fromkeys(_NOBODYS))


def _patched(target: Object, command: PatchObject, definition: str) -> Json:
    if command.type == JSON_PATCH:
        return json_patched(target, command.patch)
    if not isinstance(command.patch, dict):
        raise BadRequest("a merge patch is an object")
    if command.type == MERGE_PATCH:
        return apply_merge_patch(target, command.patch)
    from schemas.strategic import apply_strategic_patch

    return apply_strategic_patch(target, command.patch, definition)


def _is_within(value: Json, most: int) -> bool:
    """Say whether a value is at most some bytes long, roughly; what is shared within it counts each time.

    A few copies of copies in a JSON patch are longer than any memory once they are written out.
    """
    size, rest = 0, [value]
    while rest:
        each = rest.pop()
        size += 2 + (len(each) if isinstance(each, str) else 0)
        if size > most:
            return False
        if isinstance(each, dict):
            rest.extend(each)
            rest.extend(each.values())
        elif isinstance(each, list):
            rest.extend(each)
    return True


def _check_identity(old: Object, new: Json) -> None:
    """Raise where a patch made another object, or none, of an object (handlers/patch.go, rest.go checkName)."""
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        raise Invalid(old["kind"], (Cause("metadata", "Required value", "FieldValueRequired"),))
    for name in ("apiVersion", "kind"):
        if new.get(name) != old[name]:
            raise BadRequest(
                f"{name}: the patch makes it {new.get(name)!r}, but it is {old[name]!r} for good"
            )
    for name in ("name", "namespace"):
        was, now = old["metadata"].get(name, ""), new["metadata"].get(name, "")
        if was != now:
            raise BadRequest(f"the {name} of the object ({now}) does not match the {name} on the URL ({was})")


def _refuse_shape(obj: Object, checked: Canonical) -> None:
    mistyped = [str(cause) for cause in checked.causes if cause.reason == "FieldValueTypeInvalid"]
    if mistyped:
        raise BadRequest(f"{_cannot_be_handled(obj)}: {'; '.join(mistyped)}")
    if checked.causes:
        raise Invalid(obj["kind"], checked.causes)


def _cannot_be_handled(obj: Object) -> str:
    kind: Kind = kind_of(obj)
    return f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'


def _other_uid(uid: str, live: Object) -> str:
    return f"Precondition failed: UID in precondition: {uid}, UID in object meta: {uid_of(live)}"


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20


def _selector_text(selector: Object | None) -> str:
    """Return a selector as text (metav1.FormatLabelSelector): `app=web,tier in (a,b)`."""
    parts = [f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for expression in (selector or {}).get("matchExpressions") or ():
        key, values = expression["key"], ",".join(sorted(expression.get("values") or ()))
        match expression["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(parts)
