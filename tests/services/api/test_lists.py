"""Lists: selected, sorted, paged at one position, and as they were."""

from __future__ import annotations

from typing import Any

import pytest

from services.api.failures import Failure
from services.api.lists import Asked, asked_of, page_of
from services.api.requests import Options
from tests.services.api.apis import AnApi, a_config_map, an_api

PAST = "resourceVersion={}&resourceVersionMatch=Exact"


def _names(listed: Any) -> list[str]:
    return [each["metadata"]["name"] for each in listed["items"]]


def _a_namespace(api: AnApi, name: str, *maps: str) -> str:
    """Make a namespace with ConfigMaps, and return the path of these."""
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    where = f"/api/v1/namespaces/{name}/configmaps"
    for each in maps:
        api.create(where, {**a_config_map(each), "metadata": {"name": each, "labels": {"is": each[0]}}})
    return where


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (Options(), Asked("newest")),
        (Options(resource_version="0"), Asked("any")),
        (Options(resource_version="7"), Asked("not older", 7)),
        (Options(resource_version="7", limit=5), Asked("exact", 7)),
        (Options(resource_version="7", resource_version_match="Exact"), Asked("exact", 7)),
        (
            Options(resource_version="7", resource_version_match="NotOlderThan", limit=5),
            Asked("not older", 7),
        ),
        (Options(resource_version="0", resource_version_match="NotOlderThan"), Asked("any")),
    ],
)
def test_which_version_is_meant_follows_kubernetes_table(options: Options, asked: Asked) -> None:
    assert asked_of(options) == asked


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (Options(resource_version_match="Exact"), 422),
        (Options(resource_version="0", resource_version_match="Exact"), 422),
        (Options(resource_version="soon"), 400),
        (Options(continue_token="nonsense"), 400),
        (Options(continue_token="WyJjaHJvbm9zZXQvMSIsNSwiYSIsImIiXQ", resource_version="7"), 400),
    ],
)
def test_versions_that_do_not_go_together_are_refused(options: Options, code: int) -> None:
    with pytest.raises(Failure) as refused:
        asked_of(options)
    assert refused.value.status["code"] == code


def test_the_pages_of_a_list_are_the_whole_list_once() -> None:
    objects = [{"metadata": {"namespace": "a", "name": f"{number:02}"}} for number in range(7)]
    seen: list[Any] = []
    options, after = Options(limit=3), None
    while True:
        page, metadata = page_of(objects, 5, options, after)
        seen += page
        if "continue" not in metadata:
            break
        assert metadata["remainingItemCount"] == len(objects) - len(seen)
        asked = asked_of(Options(continue_token=metadata["continue"]))
        assert asked.version == 5
        after = asked.after
    assert seen == objects


def test_a_list_is_sorted_and_selected_by_labels_and_fields(api: AnApi) -> None:
    where = _a_namespace(api, "sorted", "b2", "a1", "b1")
    assert _names(api.get(where)) == ["a1", "b1", "b2"]
    assert _names(api.get(f"{where}?labelSelector=is%3Db")) == ["b1", "b2"]
    assert _names(api.get(f"{where}?fieldSelector=metadata.name!%3Db1")) == ["a1", "b2"]
    assert (
        "field label not supported" in api.fails(400, "GET", f"{where}?fieldSelector=data.a%3Db")["message"]
    )
    api.fails(400, "GET", f"{where}?labelSelector=a%20b")


def test_a_list_of_all_namespaces_is_sorted_by_them_first(api: AnApi) -> None:
    _a_namespace(api, "zz", "only-here-1")
    _a_namespace(api, "aa", "only-here-2")
    listed = api.get("/api/v1/configmaps?labelSelector=is%3Do")
    assert _names(listed) == ["only-here-2", "only-here-1"]
    assert listed["kind"] == "ConfigMapList"


def test_the_later_pages_are_of_the_position_of_the_first(api: AnApi) -> None:
    where = _a_namespace(api, "paged", "a", "b", "c", "d")
    first = api.get(f"{where}?limit=2")
    api.create(where, a_config_map("bb"))
    api.delete(f"{where}/c")
    second = api.get(f"{where}?limit=2&continue={first['metadata']['continue']}")
    assert _names(first) + _names(second) == ["a", "b", "c", "d"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_a_list_can_be_had_exactly_as_it_was(api: AnApi) -> None:
    where = _a_namespace(api, "past", "a", "b")
    then = api.get(where)
    version = then["metadata"]["resourceVersion"]
    api.put(f"{where}/a", a_config_map("a", changed="yes"))
    api.delete(f"{where}/b")
    api.create(where, a_config_map("c"))
    assert api.get(f"{where}?{PAST.format(version)}") == then
    assert _names(api.get(where)) == ["a", "c"]


def test_a_version_that_is_still_to_come_is_a_timeout(api: AnApi) -> None:
    future = api.log.last() + (1 << 40)
    status = api.fails(504, "GET", f"/api/v1/configmaps?resourceVersion={future}")
    assert status["reason"] == "Timeout"
    assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_the_past_behind_the_ring_is_read_from_the_log() -> None:
    with an_api() as api:
        where = _a_namespace(api, "old", "a", "b")
        then = api.get(where)
        api.delete(f"{where}/a")
        ring = api.server.hub.ring
        ring.floor = api.log.last()
        version = then["metadata"]["resourceVersion"]
        assert api.get(f"{where}?{PAST.format(version)}") == then
        assert api.fails(410, "GET", f"{where}?{PAST.format(1)}")["reason"] == "Expired"
