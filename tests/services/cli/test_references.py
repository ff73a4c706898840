"""What people name: kinds and objects."""

from __future__ import annotations

import pytest

from schemas.errors import BadRequest
from services.cli.references import parse_named, parse_one, parse_references


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sts"], ["StatefulSet/"]),
        (["sts", "web"], ["StatefulSet/web"]),
        (["StatefulSets.apps", "web", "db"], ["StatefulSet/web", "StatefulSet/db"]),
        (["sts/web", "pod/web-0"], ["StatefulSet/web", "Pod/web-0"]),
        (["sts,pods"], ["StatefulSet/", "Pod/"]),
        (["sts,pods", "web"], ["StatefulSet/web", "Pod/web"]),
        (["all"], ["StatefulSet/", "DaemonSet/", "Pod/", "Service/"]),
    ],
)
def test_references(words: list[str], expected: list[str]) -> None:
    assert [f"{each.kind.kind}/{each.name}" for each in parse_references(words)] == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "KIND: is missing"),
        (["pot"], "KIND: 'pot' is unknown; write one of sts, ds"),
        (["sts/web", "db"], "'db' has no kind"),
        (["sts", "Web"], "NAME: 'Web'"),
        (["sts/"], "NAME: ''"),
        (["sts/a/b"], "NAME: 'a/b'"),
        (["sts,"], "KIND: ''"),
    ],
)
def test_what_names_nothing_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        parse_references(words)


def test_a_write_names_its_objects() -> None:
    with pytest.raises(BadRequest, match="NAME: is missing; write sts NAME, or sts/NAME"):
        parse_named(["sts"])
    with pytest.raises(BadRequest, match="'sts a b' names 2 objects; name one"):
        parse_one(["sts", "a", "b"])


def test_the_key_has_a_namespace_where_the_kind_has_one() -> None:
    assert parse_one(["sts/web"]).key("shop") == "apps/statefulsets/shop/web"
    assert parse_one(["node/n1"]).key("shop") == "core/nodes/n1"
