"""Patches over HTTP: the examples of Kubernetes' documentation, with what they leave, and what is refused how."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

from tests.services.api.apis import CONFIG_MAPS, PATCH_TYPES, STATEFUL_SETS, AnApi, a_config_map, a_set

POD_SPEC = "spec.template.spec"


def a_demo(name: str) -> Any:
    """The workload of kubernetes.io's "Update API Objects in Place": one container, one toleration."""
    found = a_set(name, 2, annotations={"old": "1"}, finalizers=["a.dev/one", "a.dev/two", "a.dev/three"])
    spec = found["spec"]["template"]["spec"]
    spec["containers"] = [
        {"name": "patch-demo-ctr", "image": "nginx", "env": [{"name": "A", "value": "1"}]},
    ]
    spec["tolerations"] = [{"effect": "NoSchedule", "key": "dedicated", "value": "test-team"}]
    spec["volumes"] = [{"name": "scratch", "emptyDir": {"medium": "Memory"}}]
    return found


def at(obj: Any, path: str) -> Any:
    """Return what is at `spec.replicas`; of a list's objects their names or keys, of a volume also its source."""
    found = reduce(lambda inner, step: inner.get(step), path.split("."), obj)
    if isinstance(found, list) and all(isinstance(each, dict) for each in found):
        return [each.get("name") or each.get("key") for each in found]
    return found


def in_spec(**fields: Any) -> Any:
    return {"spec": {"template": {"spec": fields}}}


REDIS = {"name": "patch-demo-ctr-2", "image": "redis"}
NEW_TOLERATION = {"effect": "NoSchedule", "key": "disktype", "value": "ssd"}
EXAMPLES: list[tuple[str, str, Any, dict[str, Any]]] = [
    (
        "a strategic patch adds a container to the list",
        "strategic",
        in_spec(containers=[REDIS]),
        {f"{POD_SPEC}.containers": ["patch-demo-ctr-2", "patch-demo-ctr"]},
    ),
    (
        "a merge patch replaces the list",
        "merge",
        in_spec(containers=[{**REDIS, "name": "patch-demo-ctr-3"}]),
        {f"{POD_SPEC}.containers": ["patch-demo-ctr-3"]},
    ),
    (
        "a strategic patch replaces a list that has no merge key",
        "strategic",
        in_spec(tolerations=[NEW_TOLERATION]),
        {f"{POD_SPEC}.tolerations": ["disktype"]},
    ),
    (
        "a container is deleted by its name while another is added",
        "strategic",
        in_spec(containers=[{"name": "patch-demo-ctr", "$patch": "delete"}, REDIS]),
        {f"{POD_SPEC}.containers": ["patch-demo-ctr-2"]},
    ),
    (
        "a list that merges is replaced where the patch says so",
        "strategic",
        in_spec(containers=[REDIS, {"$patch": "replace"}]),
        {f"{POD_SPEC}.containers": ["patch-demo-ctr-2"]},
    ),
    (
        "the order of a list is what the patch says",
        "strategic",
        in_spec(
            **{
                "$setElementOrder/containers": [{"name": "patch-demo-ctr"}, {"name": "patch-demo-ctr-2"}],
                "containers": [REDIS],
            }
        ),
        {f"{POD_SPEC}.containers": ["patch-demo-ctr", "patch-demo-ctr-2"]},
    ),
    (
        "of a union only what is retained is left",
        "strategic",
        in_spec(
            volumes=[{"name": "scratch", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/tmp"}}]
        ),
        {f"{POD_SPEC}.volumes": ["scratch"]},
    ),
    (
        "values are deleted from a list of words",
        "strategic",
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.dev/two"]}},
        {"metadata.finalizers": ["a.dev/one", "a.dev/three"]},
    ),
    (
        "words are added to a list that merges, those of the patch first",
        "strategic",
        {"metadata": {"finalizers": ["a.dev/four", "a.dev/one"]}},
        {"metadata.finalizers": ["a.dev/four", "a.dev/one", "a.dev/two", "a.dev/three"]},
    ),
    (
        "a merge patch replaces a list of words",
        "merge",
        {"metadata": {"finalizers": ["a.dev/four"]}},
        {"metadata.finalizers": ["a.dev/four"]},
    ),
    (
        "a map is replaced where the patch says so",
        "strategic",
        {"metadata": {"annotations": {"$patch": "replace", "new": "2"}}},
        {"metadata.annotations": {"new": "2"}},
    ),
    (
        "a null removes a field and what is not named stays",
        "merge",
        {"metadata": {"annotations": {"old": None, "new": "2"}}},
        {"metadata.annotations": {"new": "2"}, "spec.replicas": 2},
    ),
    (
        "a null removes a field in a strategic patch too, and the default comes back",
        "strategic",
        {"spec": {"replicas": None}},
        {"spec.replicas": 1},
    ),
    (
        "operations are carried out one after the other",
        "json",
        [
            {"op": "test", "path": "/spec/replicas", "value": 2},
            {"op": "replace", "path": "/spec/replicas", "value": 5},
            {"op": "add", "path": "/metadata/annotations/example.com~1a", "value": "b"},
            {"op": "remove", "path": "/metadata/annotations/old"},
            {"op": "add", "path": "/spec/template/spec/containers/-", "value": REDIS},
        ],
        {
            "spec.replicas": 5,
            "metadata.annotations": {"example.com/a": "b"},
            f"{POD_SPEC}.containers": ["patch-demo-ctr", "patch-demo-ctr-2"],
        },
    ),
    (
        "a value is copied and moved",
        "json",
        [
            {"op": "copy", "from": "/metadata/annotations/old", "path": "/metadata/annotations/copied"},
            {"op": "move", "from": "/metadata/annotations/old", "path": "/metadata/annotations/moved"},
        ],
        {"metadata.annotations": {"copied": "1", "moved": "1"}},
    ),
]


@pytest.mark.parametrize(
    ("kind", "patch", "left"), [row[1:] for row in EXAMPLES], ids=[r[0] for r in EXAMPLES]
)
def test_the_documented_examples(
    api: AnApi, request: pytest.FixtureRequest, kind: str, patch: Any, left: dict[str, Any]
) -> None:
    name = f"p-{EXAMPLES.index(next(row for row in EXAMPLES if row[0] in request.node.name))}"
    made = api.create(STATEFUL_SETS, a_demo(name))
    found = api.patch(f"{STATEFUL_SETS}/{name}", patch, kind)
    assert {path: at(found, path) for path in left} == left
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    assert api.get(f"{STATEFUL_SETS}/{name}") == found
    is_new = found["spec"] != made["spec"]
    assert found["metadata"]["generation"] == made["metadata"]["generation"] + is_new


def test_a_volume_changes_its_source_only_where_the_old_one_is_let_go(api: AnApi) -> None:
    where = f"{STATEFUL_SETS}/p-volume"
    api.create(STATEFUL_SETS, a_demo("p-volume"))
    change = {"name": "scratch", "hostPath": {"path": "/tmp"}}
    both = api.fails(422, "PATCH", where, in_spec(volumes=[change]), content_type=PATCH_TYPES["strategic"])
    assert "may not specify more than 1 volume type" in both["message"]
    kept = in_spec(volumes=[{**change, "$retainKeys": ["name", "hostPath"]}])
    (volume,) = api.patch(where, kept, "strategic")["spec"]["template"]["spec"]["volumes"]
    assert volume == {"name": "scratch", "hostPath": {"path": "/tmp", "type": ""}}


def test_a_patch_that_changes_nothing_writes_nothing(api: AnApi) -> None:
    made = api.create(STATEFUL_SETS, a_demo("p-same"))
    where = f"{STATEFUL_SETS}/p-same"
    for kind, patch in (("merge", {"spec": {"replicas": 2}}), ("strategic", {}), ("json", [])):
        assert api.patch(where, patch, kind) == made


def test_the_scale_is_patched_by_itself(api: AnApi) -> None:
    api.create(STATEFUL_SETS, a_demo("p-scale"))
    scale = api.patch(f"{STATEFUL_SETS}/p-scale/scale", {"spec": {"replicas": 4}})
    assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 4)
    assert api.get(f"{STATEFUL_SETS}/p-scale")["spec"]["replicas"] == 4


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("no operations", "json", {"op": "add"}, 400, "list of operations"),
    ("a path that is not there", "json", [{"op": "remove", "path": "/spec/color"}], 422, "does not exist"),
    (
        "a test that fails",
        "json",
        [{"op": "test", "path": "/spec/replicas", "value": 7}],
        422,
        "the test failed",
    ),
    (
        "an unknown operation",
        "json",
        [{"op": "burn", "path": "/spec"}],
        422,
        "op 'burn' is unknown",
    ),
    ("another name", "merge", {"metadata": {"name": "other"}}, 400, "does not match the name on the URL"),
    ("another kind", "merge", {"kind": "DaemonSet"}, 400, "kind"),
    ("a stale version", "merge", {"metadata": {"resourceVersion": "1"}}, 409, "has been modified"),
    ("another uid", "merge", {"metadata": {"uid": "other"}}, 409, ""),
    ("a wrong value", "merge", {"spec": {"replicas": "two"}}, 422, "spec.replicas"),
    ("an unknown field", "merge", {"spec": {"replcas": 2}}, 422, 'unknown field "spec.replcas"'),
    ("an immutable field", "merge", {"spec": {"serviceName": "x"}}, 422, "Forbidden"),
    ("an item without its key", "strategic", in_spec(containers=[{"image": "x"}]), 400, "name"),
    ("an unknown directive", "strategic", {"metadata": {"annotations": {"$patch": "burn"}}}, 400, "burn"),
    ("a list", "merge", [], 400, ""),
    ("nothing", "strategic", None, 400, ""),
]


@pytest.mark.parametrize(
    ("number", "kind", "patch", "code", "complaint"),
    [(number, *row[1:]) for number, row in enumerate(REFUSED)],
    ids=[row[0] for row in REFUSED],
)
def test_what_cannot_be_is_refused_and_nothing_changes(
    api: AnApi, number: int, kind: str, patch: Any, code: int, complaint: str
) -> None:
    where = f"{STATEFUL_SETS}/r-{number}"
    strictly = f"{where}?fieldValidation=Strict"
    made = api.create(STATEFUL_SETS, a_demo(f"r-{number}"))
    content = b"null" if patch is None else None
    if content is not None:
        headers = {"content-type": PATCH_TYPES[kind]}
        response = api.client.patch(strictly, content=content, headers=headers)
        assert response.status_code == code, response.text
    else:
        status = api.fails(code, "PATCH", strictly, patch, content_type=PATCH_TYPES[kind])
        assert complaint in status["message"]
    assert api.get(where) == made


def test_a_strategic_patch_of_a_map_of_words_removes_with_null(api: AnApi) -> None:
    api.create(CONFIG_MAPS, a_config_map("p-map", a="1", b="2"))
    found = api.patch(f"{CONFIG_MAPS}/p-map", {"data": {"a": None, "c": "3"}}, "strategic")
    assert found["data"] == {"b": "2", "c": "3"}


def test_three_ways_of_apply(api: AnApi) -> None:
    """kubernetes.io, "How apply calculates differences": what was dropped goes, what others set stays."""
    where = f"{STATEFUL_SETS}/p-apply"
    api.create(STATEFUL_SETS, a_demo("p-apply"))
    api.patch(f"{where}/scale", {"spec": {"replicas": 3}})
    patch = {
        "metadata": {
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}\n", "old": None}
        },
        **in_spec(
            **{
                "$setElementOrder/containers": [{"name": "patch-demo-ctr"}],
                "containers": [
                    {
                        "name": "patch-demo-ctr",
                        "image": "nginx:1.16.1",
                        "$setElementOrder/env": [],
                        "env": [{"name": "A", "$patch": "delete"}],
                    }
                ],
            }
        ),
    }
    found = api.patch(where, patch, "strategic")
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "nginx:1.16.1" and "env" not in container
    assert found["spec"]["replicas"] == 3 and "old" not in found["metadata"]["annotations"]
