"""Patches do what the RFCs say, edit nothing; a merge patch between objects is exact or not offered."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BadRequest
from schemas.patching import apply_json_patch, apply_merge_patch, merge_patch_between, strictly_equal

RFC_7386_APPENDIX = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7386_APPENDIX)
def test_the_merge_patch_examples_of_rfc_7386(target: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy(target)
    assert strictly_equal(apply_merge_patch(target, patch), result)
    assert strictly_equal(target, before)


RFC_6902_APPENDIX: list[tuple[str, Any, list[Any], Any]] = [
    ("A.1", {"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    (
        "A.2",
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    ("A.3", {"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ("A.4", {"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ("A.5", {"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    (
        "A.6",
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        "A.7",
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        "A.8",
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    (
        "A.10",
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    (
        "A.11",
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}],
        {"foo": "bar", "baz": "qux"},
    ),
    ("A.14", {"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    (
        "A.16",
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
        {"foo": ["bar", ["abc", "def"]]},
    ),
    ("copy", {"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
    ("whole document", {"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ("numbers by value", {"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
]


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [row[1:] for row in RFC_6902_APPENDIX],
    ids=[row[0] for row in RFC_6902_APPENDIX],
)
def test_the_json_patch_examples_of_rfc_6902(document: Any, patch: list[Any], result: Any) -> None:
    before = copy.deepcopy(document)
    assert strictly_equal(apply_json_patch(document, patch), result)
    assert strictly_equal(document, before)


@pytest.mark.parametrize(
    ("document", "patch", "complaint"),
    [
        (
            {"baz": "qux"},
            [{"op": "test", "path": "/baz", "value": "bar"}],
            "the test failed: found 'qux'",
        ),  # A.9
        ({"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": "qux"}], "/baz does not exist"),  # A.12
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": "10"}], "the test failed"),  # A.15
        ({"a": 1}, [{"op": "test", "path": "/a", "value": True}], "the test failed"),
        ({"a": 1}, [{"op": "spam", "path": "/a"}], "op 'spam' is unknown; write one of add, remove"),
        ({"a": 1}, [{"path": "/a"}], "op None is unknown"),
        ({"a": 1}, [{"op": "add", "path": "/a"}], "value is missing"),
        ({"a": 1}, [{"op": "add", "value": 1}], "path must be a JSON pointer"),
        ({"a": 1}, [{"op": "add", "path": "a", "value": 1}], "must be empty or start with /"),
        ({"a": 1}, [{"op": "add", "path": "/~2", "value": 1}], "neither ~0"),
        ({"a": [1]}, [{"op": "remove", "path": "/a/1"}], "index 1 is beyond the list"),
        ({"a": [1]}, [{"op": "remove", "path": "/a/-"}], "'-' is no index"),
        ({"a": [1]}, [{"op": "replace", "path": "/a/-1", "value": 1}], "'-1' is no index"),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/01"}], "'01' is no index"),
        ({"a": 1}, [{"op": "remove", "path": "/b"}], "/b does not exist"),
        ({"a": 1}, [{"op": "replace", "path": "/a/b", "value": 1}], "is a number, which has no member 'b'"),
        ({"a": {}}, [{"op": "move", "from": "/a", "path": "/a/b"}], "cannot be moved into itself"),
        ({"a": 1}, [{"op": "remove", "path": ""}], "whole document cannot be removed"),
        ({"a": 1}, ["add"], "must be an object"),
    ],
)
def test_a_json_patch_that_fails_names_the_operation(document: Any, patch: list[Any], complaint: str) -> None:
    good = {"op": "test", "path": "", "value": document}
    with pytest.raises(BadRequest) as refusal:
        apply_json_patch(document, [good, *patch])
    assert str(refusal.value).startswith("JSON patch operation 1 (")
    assert complaint in str(refusal.value)


def test_a_json_patch_is_all_or_nothing() -> None:
    document = {"a": [1, {"b": 2}]}
    with pytest.raises(BadRequest):
        apply_json_patch(
            document, [{"op": "add", "path": "/a/1/b", "value": 3}, {"op": "remove", "path": "/x"}]
        )
    assert document == {"a": [1, {"b": 2}]}


def test_a_json_patch_must_be_a_list() -> None:
    with pytest.raises(BadRequest, match="write a list of operations"):
        apply_json_patch({}, {"op": "add"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, 1.0), (1, True), (0, False), (0.0, -0.0), ([1], [True]), ({"a": 1}, {"a": 1.0}), ("1", 1)],
)
def test_equality_is_strict_about_types(a: Any, b: Any) -> None:
    assert not strictly_equal(a, b)
    assert strictly_equal(a, copy.deepcopy(a))


def test_a_merge_patch_names_only_what_changed() -> None:
    old = {"a": {"b": 1, "c": 2}, "gone": 1, "same": {"x": [1]}}
    new = {"a": {"b": 1, "c": 3}, "same": {"x": [1]}, "fresh": {"y": {}}}
    assert merge_patch_between(old, new) == {"a": {"c": 3}, "gone": None, "fresh": {"y": {}}}
    assert merge_patch_between(old, copy.deepcopy(old)) == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"a": None}),
        ({"a": 1}, {"a": None}),
        ({}, {"a": {"b": None}}),
        ({"a": 1}, {"a": {"b": {"c": None}}}),
        ([], []),
    ],
)
def test_what_a_merge_patch_cannot_say_is_not_offered(old: Any, new: Any) -> None:
    assert merge_patch_between(old, new) is None


_scalars = st.sampled_from([None, True, False, 0, 1, 0.0, -0.0, 1.0, "", "a", "1", 2**63 - 1])
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
_objects = st.dictionaries(st.sampled_from("abc"), _values, max_size=3)


@given(_objects, _objects)
def test_applying_the_patch_between_two_objects_gives_the_second_exactly(old: Any, new: Any) -> None:
    before = copy.deepcopy(old)
    patch = merge_patch_between(old, new)
    if patch is not None:
        assert strictly_equal(apply_merge_patch(old, patch), new)
        assert (patch == {}) == strictly_equal(old, new)
    else:
        assert "None" in repr(new)
    assert strictly_equal(old, before)


def test_what_a_patch_does_not_touch_is_shared() -> None:
    old = {"spec": {"big": [1, 2]}, "status": {"phase": "Pending"}}
    new = apply_merge_patch(old, {"status": {"phase": "Running"}})
    assert new["spec"] is old["spec"]
    assert old["status"] == {"phase": "Pending"}
