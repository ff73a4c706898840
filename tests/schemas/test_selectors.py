"""Selectors match as Kubernetes' do, whichever way they are written."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import BadRequest
from schemas.selectors import matches_node, parse_selector, selector_of

WEB = {"app": "web", "tier": "front", "size": "3", "example.com/zone": "a", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier=front", True),
        ("app=db", False),
        ("app!=db", True),
        ("absent!=db", True),
        ("app in (web, db)", True),
        ("app in (db),tier=front", False),
        ("app notin (db,cache)", True),
        ("app notin (web)", False),
        ("absent notin (web)", True),
        ("app", True),
        ("!app", False),
        ("! absent", True),
        ("absent", False),
        ("size>2", True),
        ("size<3", False),
        ("app>2", False),
        ("example.com/zone in (a,b)", True),
        ("empty=", True),
        ("app=", False),
        ("empty in ()", True),
        ("in,notin", False),
    ],
)
def test_a_text_selector_matches_as_kubectl_does(text: str, matches: bool) -> None:
    assert parse_selector(text).matches(WEB) is matches


@pytest.mark.parametrize(
    "text",
    [
        "=web",
        "app=web,",
        ",app",
        "app in web",
        "app in (web",
        "a b",
        "app=we b",
        "-x=1",
        "a=-b",
        "a/b/c=1",
        "x>y",
    ],
)
def test_a_text_selector_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="selector"):
        parse_selector(text)


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "tier": "back"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "gone", "operator": "DoesNotExist"}]}, True),
        ({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "gone", "operator": "Exists"}]}, False),
    ],
)
def test_a_label_selector_requires_all_of_its_parts(selector: Any, matches: bool) -> None:
    assert selector_of(selector).matches(WEB) is matches


def _term(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


_FIELD = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}


@pytest.mark.parametrize(
    ("terms", "matches"),
    [
        ([], False),
        ([{}], False),
        ([_FIELD], True),
        ([_term("cpus", "Gt", "7")], True),
        ([_term("cpus", "Gt", "8")], False),
        ([_term("cpus", "Lt", "9")], True),
        ([_term("disk", "Gt", "0")], False),
        ([_term("cpus", "Gt", "many")], False),
        ([_term("disk", "In", "ssd"), _FIELD], True),
        ([{**_term("disk", "In", "ssd"), **_FIELD}], False),
        ([_term("gone", "DoesNotExist")], True),
    ],
)
def test_node_terms_are_ored_and_their_conditions_anded(terms: list[Any], matches: bool) -> None:
    node = {"metadata": {"name": "n1", "labels": {"cpus": "8", "disk": "hdd"}}}
    assert matches_node({"nodeSelectorTerms": terms}, node) is matches


def test_no_required_affinity_is_met_by_every_node() -> None:
    assert matches_node(None, {"metadata": {"name": "n1"}})
