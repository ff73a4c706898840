"""Paths to verbs, as apiserver's RequestInfo reads them."""

from __future__ import annotations

import pytest

from services.api.failures import Failure
from services.api.paths import options_of, target_of

SETS = "/apis/apps/v1/namespaces/shop/statefulsets"


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", "", ("list", "Pod", "", "", "")),
        ("GET", "/api/v1/pods", "watch=true", ("watch", "Pod", "", "", "")),
        ("GET", "/api/v1/pods", "watch=1", ("watch", "Pod", "", "", "")),
        ("GET", "/api/v1/pods", "watch", ("watch", "Pod", "", "", "")),
        ("GET", "/api/v1/pods", "watch=false", ("list", "Pod", "", "", "")),
        ("GET", "/api/v1/namespaces/shop/pods/web-0", "", ("get", "Pod", "shop", "web-0", "")),
        ("HEAD", "/api/v1/namespaces/shop/pods/web-0", "", ("get", "Pod", "shop", "web-0", "")),
        ("GET", "/api/v1/namespaces/shop/pods/web-0/log", "", ("get", "Pod", "shop", "web-0", "log")),
        (
            "POST",
            "/api/v1/namespaces/shop/pods/web-0/eviction",
            "",
            ("create", "Pod", "shop", "web-0", "eviction"),
        ),
        ("GET", "/api/v1/namespaces", "", ("list", "Namespace", "", "", "")),
        ("GET", "/api/v1/namespaces/shop", "", ("get", "Namespace", "", "shop", "")),
        ("PUT", "/api/v1/namespaces/shop/status", "", ("update", "Namespace", "", "shop", "status")),
        ("GET", "/api/v1/namespaces/status/pods", "", ("list", "Pod", "status", "", "")),
        ("POST", SETS, "", ("create", "StatefulSet", "shop", "", "")),
        ("PUT", f"{SETS}/db", "", ("update", "StatefulSet", "shop", "db", "")),
        ("PATCH", f"{SETS}/db/scale", "", ("patch", "StatefulSet", "shop", "db", "scale")),
        ("DELETE", f"{SETS}/db", "", ("delete", "StatefulSet", "shop", "db", "")),
        ("DELETE", SETS, "", ("deletecollection", "StatefulSet", "shop", "", "")),
        ("GET", "/apis/apps/v1/statefulsets", "", ("list", "StatefulSet", "", "", "")),
    ],
)
def test_a_path_and_a_method_are_a_verb_of_an_object(
    method: str, path: str, query: str, expected: tuple[str, ...]
) -> None:
    target = target_of(method, path, query)
    found = (target.verb, target.kind.kind, target.namespace, target.name, target.subresource)
    assert found == expected


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/nothings", 404),
        ("GET", "/api/v2/pods", 404),
        ("GET", "/apis/apps/v2/statefulsets", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v1/namespaces/shop/nodes", 404),
        ("GET", f"{SETS}/db/nothing", 404),
        ("GET", f"{SETS}/db/scale/more", 404),
        ("GET", "/api/v1//pods", 404),
        ("POST", "/api/v1/pods", 405),
        ("GET", "/api/v1/pods/web-0", 405),
        ("PUT", SETS, 405),
        ("POST", f"{SETS}/db", 405),
        ("DELETE", "/api/v1/namespaces", 405),
        ("GET", "/api/v1/namespaces/shop/pods/web-0/eviction", 405),
    ],
)
def test_what_is_nowhere_or_cannot_be_done_there_is_refused(method: str, path: str, code: int) -> None:
    with pytest.raises(Failure) as refused:
        target_of(method, path, "")
    assert refused.value.status["code"] == code


def test_a_query_is_read_once_and_what_is_not_known_in_it_is_left_alone() -> None:
    options = options_of(
        "labelSelector=app%3Ddb&limit=5&resourceVersion=7&allowWatchBookmarks=true&dryRun=All"
        "&gracePeriodSeconds=0&pretty=true&limit=9&propagationPolicy=Orphan&fieldValidation=Strict"
    )
    assert (options.label_selector, options.limit, options.resource_version) == ("app=db", 5, "7")
    assert (options.allow_bookmarks, options.dry_run, options.grace_seconds) == (True, True, 0)
    assert (options.propagation, options.field_validation) == ("Orphan", "Strict")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=many", 400),
        ("limit=-1", 400),
        ("dryRun=Some", 422),
        ("fieldValidation=Sometimes", 422),
        ("propagationPolicy=Sideways", 422),
        ("resourceVersionMatch=About", 422),
        ("orphanDependents=true&propagationPolicy=Orphan", 400),
    ],
)
def test_a_query_that_means_nothing_is_refused(query: str, code: int) -> None:
    with pytest.raises(Failure) as refused:
        options_of(query)
    assert refused.value.status["code"] == code
