"""Whole objects and patches of them: what `apply` and `patch` come to."""

from __future__ import annotations

from typing import Any, cast

from schemas.applying import apply_manifest
from schemas.canonical import FieldValidation, canonical
from schemas.changes import Change, Create, Replace
from schemas.documents import parse_documents
from schemas.errors import BadRequest, Cause, Conflict, Invalid, NotFound
from schemas.kinds import NAMESPACE, SECRET
from schemas.objects import (
    Key,
    Object,
    key_of_object,
    kind_of,
    namespace_of,
    uid_of,
    version_of,
    with_metadata,
)
from schemas.patching import Json, apply_merge_patch
from schemas.strategic import apply_strategic_patch
from schemas.validation import validate_create, validate_update
from services.commands.admission import admitted
from services.commands.commands import JSON_PATCH, STRATEGIC_PATCH, Apply, Patch, Revert
from services.commands.objects import json_patched
from services.commands.sources import Sources, existing, subject_of

_GIVEN_BY_US = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
)
"""Metadata that a manifest copied from a cluster carries, and that is never its author's wish."""
Verdict = tuple[tuple[Change, ...], tuple[str, ...]]
"""Changes and warnings."""

read_manifests = parse_documents


def checked_manifest(obj: Object, namespace: str, field_validation: str) -> Object:
    """Return a manifest as a command carries it: with a namespace, without what a cluster adds (status, uid, ...).

    `namespace` is for objects that name none; empty: `default`. Raises Invalid where it is not valid by itself, or
    names another namespace than the one given.
    """
    manifest = _placed(obj, namespace)
    if causes := _version_causes(manifest):
        raise Invalid(_spoken(manifest), causes)
    _valid_new(apply_manifest(manifest, None, kind_of(manifest)), field_validation)
    return manifest


def decide_apply(command: Apply, sources: Sources) -> Verdict:
    """Conclude what applying a manifest comes to: a new object, or a three-way merge into the live one.

    The three are the manifest, what was applied before (its annotation) and the live object, as `kubectl apply` does
    on the client (kubectl/pkg/cmd/apply/patcher.go). Raises Invalid, Conflict (a resourceVersion that has moved).
    """
    manifest, kind = command.manifest, kind_of(command.manifest)
    key = key_of_object(manifest)
    live = sources.get(key)
    if live is None:
        if version_of(manifest):
            raise Conflict(key, version_of(manifest), 0)
        obj, warnings = _valid_new(apply_manifest(manifest, None, kind), command.field_validation)
        return (Create(admitted(None, obj, sources)),), warnings
    clear = sources.unseal(live)
    wanted = apply_manifest(manifest, clear, kind)
    return _admitted(_replacement(live, clear, wanted, command.field_validation), sources)


def decide_patch(command: Patch, sources: Sources) -> Verdict:
    """Conclude what a patch comes to. Raises NotFound, BadRequest (the patch), Invalid (its result), Conflict."""
    live = existing(sources, command.key)
    clear = sources.unseal(live)
    patched = _patched(clear, command)
    _check_identity(command.key, clear, patched)
    return _admitted(_replacement(live, clear, patched, command.field_validation), sources)


def decide_revert(command: Revert, sources: Sources) -> Verdict:
    """Conclude what it takes to make an object what it was, but for its metadata and status: a change like any other.

    Raises NotFound (what is gone is applied anew), Invalid (what of it cannot be changed any more), BadRequest for a
    Secret that was made anew: sealed values are opened for the Secret that they belong to, and for no other's author.
    """
    live = sources.get(command.key)
    if live is None:
        raise NotFound(
            f"{subject_of(command.key)} is not there any more; make it anew from what it was: "
            "chronoset replay --at WHEN KIND NAME -o yaml | chronoset apply -f -",
            command.key,
        )
    if live["kind"] == SECRET.kind and uid_of(live) != uid_of(command.then):
        raise BadRequest(
            f"{subject_of(command.key)} is another one than it was then: its values are not this one's to open; apply "
            "them anew"
        )
    clear, then = sources.unseal(live), sources.unseal(command.then)
    ours = ("apiVersion", "kind", "metadata", "status")
    kept = {name: value for name, value in clear.items() if name in ours}
    wanted = {**kept, **{name: value for name, value in then.items() if name not in ours}}
    return _admitted(_replacement(live, clear, wanted, "Ignore"), sources)


def _placed(obj: Object, namespace: str) -> Object:
    metadata = {name: value for name, value in obj["metadata"].items() if name not in _GIVEN_BY_US}
    if not kind_of(obj).namespaced:
        return {**_without_status(obj), "metadata": metadata}
    named = metadata.get("namespace")
    if named and namespace and named != namespace:
        problem = f"Invalid value: {named!r}: does not match --namespace {namespace}; leave one of them out"
        raise Invalid(f'{kind_of(obj).plural} "{metadata["name"]}"', (Cause("metadata.namespace", problem),))
    return {**_without_status(obj), "metadata": {**metadata, "namespace": named or namespace or "default"}}


def _without_status(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name != "status"}


def _valid_new(obj: Object, field_validation: str) -> tuple[Object, tuple[str, ...]]:
    checked = canonical(obj, cast(FieldValidation, field_validation))
    causes = checked.causes or validate_create(checked.object)
    if causes:
        raise Invalid(_spoken(obj), causes)
    return checked.object, checked.warnings


def _replacement(live: Object, clear: Object, wanted: Object, field_validation: str) -> Verdict:
    """Return the change from `live` to what is wanted; `clear` is `live` with its values unsealed."""
    asked = version_of(wanted)
    if asked not in (0, version_of(live)):
        raise Conflict(key_of_object(live), asked, version_of(live))
    whole = _with_what_is_ours(clear, wanted)
    checked = canonical(whole, cast(FieldValidation, field_validation), stored=clear)
    causes = checked.causes or validate_update(clear, checked.object)
    if causes:
        raise Invalid(_spoken(live), causes)
    return (Replace(live, checked.object),), checked.warnings


def _admitted(verdict: Verdict, sources: Sources) -> Verdict:
    changes, warnings = verdict
    return tuple(_admitted_change(change, sources) for change in changes), warnings


def _admitted_change(change: Change, sources: Sources) -> Change:
    if isinstance(change, Replace):
        return Replace(change.old, admitted(change.old, change.new, sources))
    return change


def _with_what_is_ours(live: Object, wanted: Object) -> Object:
    """Return what is wanted with what only the cluster sets: the status, some metadata, a namespace's finalizers."""
    ours = {name: live["metadata"].get(name) for name in (*_GIVEN_BY_US, "resourceVersion")}
    theirs = ("status", "spec") if live["kind"] == NAMESPACE.kind else ("status",)
    rest = {name: value for name, value in wanted.items() if name not in theirs}
    return {**with_metadata(rest, **ours), **{name: live[name] for name in theirs if name in live}}


def _patched(clear: Object, command: Patch) -> Json:
    if command.type == JSON_PATCH:
        return json_patched(clear, command.patch)
    if command.type == STRATEGIC_PATCH:
        return apply_strategic_patch(clear, command.patch, kind_of(clear).definition)
    if not isinstance(command.patch, dict):
        raise BadRequest('--patch: a merge patch is an object, as {"spec":{"replicas":3}}')
    return apply_merge_patch(clear, command.patch)


def _check_identity(key: Key, old: Object, new: Any) -> None:
    """Raise Invalid where a patch made something else of an object, or no object at all."""
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        raise Invalid(subject_of(key), (Cause("metadata", "Required value: the patch removes it"),))
    pairs = [(name, old.get(name), new.get(name)) for name in ("apiVersion", "kind")]
    pairs += [
        (f"metadata.{name}", old["metadata"].get(name), new["metadata"].get(name))
        for name in ("name", "namespace")
    ]
    causes = tuple(
        Cause(name, f"Invalid value: {after!r}: field is immutable, it is {before!r}")
        for name, before, after in pairs
        if before != after
    )
    causes += _version_causes(new)
    if causes:
        raise Invalid(subject_of(key), causes)


def _version_causes(obj: Object) -> tuple[Cause, ...]:
    version = obj["metadata"].get("resourceVersion") or "0"
    if isinstance(version, str) and version.isascii() and version.isdecimal() and len(version) < 20:
        return ()
    return (Cause("metadata.resourceVersion", f"Invalid value: {version!r}: must be a decimal string"),)


def _spoken(obj: Object) -> str:
    """Return `StatefulSet.apps "default/db"`."""
    kind = kind_of(obj)
    name = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    place = f"{namespace_of(obj)}/" if namespace_of(obj) else ""
    return f'{name} "{place}{obj["metadata"]["name"]}"'
