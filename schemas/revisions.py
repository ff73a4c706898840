"""ControllerRevisions: which ones follow from a StatefulSet or DaemonSet, in Kubernetes' exact form.

A revision is a function of its workload and of the revisions that exist, so the commit that changes a
template can write the revision into the same batch, and a deleted revision is derived again with the same
name and data (pkg/controller/history/controller_history.go, statefulset/stateful_set_utils.go,
daemon/update.go).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.changes import Change, Create, Delete, Replace
from schemas.kinds import CONTROLLER_REVISION, DAEMON_SET
from schemas.objects import (
    Object,
    controller_of,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
    with_fields,
    with_metadata,
)
from schemas.patching import strictly_equal
from schemas.selectors import selector_of

DERIVATION = 1
"""The version of these rules, stored in every event that they produced."""

HASH_LABEL = "controller.kubernetes.io/hash"
"""A StatefulSet's revisions carry the hash of their data here."""
REVISION_LABEL = "controller-revision-hash"
"""Pods name their revision here (a StatefulSet's by name, a DaemonSet's by bare hash), as a DaemonSet's
revisions do."""

_FNV_BASIS, _FNV_PRIME, _32_BITS = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GO_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


@dataclass(frozen=True, slots=True)
class Derivation:
    """What follows from a workload for its revisions.

    changes                the revisions to create, renumber, adopt or merge; empty when nothing follows
    workload               the workload, with status.collisionCount raised where a name was taken
    update_revision_name   the name of the revision that holds the workload's template
    revisions              the workload's revisions once `changes` are applied, oldest first
    """

    changes: tuple[Change, ...]
    workload: Object
    update_revision_name: str
    revisions: tuple[Object, ...]


def go_json(value: Any) -> bytes:
    """Return JSON as Go's `json.Marshal` writes it: compact, keys sorted, `<>&` and U+2028/9 escaped."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    for plain, escaped in _GO_ESCAPES:
        if plain in text:
            text = text.replace(plain, escaped)
    return text


def revision_data(workload: Object) -> tuple[Object, bytes]:
    """Return the `data` of a revision of this workload's template, and its bytes as Go serialises them.

    Only the template is kept, marked to replace whatever it is patched into (getPatch,
    stateful_set_utils.go).
    """
    data = _data_of(workload["spec"]["template"])
    return data, go_json(data)


def _data_of(template: Object) -> Object:
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def template_of(revision: Object) -> Object:
    """Return the pod template that a revision keeps: the inverse of `revision_data`."""
    return {name: value for name, value in revision["data"]["spec"]["template"].items() if name != "$patch"}


def is_kept(template: Object, revisions: Iterable[Object]) -> bool:
    """Say whether one of these revisions holds a template: then nothing is derived, and no name can be taken."""
    data = _data_of(template)
    return any(strictly_equal(each.get("data"), data) for each in revisions)


def statefulset_hash(data: bytes, collision_count: int) -> str:
    """Return the hash of a StatefulSet's revision: FNV-1 over its data and the decimal collision count.

    Upstream calls `fnv.New32`, which is FNV-1 and not FNV-1a, and always passes a count, so an untouched set
    hashes the digit 0 after its data (HashControllerRevision, controller_history.go).
    """
    text, digest = data + str(collision_count).encode(), _FNV_BASIS
    if len(text) % 2:
        digest, text = (digest * _FNV_PRIME & _32_BITS) ^ text[0], text[1:]
    bytes_of = iter(text)
    for one, other in zip(bytes_of, bytes_of, strict=True):  # cut to 32 bits at every second: half the time
        digest = ((digest * _FNV_PRIME ^ one) * _FNV_PRIME ^ other) & _32_BITS
    return safe_encode(digest)


def daemonset_hash(template: Object, collision_count: int | None) -> str:
    """Return the hash of a DaemonSet's template: FNV-1a of its JSON, then eight bytes of the count if set.

    Upstream hashes a debug print of the Go struct (ComputeHash, controller_utils.go), which cannot be
    reproduced outside Go. Ours hashes the template's Go-exact JSON: the same form with other values, which no
    client computes.
    """
    count = b"" if collision_count is None else collision_count.to_bytes(8, "little")
    digest = _FNV_BASIS
    for byte in go_json(template) + count:
        digest = (digest ^ byte) * _FNV_PRIME & _32_BITS
    return safe_encode(digest)


def safe_encode(digest: int) -> str:
    """Return a hash's decimal digits in letters that form no words (rand.SafeEncodeString)."""
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(digest))


def revisions_of(workload: Object, revisions: Iterable[Object]) -> list[Object]:
    """Return the revisions that count as this workload's, oldest first: selected, and owned by it or nobody.

    Ties in number go by creation time, then by name (ListControllerRevisions, byRevision).
    """
    uid = uid_of(workload)
    selector = selector_of(workload["spec"].get("selector"))

    def counts(revision: Object) -> bool:
        owner = controller_of(revision)
        return (owner is None or owner["uid"] == uid) and selector.matches(labels_of(revision))

    return sorted(
        (revision for revision in revisions if counts(revision)),
        key=_age,
    )


def derive(
    workload: Object,
    revisions: Iterable[Object],
    pods: Sequence[Object] | None = None,
    find: Callable[[str], Object | None] | None = None,
) -> Derivation:
    """Conclude which changes of revisions follow from a workload (which has its uid) and those that exist.

    `revisions` are all of the workload's namespace, or at least those it owns and those without an owner; then
    `find` returns the revision of the namespace that has a name, or None. `pods` are a DaemonSet's: equal
    revisions are merged, and the pods of the merged ones relabelled, only where they are given, since nobody
    else knows whom to relabel. Of a workload that is being deleted nothing follows.

    Revisions are matched by data, never by name. StatefulSet: equal to the latest changes nothing, equal to
    an older one renumbers the highest equal (getStatefulSetRevisions). DaemonSet: the highest equal stays and
    is renumbered only if a revision with other data is newer (constructHistory, dedupCurHistories). Else one
    is created. A name that other data has taken raises the collision count (CreateControllerRevision).
    """
    named = {name_of(revision): revision for revision in revisions}
    find = find or named.get
    mine = revisions_of(workload, named.values())
    data, text = revision_data(workload)
    equal = [revision for revision in mine if go_json(revision.get("data")) == text]
    original = workload
    if equal:
        kept = with_fields(equal[-1], revision=_number_of_kept(workload, mine, equal))
    else:
        workload, kept = _new_revision(workload, data, text, find)
        kept = with_fields(kept, revision=_next_number(mine))
    if is_terminating(workload):
        return Derivation((), original, name_of(kept), tuple(mine))

    merged = equal[:-1] if pods is not None and _is_daemon_set(workload) else []
    gone = {name_of(revision) for revision in merged}
    after = [_owned(workload, each) for each in mine if name_of(each) not in gone | {name_of(kept)}]
    if equal or find(name_of(kept)) is None:
        after.append(_owned(workload, kept))
    return Derivation(
        changes=(
            *_written(named, after),
            *(Delete(revision) for revision in merged),
            *_relabelled(pods or (), merged, kept),
        ),
        workload=workload,
        update_revision_name=name_of(kept),
        revisions=tuple(sorted(after, key=_age)),
    )


def history_to_truncate(workload: Object, revisions: Iterable[Object], live: Container[str]) -> list[Object]:
    """Return the revisions beyond spec.revisionHistoryLimit, oldest first.

    `live` holds the names of the current and update revision and the `controller-revision-hash` of every pod.
    A StatefulSet's limit counts only revisions that are not live (truncateHistory, stateful_set_control.go);
    a DaemonSet's counts all but its present one, and skips live ones when it deletes (cleanupHistory,
    daemon/update.go).
    """
    limit = int(workload["spec"].get("revisionHistoryLimit", 10))
    mine = revisions_of(workload, revisions)
    idle = [each for each in mine if name_of(each) not in live]
    if not _is_daemon_set(workload):
        return idle[: max(len(idle) - limit, 0)]
    deletable = [each for each in idle if labels_of(each).get(REVISION_LABEL) not in live]
    return deletable[: max(len(idle) - limit, 0)]


def _age(revision: Object) -> tuple[int, str, str]:
    return revision["revision"], revision["metadata"].get("creationTimestamp", ""), name_of(revision)


def _is_daemon_set(workload: Object) -> bool:
    return bool(workload["kind"] == DAEMON_SET.kind)


def _next_number(revisions: Sequence[Object]) -> int:
    return int(revisions[-1]["revision"]) + 1 if revisions else 1


def _number_of_kept(workload: Object, mine: Sequence[Object], equal: Sequence[Object]) -> int:
    """Return the number that the highest of the equal revisions has to carry."""
    present = int(equal[-1]["revision"])
    if _is_daemon_set(workload):
        return max(present, _next_number([revision for revision in mine if revision not in equal]))
    return present if mine[-1] is equal[-1] else _next_number(mine)


def _new_revision(
    workload: Object, data: Object, text: bytes, find: Callable[[str], Object | None]
) -> tuple[Object, Object]:
    """Return the workload, its collision count raised where names are taken, and its new revision."""
    count: int | None = workload.get("status", {}).get("collisionCount")
    daemon = _is_daemon_set(workload)
    while True:
        template = workload["spec"]["template"]
        digest = daemonset_hash(template, count) if daemon else statefulset_hash(text, count or 0)
        name = f"{name_of(workload)[:223]}-{digest}"
        taken = find(name)
        if taken is None or go_json(taken.get("data")) == text:
            break
        count = (count or 0) + 1
        workload = with_fields(workload, status={**workload.get("status", {}), "collisionCount": count})
    labels = template.get("metadata", {}).get("labels", {})
    metadata: Object = {
        "name": name,
        "namespace": namespace_of(workload),
        "labels": {**labels, REVISION_LABEL if daemon else HASH_LABEL: digest},
        "ownerReferences": [_owner_reference(workload)],
    }
    if annotations := workload["metadata"].get("annotations"):
        metadata["annotations"] = dict(annotations)
    return workload, {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.kind,
        "metadata": metadata,
        "data": data,
    }


def _written(before: Mapping[str, Object], after: Iterable[Object]) -> Iterator[Change]:
    """Return the changes that make the revisions of `before` those of `after`; deletes are not among them."""
    for new in after:
        old = before.get(name_of(new))
        if old is None:
            yield Create(new)
        elif old != new:
            yield Replace(old, new)


def _owner_reference(workload: Object) -> Object:
    return {
        "apiVersion": workload["apiVersion"],
        "kind": workload["kind"],
        "name": name_of(workload),
        "uid": uid_of(workload),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _owned(workload: Object, revision: Object) -> Object:
    """Return the revision adopted, and for a DaemonSet labelled, where it is not yet."""
    if controller_of(revision) is None:
        references = [*revision["metadata"].get("ownerReferences", ()), _owner_reference(workload)]
        revision = with_metadata(revision, ownerReferences=references)
    if _is_daemon_set(workload) and REVISION_LABEL not in labels_of(revision):
        labels = {**labels_of(revision), REVISION_LABEL: name_of(revision)}
        revision = with_metadata(revision, labels=labels)
    return revision


def _relabelled(pods: Iterable[Object], merged: Iterable[Object], kept: Object) -> list[Change]:
    """Return the pods of merged revisions, relabelled to the one that stays."""
    label = labels_of(kept).get(REVISION_LABEL, name_of(kept))
    gone = {labels_of(each).get(REVISION_LABEL, name_of(each)) for each in merged} - {label}
    if not gone:
        return []
    return [
        Replace(pod, with_metadata(pod, labels={**labels_of(pod), REVISION_LABEL: label}))
        for pod in pods
        if labels_of(pod).get(REVISION_LABEL) in gone
    ]
