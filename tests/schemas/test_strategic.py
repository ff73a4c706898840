"""Strategic merge patches: Kubernetes' documented rules, patches that real kubectls made, and any two lists."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BadRequest
from schemas.kinds import BY_NAME, NODE, POD, SERVICE, STATEFUL_SET
from schemas.patching import Json
from schemas.strategic import apply_strategic_patch

KUBECTL = json.loads((Path(__file__).parent / "kubectl_patches.json").read_text())


def patched(spec: Json, patch: Json, definition: str = POD.definition) -> Json:
    return apply_strategic_patch({"spec": spec}, {"spec": patch}, definition)["spec"]


def named(*names: str) -> list[Json]:
    return [{"name": name, "image": f"{name}:1"} for name in names]


RULES: list[tuple[str, Json, Json, Json]] = [
    ("scalars are replaced", {"nodeName": "a", "hostPID": True}, {"nodeName": "b"},
     {"nodeName": "b", "hostPID": True}),
    ("null removes", {"nodeName": "a"}, {"nodeName": None, "hostname": None}, {}),
    ("maps are merged", {"nodeSelector": {"a": "1", "b": "2"}}, {"nodeSelector": {"b": None, "c": "3"}},
     {"nodeSelector": {"a": "1", "c": "3"}}),
    ("items are merged by key", {"containers": [{"name": "a", "image": "a:1", "tty": True}]},
     {"containers": [{"name": "a", "image": "a:2"}]},
     {"containers": [{"name": "a", "image": "a:2", "tty": True}]}),
    ("an item that is new stands first", {"containers": named("a")}, {"containers": named("b")},
     {"containers": named("b", "a")}),
    ("$patch: delete removes an item", {"containers": named("a", "b")},
     {"containers": [{"$patch": "delete", "name": "a"}]}, {"containers": named("b")}),
    ("$patch: replace in a list replaces all of it", {"containers": named("a", "b")},
     {"containers": [{"$patch": "replace"}, *named("c")]}, {"containers": named("c")}),
    ("$patch: replace takes an object's place", {"nodeSelector": {"a": "1"}},
     {"nodeSelector": {"$patch": "replace", "b": "2"}}, {"nodeSelector": {"b": "2"}}),
    ("$patch: replace of nothing sets it", {}, {"nodeSelector": {"$patch": "replace", "b": "2"}},
     {"nodeSelector": {"b": "2"}}),
    ("$patch: delete empties an object", {"nodeSelector": {"a": "1"}}, {"nodeSelector": {"$patch": "delete"}},
     {"nodeSelector": {}}),
    ("$patch: delete of nothing does nothing", {}, {"nodeSelector": {"$patch": "delete"}}, {}),
    ("$patch: merge is what happens anyway", {"nodeSelector": {"a": "1"}},
     {"nodeSelector": {"$patch": "merge", "b": "2"}}, {"nodeSelector": {"a": "1", "b": "2"}}),
    ("lists without merge strategy are replaced", {"tolerations": [{"key": "a"}, {"key": "b"}]},
     {"tolerations": [{"key": "c"}]}, {"tolerations": [{"key": "c"}]}),
    ("$setElementOrder alone sorts", {"containers": named("a", "b", "c")},
     {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}]},
     {"containers": named("c", "a", "b")}),
    ("an item that the order does not name stays where it stood", {"containers": named("a", "x", "b")},
     {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}], "containers": named("c")},
     {"containers": named("a", "x", "b", "c")}),
    ("a list that is not there is made in order", {},
     {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": named("a", "b")},
     {"containers": named("a", "b")}),
    ("an order of nothing makes nothing", {}, {"$setElementOrder/containers": [{"name": "a"}]}, {}),
    ("$retainKeys clears the other members of a union",
     {"volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]},
     {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]},
     {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
    ("what is new carries no directives and no nulls", {},
     {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x", "type": None}}],
      "securityContext": {"$setElementOrder/sysctls": [], "runAsUser": 1}},
     {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}], "securityContext": {"runAsUser": 1}}),
]  # fmt: skip


@pytest.mark.parametrize(("before", "patch", "after"), [pytest.param(*row[1:], id=row[0]) for row in RULES])
def test_the_documented_rules(before: Json, patch: Json, after: Json) -> None:
    assert patched(before, patch) == after


@pytest.mark.parametrize(("before", "patch", "after"), [pytest.param(*row[1:], id=row[0]) for row in RULES])
def test_neither_argument_is_edited(before: Json, patch: Json, after: Json) -> None:
    kept = copy.deepcopy((before, patch))
    patched(before, patch)
    assert (before, patch) == kept


def finalized(*words: str) -> Json:
    return {"metadata": {"finalizers": list(words)}}


@pytest.mark.parametrize(
    ("patch", "left"),
    [
        ({"finalizers": ["c"]}, ["c", "a", "b"]),
        ({"finalizers": ["b"]}, ["a", "b"]),
        ({"$deleteFromPrimitiveList/finalizers": ["a", "z"]}, ["b"]),
        ({"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}, ["c", "b"]),
        ({"$setElementOrder/finalizers": ["b", "c", "a"], "finalizers": ["c"]}, ["b", "c", "a"]),
        (
            {"$setElementOrder/finalizers": ["c", "b"], "$deleteFromPrimitiveList/finalizers": ["a"]},
            ["b"],
        ),
        ({"finalizers": None}, None),
    ],
)
def test_lists_of_scalars_are_sets(patch: Json, left: list[str] | None) -> None:
    result = apply_strategic_patch(finalized("a", "b"), {"metadata": patch}, POD.definition)
    assert result["metadata"].get("finalizers") == left


def test_of_two_items_with_one_key_the_first_is_meant() -> None:
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    result = patched({"ports": ports}, {"ports": [{"port": 53, "name": "dns"}]}, SERVICE.definition)
    assert result["ports"] == [
        {"port": 53, "protocol": "UDP", "name": "dns"},
        {"port": 53, "protocol": "TCP"},
    ]


@pytest.mark.parametrize(
    ("patch", "complaint"),
    [
        ([], "must be an object"),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers: an item has no name"),
        ({"spec": {"containers": [{"$patch": "delete"}]}}, "spec.containers: an item has no name"),
        ({"spec": {"containers": ["x"]}}, "spec.containers: objects and other values"),
        ({"spec": {"$patch": "melt"}}, "spec: $patch: 'melt' is unknown; write replace, delete or merge"),
        ({"spec": {"containers": [{"$patch": [], "name": "a"}]}}, "spec.containers: $patch: [] is unknown"),
        ({"spec": {"$setElementOrder/containers": "a"}}, "spec.$setElementOrder/containers: must be a list"),
        ({"spec": {"$retainKeys": "a"}}, "spec.$retainKeys: must be a list"),
        ({"spec": {"$retainKeys": ["x"], "nodeName": "a"}}, "nodeName is set and is not in $retainKeys"),
        (
            {"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": named("b")}},
            'spec.containers: "b" is not in $setElementOrder',
        ),
        ({"metadata": {"$deleteFromPrimitiveList/finalizers": {}}}, "must be a list"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_field(patch: Json, complaint: str) -> None:
    pod = {"metadata": {"finalizers": ["a"]}, "spec": {"containers": named("a")}}
    with pytest.raises(BadRequest) as refused:
        apply_strategic_patch(pod, patch, POD.definition)
    assert complaint in str(refused.value)


@pytest.mark.parametrize("row", KUBECTL, ids=lambda row: f"{row['command']}-{row['kubectl']}")
def test_patches_that_kubectl_made_give_what_it_wanted(row: Json) -> None:
    kind = BY_NAME[row["before"]["apiVersion"], row["before"]["kind"]]
    assert apply_strategic_patch(row["before"], row["patch"], kind.definition) == row["after"]


def test_a_nodes_taints_are_replaced_as_a_whole() -> None:
    taints = [{"key": "a", "effect": "NoSchedule"}]
    result = patched({"taints": [{"key": "b", "effect": "NoExecute"}]}, {"taints": taints}, NODE.definition)
    assert result == {"taints": taints}


NAMES = st.lists(st.sampled_from("abcdef"), unique=True)
WORDS = st.sampled_from(["1", "2", "3"])


def items(**fields: st.SearchStrategy[Json]) -> st.SearchStrategy[list[Json]]:
    """Lists of objects with unique names, in any order, each with some of the fields."""
    item = st.fixed_dictionaries({}, optional=fields)
    pairs = NAMES.flatmap(lambda names: st.tuples(st.just(names), st.lists(item, min_size=6, max_size=6)))
    return pairs.map(lambda pair: [{"name": n, **i} for n, i in zip(pair[0], pair[1], strict=False)])


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "containers": items(image=WORDS, env=items(value=WORDS), args=st.lists(WORDS)),
        "nodeSelector": st.dictionaries(WORDS, WORDS),
        "imagePullSecrets": items(),
        "nodeName": WORDS,
    },
)


def difference(old: Json, new: Json) -> Json:
    """Return the patch that a two-way differ writes: nulls, deletions by name, and the order of every list."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            patch[key] = difference(before, value)
        elif isinstance(value, list) and isinstance(before, list) and key != "args":
            patch[key] = items_between(before, value)
            patch[f"$setElementOrder/{key}"] = [{"name": item["name"]} for item in value]
        elif before != value:
            patch[key] = value
    return patch


def items_between(old: list[Json], new: list[Json]) -> list[Json]:
    before, after = ({item["name"]: item for item in items} for items in (old, new))
    gone = [{"$patch": "delete", "name": name} for name in before if name not in after]
    return [difference(before.get(name, {}), item) | {"name": name} for name, item in after.items()] + gone


@given(SPECS, SPECS)
def test_a_patch_between_any_two_objects_makes_one_of_the_other(old: Json, new: Json) -> None:
    definition = STATEFUL_SET.definition
    before, after = ({"spec": {"template": {"spec": spec}}} for spec in (old, new))
    assert apply_strategic_patch(before, difference(before, after), definition) == after


@given(SPECS)
def test_an_object_patched_with_itself_or_with_nothing_stays_as_it_is(spec: Json) -> None:
    assert patched(spec, spec) == spec
    assert patched(spec, {}) == spec


def test_a_patch_of_many_items_takes_no_square_of_their_number() -> None:
    many = [{"name": f"v{number}"} for number in range(5_000)]
    order = [{"name": item["name"]} for item in reversed(many)]
    result = patched({"volumes": many}, {"volumes": order, "$setElementOrder/volumes": order})
    assert result["volumes"] == order
