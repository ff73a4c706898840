"""PodDisruptionBudgets: what Kubernetes refuses, and what is accepted with a word of doubt."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.canonical import canonical
from schemas.selectors import is_selected, selector_of
from schemas.validation import validate_create, validate_update
from tests.schemas.manifests import an_object, stored

DB = {"matchLabels": {"app": "db"}}


def a_budget(status: dict[str, Any] | None = None, **spec: Any) -> Any:
    parts = {"spec": {"selector": DB, **spec}, **({"status": status} if status else {})}
    return {**an_object("PodDisruptionBudget", "db", **parts), "apiVersion": "policy/v1"}


@pytest.mark.parametrize(
    "spec",
    [
        {"minAvailable": 2},
        {"minAvailable": 0},
        {"minAvailable": "100%"},
        {"maxUnavailable": "34%", "unhealthyPodEvictionPolicy": "AlwaysAllow"},
        {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "IfHealthyBudget", "selector": {}},
    ],
)
def test_a_budget_with_one_limit_is_valid_and_means_what_it_says(spec: dict[str, Any]) -> None:
    result = canonical(a_budget(**spec))

    assert result.warnings == ()
    assert result.object["spec"] == {"selector": DB, **spec}
    assert validate_create(result.object) == ()


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"minAvailable": 1, "maxUnavailable": 1}, "minAvailable and maxUnavailable cannot be both set"),
        ({"minAvailable": -1}, "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"),
        (
            {"maxUnavailable": "101%"},
            'spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%',
        ),
        (
            {"minAvailable": "half"},
            'spec.minAvailable: Invalid value: "half": must be an integer or percentage',
        ),
        (
            {"minAvailable": 1, "unhealthyPodEvictionPolicy": "Never"},
            'spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow"',
        ),
        (
            {"minAvailable": 1, "selector": {"matchExpressions": [{"key": "app", "operator": "Near"}]}},
            "spec.selector.matchExpressions[0].operator",
        ),
    ],
)
def test_what_kubernetes_refuses_is_refused(spec: dict[str, Any], complaint: str) -> None:
    obj = stored(a_budget(**spec))

    for causes in (validate_create(obj), validate_update(stored(a_budget(minAvailable=1)), obj)):
        assert any(complaint in str(cause) for cause in causes), causes


def test_a_status_of_less_than_nothing_is_refused() -> None:
    before = stored(a_budget(minAvailable=1))
    written = {**before, "status": {**before.get("status", {}), "disruptionsAllowed": -1}}
    (cause,) = validate_create(written)

    assert validate_update(before, written) == (cause,)
    assert str(cause) == "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0"


@pytest.mark.parametrize(
    ("spec", "warning"),
    [
        ({}, "neither minAvailable nor maxUnavailable is set"),
        ({"minAvailable": 1, "selector": None}, "the budget selects no pods"),
    ],
)
def test_a_budget_that_is_hardly_meant_so_is_accepted_with_a_warning(
    spec: dict[str, Any], warning: str
) -> None:
    result = canonical(a_budget(**spec))

    assert validate_create(result.object) == ()
    assert warning in result.warnings[0]


@pytest.mark.parametrize("selector", [None, {}, DB, {"matchLabels": {"app": "web"}}])
@pytest.mark.parametrize("operator", ["In", "NotIn", "Exists", "DoesNotExist"])
@pytest.mark.parametrize("labels", [{}, {"app": "db"}, {"app": "db", "tier": "a"}, {"tier": "b"}])
def test_the_quick_way_to_match_is_the_thorough_one(
    selector: Any, operator: str, labels: dict[str, str]
) -> None:
    values = {"values": ["a"]} if operator.endswith("In") else {}
    expressions = [{"key": "tier", "operator": operator, **values}]

    for each in (selector, selector if selector is None else {**selector, "matchExpressions": expressions}):
        assert is_selected(each, labels) == selector_of(each).matches(labels)
