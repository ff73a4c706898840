"""Role bindings and priority classes: what is valid, and what stays as it was made."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.canonical import canonical
from schemas.objects import Object
from schemas.validation import validate_create, validate_update

GROUP = "rbac.authorization.k8s.io"


def a_binding(
    kind: str = "RoleBinding", role: str = "ClusterRole", subject: str = "User", **more: Any
) -> Object:
    metadata = {"name": "view:bob", **({"namespace": "shop"} if kind == "RoleBinding" else {})}
    obj = {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": metadata,
        "roleRef": {"kind": role, "name": "view"},
        "subjects": [
            {"kind": subject, "name": "bob", **({} if subject != "ServiceAccount" else {"namespace": "ci"})}
        ],
        **more,
    }
    return canonical(obj).object


@pytest.mark.parametrize("subject", ["User", "Group", "ServiceAccount"])
def test_bindings_of_all_subjects_are_valid_and_their_names_may_have_colons(subject: str) -> None:
    assert validate_create(a_binding(subject=subject)) == ()
    assert validate_create(a_binding("ClusterRoleBinding", subject=subject)) == ()


@pytest.mark.parametrize(
    ("binding", "problem"),
    [
        (a_binding(role="Foo"), 'roleRef.kind: Unsupported value: "Foo"'),
        (a_binding("ClusterRoleBinding", role="Role"), 'roleRef.kind: Unsupported value: "Role"'),
        (a_binding(subject="Robot"), 'subjects[0].kind: Unsupported value: "Robot"'),
        (a_binding(metadata={"name": "a%b", "namespace": "shop"}), "metadata.name"),
    ],
)
def test_what_cannot_be_bound_is_named(binding: Object, problem: str) -> None:
    (cause,) = validate_create(binding)

    assert str(cause).startswith(problem)


def test_who_is_bound_may_change_and_to_what_may_not() -> None:
    binding = a_binding()

    assert validate_update(binding, {**binding, "subjects": []}) == ()
    (cause,) = validate_update(binding, {**binding, "roleRef": {**binding["roleRef"], "name": "edit"}})
    assert str(cause).endswith("cannot change roleRef")


def test_the_value_of_a_priority_class_stays() -> None:
    made = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 5,
    }
    old = canonical(made).object

    assert validate_update(old, {**old, "description": "urgent"}) == ()
    (cause,) = validate_update(old, {**old, "value": 6})
    assert str(cause) == "value: Forbidden: may not be changed in an update."
