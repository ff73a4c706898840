"""Differences as people name them: by field, and elements of lists by their names."""

from __future__ import annotations

import pytest

from services.history.fields import FieldChange, field_changes, is_within


def test_plain_fields_and_maps_are_compared_name_by_name() -> None:
    before = {"spec": {"replicas": 3, "gone": 1, "selector": {"app": "web"}}}
    after = {"spec": {"replicas": 5, "selector": {"app": "web"}, "new": {"a": 1}}}
    assert field_changes(before, after) == [
        FieldChange("spec.replicas", 3, 5),
        FieldChange("spec.new.a", None, 1),
        FieldChange("spec.gone", 1, None),
    ]


def test_elements_are_paired_by_their_names_not_their_places() -> None:
    before = {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}
    after = {"containers": [{"name": "b", "image": "b:2"}, {"name": "a", "image": "a:1"}]}
    assert field_changes(before, after) == [FieldChange("containers[b].image", "b:1", "b:2")]
    conditions = [{"type": "Ready", "status": status} for status in ("False", "True")]
    assert field_changes({"c": conditions[:1]}, {"c": conditions[1:]}) == [
        FieldChange("c[Ready].status", "False", "True")
    ]


def test_lists_without_names_are_compared_as_wholes() -> None:
    assert field_changes({"args": ["a"]}, {"args": ["a", "b"]}) == [FieldChange("args", ["a"], ["a", "b"])]
    assert field_changes({"l": [{"x": 1}]}, {"l": [{"x": 2}]}) == [FieldChange("l[0].x", 1, 2)]


def test_names_that_are_no_words_stand_in_brackets() -> None:
    before, after = ({"metadata": {"labels": {"app.kubernetes.io/name": name}}} for name in ("a", "b"))
    assert field_changes(before, after) == [FieldChange("metadata.labels[app.kubernetes.io/name]", "a", "b")]


def test_the_version_says_nothing_and_is_left_out() -> None:
    assert field_changes({"metadata": {"resourceVersion": "1"}}, {"metadata": {"resourceVersion": "2"}}) == []


def test_types_count() -> None:
    assert field_changes({"a": 1}, {"a": True}) == [FieldChange("a", 1, True)]


def test_what_was_not_there_differs_in_every_field() -> None:
    assert field_changes(None, {"a": {"b": 1}}) == [FieldChange("a.b", None, 1)]
    assert field_changes({"a": {}}, None) == [FieldChange("a", {}, None)]


@pytest.mark.parametrize(
    ("path", "field", "expected"),
    [
        ("spec.replicas", "spec.replicas", True),
        ("spec.template.spec", "spec.template", True),
        ("spec.replicasWanted", "spec.replicas", False),
        ("spec.containers[db].image", "spec.containers", True),
        ("spec.containers[db].image", "spec.containers.image", True),
        ("spec.containers[db].image", "spec.containers[db]", True),
        ("spec.containers[db].image", "spec.containers[web]", False),
    ],
)
def test_a_field_has_parts(path: str, field: str, expected: bool) -> None:
    assert is_within(path, field) is expected
