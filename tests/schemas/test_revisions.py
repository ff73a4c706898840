"""ControllerRevisions: Kubernetes' form to the byte, and one table for each rule of derivation."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Create, Delete, Replace
from schemas.objects import Object, name_of
from schemas.revisions import (
    Derivation,
    daemonset_hash,
    derive,
    go_json,
    history_to_truncate,
    revision_data,
    revisions_of,
    safe_encode,
    statefulset_hash,
    template_of,
)

LABELS = {"app": "db"}


def a_set(image: str = "db:1", kind: str = "StatefulSet", uid: str = "set-1", **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "db", "namespace": "default", "uid": uid, "annotations": {"why": "upgrade"}},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "db", "image": image, "resources": {}}]},
            },
            **spec,
        },
    }


def with_count(workload: Object, count: int) -> Object:
    return {**workload, "status": {"collisionCount": count}}


def settled(*workloads: Object) -> tuple[Object, ...]:
    """The revisions after each of the workloads was committed in turn."""
    revisions: tuple[Object, ...] = ()
    for workload in workloads:
        revisions = derive(workload, revisions).revisions
    return revisions


def a_revision(name: str, image: str, number: int, **metadata: Any) -> Object:
    """A revision as a user may write it: any name, any number, no owner."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": name, "namespace": "default", "labels": LABELS, **metadata},
        "data": revision_data(a_set(image))[0],
        "revision": number,
    }


def numbers(derivation: Derivation) -> dict[str, int]:
    return {image_of(each): each["revision"] for each in derivation.revisions}


def image_of(revision: Object) -> str:
    image = template_of(revision)["spec"]["containers"][0]["image"]
    assert isinstance(image, str)
    return image


GOLDEN = (
    b'{"spec":{"template":{"$patch":"replace","metadata":{"creationTimestamp":null,"labels":{"app":"nginx-sts"}},'
    b'"spec":{"containers":[{"image":"nginx","imagePullPolicy":"Always","name":"nginx","resources":{},'
    b'"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],'
    b'"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler",'
    b'"securityContext":{},"terminationGracePeriodSeconds":30}}}}'
)
"""The data of the revision `nginx-sts-6798d68dcd`, published by someone from a real cluster in 2022."""


def test_the_hash_is_fnv_1_byte_by_byte_whatever_the_length() -> None:
    for length in range(6):
        data = bytes(range(200, 200 + length))
        digest = 0x811C9DC5
        for byte in data + b"0":
            digest = (digest * 0x01000193 & 0xFFFFFFFF) ^ byte
        assert statefulset_hash(data, 0) == safe_encode(digest)


def test_the_hash_is_the_one_that_a_real_cluster_gave() -> None:
    assert statefulset_hash(GOLDEN, 0) == "6798d68dcd"


def test_a_collision_count_changes_the_hash() -> None:
    assert statefulset_hash(GOLDEN, 1) != statefulset_hash(GOLDEN, 0)


def test_data_is_serialised_as_go_does() -> None:
    """Sorted keys, compact, HTML characters and the two line separators escaped, other text as it is."""
    assert go_json({"b": "<a&b>", "a": ["é", "\u2028\u2029", "\n\x01"], "é": 1}) == (
        b'{"a":["\xc3\xa9","\\u2028\\u2029","\\n\\u0001"],"b":"\\u003ca\\u0026b\\u003e","\xc3\xa9":1}'
    )


def test_data_holds_the_template_alone_marked_as_replacement() -> None:
    data, text = revision_data(a_set())
    assert data["spec"]["template"]["$patch"] == "replace"
    assert text == (
        b'{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"db"}},'
        b'"spec":{"containers":[{"image":"db:1","name":"db","resources":{}}]}}}}'
    )


def test_a_template_comes_back_out_of_its_revision() -> None:
    (revision,) = settled(a_set("db:7"))
    assert template_of(revision) == a_set("db:7")["spec"]["template"]


def test_the_first_revision_has_kubernetes_form() -> None:
    (change,) = derive(a_set(), []).changes
    assert isinstance(change, Create)
    digest = statefulset_hash(revision_data(a_set())[1], 0)
    assert change.object == {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"db-{digest}",
            "namespace": "default",
            "labels": {"app": "db", "controller.kubernetes.io/hash": digest},
            "annotations": {"why": "upgrade"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "StatefulSet",
                    "name": "db",
                    "uid": "set-1",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "data": revision_data(a_set())[0],
        "revision": 1,
    }


def test_a_daemonset_revision_is_labelled_with_its_bare_hash() -> None:
    workload = a_set(kind="DaemonSet")
    (change,) = derive(workload, []).changes
    assert isinstance(change, Create)
    digest = daemonset_hash(workload["spec"]["template"], None)
    assert change.object["metadata"]["name"] == f"db-{digest}"
    assert change.object["metadata"]["labels"] == {"app": "db", "controller-revision-hash": digest}


def test_a_long_name_is_cut_to_leave_room_for_the_hash() -> None:
    workload = a_set()
    workload["metadata"]["name"] = "n" * 240
    assert derive(workload, []).update_revision_name.startswith("n" * 223 + "-")


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
@pytest.mark.parametrize(
    ("history", "now", "expected"),
    [
        ([], "db:1", {"db:1": 1}),
        (["db:1"], "db:1", {"db:1": 1}),
        (["db:1"], "db:2", {"db:1": 1, "db:2": 2}),
        (["db:1", "db:2"], "db:1", {"db:2": 2, "db:1": 3}),
        (["db:1", "db:2", "db:3"], "db:2", {"db:1": 1, "db:3": 3, "db:2": 4}),
        (["db:1", "db:2", "db:1"], "db:1", {"db:2": 2, "db:1": 3}),
    ],
    ids=["first", "unchanged", "new", "back to the first", "back to the middle", "unchanged after a return"],
)
def test_numbers_follow_the_template(
    kind: str, history: list[str], now: str, expected: dict[str, int]
) -> None:
    before = settled(*(a_set(image, kind) for image in history))
    derivation = derive(a_set(now, kind), before)
    assert numbers(derivation) == expected
    assert [image_of(r) for r in derivation.revisions if name_of(r) == derivation.update_revision_name] == [
        now
    ]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_deriving_again_changes_nothing(kind: str) -> None:
    before = settled(a_set("db:1", kind), a_set("db:2", kind), a_set("db:1", kind))
    assert derive(a_set("db:1", kind), before).changes == ()


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_a_deleted_revision_is_derived_again_with_the_same_name_number_and_data(kind: str) -> None:
    first, second = settled(a_set("db:1", kind), a_set("db:2", kind))
    (change,) = derive(a_set("db:2", kind), [first]).changes
    assert change == Create(second)


def test_an_orphan_with_equal_data_is_adopted_and_renumbered_whatever_its_name() -> None:
    latest = settled(a_set("db:2"))
    orphan = a_revision("made-by-hand", "db:1", -7)
    derivation = derive(a_set("db:1"), [*latest, orphan])
    (change,) = derivation.changes
    assert isinstance(change, Replace)
    assert change.new["revision"] == 2
    assert change.new["metadata"]["ownerReferences"][0]["uid"] == "set-1"
    assert derivation.update_revision_name == "made-by-hand"


def test_an_orphan_of_other_data_is_adopted_and_keeps_its_number() -> None:
    latest = settled(a_set("db:2"))
    (change,) = derive(a_set("db:2"), [*latest, a_revision("stray", "db:0", 0)]).changes
    assert isinstance(change, Replace)
    assert change.new["revision"] == 0
    assert change.new["metadata"]["ownerReferences"][0]["uid"] == "set-1"


def test_of_equal_ones_a_statefulset_renumbers_the_highest_and_leaves_the_others() -> None:
    revisions = [a_revision("a", "db:1", 1), a_revision("b", "db:1", 2), a_revision("c", "db:2", 3)]
    owned = derive(a_set("db:2"), revisions).revisions
    derivation = derive(a_set("db:1"), owned)
    (change,) = derivation.changes
    assert isinstance(change, Replace)
    assert (name_of(change.new), change.new["revision"]) == ("b", 4)


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"app": "other"}},
        {"ownerReferences": [{"kind": "StatefulSet", "name": "x", "uid": "set-2", "controller": True}]},
    ],
    ids=["not selected", "of another set"],
)
def test_revisions_of_others_do_not_count(metadata: Object) -> None:
    other = a_revision("other", "db:1", 9, **metadata)
    assert revisions_of(a_set(), [other]) == []
    (change,) = derive(a_set("db:1"), [other]).changes
    assert isinstance(change, Create) and change.object["revision"] == 1


@pytest.mark.parametrize(("kind", "before", "after"), [("StatefulSet", None, 1), ("DaemonSet", 4, 5)])
def test_a_name_taken_by_other_data_raises_the_collision_count(
    kind: str, before: int | None, after: int
) -> None:
    workload = a_set("db:1", kind) if before is None else with_count(a_set("db:1", kind), before)
    taken = a_revision(derive(workload, []).update_revision_name, "other:1", 1, labels={})
    derivation = derive(workload, [taken])
    assert derivation.workload["status"]["collisionCount"] == after
    assert derivation.update_revision_name == derive(with_count(workload, after), []).update_revision_name
    assert derivation.update_revision_name != name_of(taken)


def test_a_name_taken_by_equal_data_is_used_as_it_is() -> None:
    """The last incarnation of a set leaves such a revision behind until it is collected."""
    (left,) = settled(a_set(uid="gone"))
    derivation = derive(a_set(), [left])
    assert derivation.changes == ()
    assert derivation.update_revision_name == name_of(left)
    assert "status" not in derivation.workload


def test_nothing_follows_from_a_set_that_is_being_deleted() -> None:
    workload = a_set("db:2")
    workload["metadata"]["deletionTimestamp"] = "2026-11-23T02:17:59Z"
    assert derive(workload, settled(a_set("db:1"))).changes == ()


def a_pod(name: str, revision: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {**LABELS, "controller-revision-hash": revision},
        },
    }


def test_a_daemonset_merges_equal_revisions_and_relabels_their_pods() -> None:
    old, kept = settled(a_set("db:1", "DaemonSet"), a_set("db:2", "DaemonSet"))
    twin = {**a_revision("twin", "db:2", 1), "revision": 1}
    owned = derive(a_set("db:2", "DaemonSet"), [old, kept, twin]).revisions
    hash_of = {name_of(each): each["metadata"]["labels"]["controller-revision-hash"] for each in owned}
    pods = [
        a_pod("on-twin", "twin"),
        a_pod("on-kept", hash_of[name_of(kept)]),
        a_pod("on-old", hash_of[name_of(old)]),
    ]
    derivation = derive(a_set("db:2", "DaemonSet"), owned, pods)
    assert [name_of(each) for each in derivation.revisions] == [name_of(old), name_of(kept)]
    assert [name_of(change.old) for change in derivation.changes if isinstance(change, Delete)] == ["twin"]
    relabelled = {
        name_of(change.new): change.new["metadata"]["labels"]["controller-revision-hash"]
        for change in derivation.changes
        if isinstance(change, Replace)
    }
    assert relabelled == {"on-twin": hash_of[name_of(kept)]}


def test_a_daemonset_keeps_equal_revisions_while_their_pods_are_unknown() -> None:
    revisions = [*settled(a_set("db:2", "DaemonSet")), a_revision("twin", "db:2", 0)]
    assert len(derive(a_set("db:2", "DaemonSet"), revisions).revisions) == 2


@pytest.mark.parametrize(
    ("kind", "limit", "live", "expected"),
    [
        ("StatefulSet", 10, set(), []),
        ("StatefulSet", 1, {"r5"}, ["r1", "r2", "r3"]),
        ("StatefulSet", 1, {"r5", "r1"}, ["r2", "r3"]),
        ("StatefulSet", 0, {"r5", "r4"}, ["r1", "r2", "r3"]),
        ("DaemonSet", 3, {"r5", "h1"}, ["r2"]),
        ("DaemonSet", 0, {"r5", "h1", "h2"}, ["r3", "r4"]),
    ],
)
def test_history_beyond_the_limit_is_deleted_oldest_first_and_live_ones_stay(
    kind: str, limit: int, live: set[str], expected: list[str]
) -> None:
    """A StatefulSet does not count live ones towards its limit; a DaemonSet counts them, yet skips them."""
    revisions = [
        a_revision(f"r{n}", f"db:{n}", n, labels={**LABELS, "controller-revision-hash": f"h{n}"})
        for n in (3, 1, 5, 2, 4)
    ]
    workload = a_set(kind=kind, revisionHistoryLimit=limit)
    assert [name_of(each) for each in history_to_truncate(workload, revisions, live)] == expected
