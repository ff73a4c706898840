"""What each command comes to, as changes: no log, no clock."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Create, Delete, Replace
from schemas.deletion import FOREGROUND_FINALIZER, ORPHAN_FINALIZER
from schemas.errors import BadRequest, ChronosetError, Conflict, Invalid, NotFound
from schemas.objects import Object
from schemas.patching import strictly_equal
from services.commands.commands import (
    Apply,
    Command,
    Patch,
    Restart,
    Revert,
    Scale,
    Switch,
    Undo,
    digest,
)
from services.commands.commands import Delete as DeleteCommand
from services.commands.deciding import decide
from services.commands.manifests import checked_manifest
from tests.builders import a_pod, a_state
from tests.services.commands.worlds import DB, NOON, Known, a_manifest, a_stored_set

IMAGE_PATCH = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "mysql:5.7.23"}]


def decided(command: Command, *objects: Object) -> Any:
    (change,) = decide(command, Known(a_state(*objects)), NOON).changes
    return change


def image_of(workload: Object) -> str:
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])


def test_scaling_changes_the_replicas_and_nothing_else() -> None:
    old = a_stored_set()
    change = decided(Scale(DB, 5), old)
    assert change.old is old
    assert change.new == {**old, "spec": {**old["spec"], "replicas": 5}}


@pytest.mark.parametrize("replicas", [-1, 100_001])
def test_replicas_out_of_range_are_refused_with_field_and_value(replicas: int) -> None:
    with pytest.raises(Invalid, match=rf"spec.replicas: Invalid value: {replicas}: must be .* from 0 to"):
        decided(Scale(DB, replicas), a_stored_set())


def test_only_what_has_replicas_is_scaled() -> None:
    with pytest.raises(BadRequest, match='pods "db-0" has no replicas to scale'):
        decided(Scale("core/pods/default/db-0", 1), a_pod("db-0"))


@pytest.mark.parametrize(
    "command", [Scale(DB, 1), Patch(DB, "merge", {}), DeleteCommand(DB), Undo(DB), Restart(DB)]
)
def test_what_does_not_exist_is_named_with_its_namespace(command: Command) -> None:
    with pytest.raises(NotFound, match=r'statefulsets.apps "db" not found in namespace default'):
        decided(command)


def test_the_json_patch_of_the_documentation_sets_the_image() -> None:
    change = decided(Patch(DB, "json", IMAGE_PATCH), a_stored_set())
    assert image_of(change.new) == "mysql:5.7.23"


def test_a_merge_patch_merges() -> None:
    patch = {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}}
    change = decided(Patch(DB, "merge", patch), a_stored_set())
    assert change.new["spec"]["updateStrategy"]["rollingUpdate"]["partition"] == 2
    assert change.new["spec"]["replicas"] == 3


def test_a_patch_that_says_what_is_there_changes_nothing() -> None:
    change = decided(Patch(DB, "merge", {"spec": {"replicas": 3}}), a_stored_set())
    assert strictly_equal(change.old, change.new)


def test_a_patch_cannot_set_the_status_or_what_only_the_cluster_sets() -> None:
    patch = {
        "status": {"replicas": 9},
        "metadata": {"uid": "other", "deletionTimestamp": "2026-01-01T00:00:00Z"},
    }
    change = decided(Patch(DB, "merge", patch), a_stored_set())
    assert strictly_equal(change.old, change.new)


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"spec": {"replicas": -1}}, "spec.replicas"),
        ({"spec": {"replicas": "three"}}, "spec.replicas"),
        ({"spec": {"replica": 3}}, "spec.replica"),
        ({"spec": {"serviceName": "other"}}, "spec"),
        ({"metadata": {"name": "other"}}, "metadata.name"),
        ({"kind": "Pod"}, "kind"),
        ({"metadata": {"resourceVersion": "x"}}, "metadata.resourceVersion"),
    ],
)
def test_a_patch_with_a_bad_result_is_refused_with_its_field(patch: Object, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        decided(Patch(DB, "merge", patch), a_stored_set())
    assert field in [cause.field for cause in refused.value.causes]


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", [1]),
        ("json", {"op": "add"}),
        ("json", [{"op": "replace", "path": "/spec/nosuch", "value": 1}]),
        ("json", [{"op": "replace", "path": "", "value": 1}]),
        ("json", [{"op": "remove", "path": "/metadata"}]),
    ],
)
def test_what_is_no_patch_of_this_object_is_refused(kind: str, patch: Any) -> None:
    with pytest.raises(ChronosetError) as refused:
        decided(Patch(DB, kind, patch), a_stored_set())
    assert refused.value.exit_code == 2


def test_a_resource_version_that_has_moved_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="expected position 6, found 7"):
        decided(Patch(DB, "merge", {"metadata": {"resourceVersion": "6"}}), a_stored_set())


@pytest.mark.parametrize(
    ("cascade", "finalizers"), [("foreground", [FOREGROUND_FINALIZER]), ("orphan", [ORPHAN_FINALIZER])]
)
def test_a_cascade_that_waits_leaves_a_finalizer(cascade: str, finalizers: list[str]) -> None:
    change = decided(DeleteCommand(DB, cascade), a_stored_set())
    assert isinstance(change, Replace) and change.new["metadata"]["finalizers"] == finalizers


def test_a_deletion_in_the_background_is_done_at_once() -> None:
    assert isinstance(decided(DeleteCommand(DB), a_stored_set()), Delete)


def test_a_bound_pod_gets_the_grace_asked_for() -> None:
    change = decided(
        DeleteCommand("core/pods/default/db-0", grace_seconds=5), a_pod("db-0", node="n1", phase="Running")
    )
    assert change.new["metadata"]["deletionGracePeriodSeconds"] == 5


def test_a_restart_marks_the_template_with_the_time() -> None:
    change = decided(Restart(DB), a_stored_set())
    annotations = change.new["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"kubectl.kubernetes.io/restartedAt": "2026-11-23T12:00:00Z"}


def test_applying_what_does_not_exist_creates_it_with_defaults() -> None:
    change = decided(Apply(a_manifest()))
    assert isinstance(change, Create)
    assert change.object["spec"]["revisionHistoryLimit"] == 10


def test_applying_keeps_what_others_set_and_removes_what_is_no_longer_said() -> None:
    """A person scaled what the manifest never mentioned; a label that the manifest drops goes."""
    manifest = a_manifest()
    del manifest["spec"]["replicas"]
    labelled = {**manifest, "metadata": {**manifest["metadata"], "labels": {"old": "yes"}}}
    created = decided(Apply(labelled)).object
    live = {**created, "spec": {**created["spec"], "replicas": 5}}
    change = decided(
        Apply(manifest), {**live, "metadata": {**live["metadata"], "uid": "u", "resourceVersion": "7"}}
    )
    assert change.new["spec"]["replicas"] == 5
    assert "labels" not in change.new["metadata"]


def test_a_manifest_read_from_a_cluster_applies_to_it_without_change() -> None:
    live = a_stored_set()
    created = decided(Apply(a_manifest())).object
    live["metadata"]["annotations"] = created["metadata"]["annotations"]
    again = checked_manifest({**live, "status": {"replicas": 3}}, "", "Strict")
    change = decided(Apply(again), live)
    assert change.new["spec"] == live["spec"]


def test_a_manifest_gets_the_namespace_given_and_none_where_its_kind_has_none() -> None:
    manifest = a_manifest()
    del manifest["metadata"]["namespace"]
    assert checked_manifest(manifest, "shop", "Strict")["metadata"]["namespace"] == "shop"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    assert "namespace" not in checked_manifest(namespace, "shop", "Strict")["metadata"]
    with pytest.raises(
        Invalid, match=r"metadata.namespace: Invalid value: 'default': does not match --namespace shop"
    ):
        checked_manifest(a_manifest(), "shop", "Strict")


@pytest.mark.parametrize("validation", ["Warn", "Ignore"])
def test_unknown_fields_are_left_out_where_that_is_wanted(validation: str) -> None:
    verdict = decide(Apply(a_manifest(replica=1), validation), Known(a_state()), NOON)
    (change,) = verdict.changes
    assert isinstance(change, Create) and "replica" not in change.object["spec"]
    assert bool(verdict.warnings) == (validation == "Warn")


def test_pausing_the_first_controller_creates_the_switches_and_the_next_changes_them() -> None:
    first = decided(Switch(("statefulset",), True))
    assert isinstance(first, Create) and first.object["data"] == {"statefulset": "paused"}
    stored = {**first.object, "metadata": {**first.object["metadata"], "uid": "u", "resourceVersion": "7"}}
    assert decided(Switch(("scheduler",), True), stored).new["data"] == {
        "statefulset": "paused",
        "scheduler": "paused",
    }
    assert "data" not in decided(Switch(("statefulset",), False), stored).new


def test_the_digest_tells_commands_apart_by_kind_and_content() -> None:
    commands = [
        Undo(DB),
        Restart(DB),
        Scale(DB, 1),
        Scale(DB, 2),
        DeleteCommand(DB),
        DeleteCommand(DB, "orphan"),
    ]
    assert len({digest(command) for command in commands}) == len(commands)
    assert digest(Scale(DB, 1)) == digest(Scale(DB, 1))


def test_only_commands_that_carry_a_secrets_values_are_digested_with_its_keys() -> None:
    def sealed(_content: bytes) -> str:
        return "sealed"

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    carrying = [Apply(secret), Patch("core/secrets/default/s", "merge", {"stringData": {"a": "b"}})]
    assert [digest(each, sealed) for each in carrying] == ["sealed", "sealed"]
    assert digest(Scale(DB, 1), sealed) == digest(Scale(DB, 1))
    assert digest(Patch(DB, "merge", {}), sealed) != "sealed"


def test_a_json_patch_that_makes_copies_of_copies_is_refused_before_it_is_written_out() -> None:
    copies = [{"op": "add", "path": "/spec/x0", "value": "x" * 4096}]
    for step in range(1, 30):
        both = [f"/spec/x{step - 1}", f"/spec/x{step - 1}"]
        copies += [{"op": "add", "path": f"/spec/x{step}", "value": {}}]
        copies += [{"op": "copy", "from": each, "path": f"/spec/x{step}/{n}"} for n, each in enumerate(both)]
    with pytest.raises(BadRequest, match="makes more than 3145728 bytes"):
        decided(Patch(DB, "json", copies), a_stored_set())
    with pytest.raises(BadRequest, match="10001 operations is too long: at most 10000"):
        decided(Patch(DB, "json", [copies[0]] * 10_001), a_stored_set())


def test_sealed_values_are_returned_only_to_the_secret_that_they_belong_to() -> None:
    key = "core/secrets/default/s"
    metadata = {"name": "s", "namespace": "default", "uid": "mine", "resourceVersion": "7"}
    live = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"a": "Yg=="}}
    then = {**live, "data": {"a": "Yw=="}}
    assert decided(Revert(key, then), live).new["data"] == {"a": "Yw=="}
    with pytest.raises(BadRequest, match="is another one than it was then"):
        decided(Revert(key, {**then, "metadata": {**metadata, "uid": "another"}}), live)


def test_what_holds_a_namespace_until_it_is_empty_is_no_ones_to_patch() -> None:
    live = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "uid": "u", "resourceVersion": "7"},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
    patch = {"metadata": {"labels": {"a": "b"}}, "spec": {"finalizers": []}, "status": {"phase": "Gone"}}
    new = decided(Patch("core/namespaces/shop", "merge", patch), live).new
    labels = {"a": "b", "kubernetes.io/metadata.name": "shop"}
    assert new == {**live, "metadata": {**live["metadata"], "labels": labels}}
