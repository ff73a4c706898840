"""Errors as Status objects, in Kubernetes' words."""

from __future__ import annotations

import pytest

from schemas.errors import (
    AlreadyExists,
    BadRequest,
    Cause,
    ChronosetError,
    Conflict,
    Forbidden,
    Invalid,
    LostHistory,
    NotFound,
    Outdated,
    Thinned,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from services.api.paths import target_of
from services.api.statuses import MODIFIED, status_of

TARGET = target_of("PUT", "/apis/apps/v1/namespaces/default/statefulsets/db", "")
KEY = "apps/statefulsets/default/db"


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (NotFound("?", KEY), 404, "NotFound", 'statefulsets.apps "db" not found'),
        (NotFound("?", "core/namespaces/shop"), 404, "NotFound", 'namespaces "shop" not found'),
        (AlreadyExists("?", KEY), 409, "AlreadyExists", 'statefulsets.apps "db" already exists'),
        (
            Conflict(KEY, 1, 2),
            409,
            "Conflict",
            f'Operation cannot be fulfilled on statefulsets.apps "db": {MODIFIED}',
        ),
        (
            Conflict("guard/statefulset/x", 1, 2),
            409,
            "Conflict",
            f'Operation cannot be fulfilled on statefulsets.apps "db": {MODIFIED}',
        ),
        (
            Outdated(KEY, "why"),
            409,
            "Conflict",
            'Operation cannot be fulfilled on statefulsets.apps "db": why',
        ),
        (
            Forbidden(f"{KEY}: it ends"),
            403,
            "Forbidden",
            'statefulsets.apps "db" is forbidden: it ends',
        ),
        (
            Invalid("x", [Cause("spec.replicas", "Invalid value: -1: no")]),
            422,
            "Invalid",
            'StatefulSet.apps "db" is invalid: spec.replicas: Invalid value: -1: no',
        ),
        (Unauthorized("who?"), 401, "Unauthorized", "Unauthorized"),
        (TooManyRequests("budget", retry_seconds=10), 429, "TooManyRequests", "budget"),
        (BadRequest("what?"), 400, "BadRequest", "what?"),
        (Thinned("thinned: then"), 410, "Expired", "thinned: then"),
        (Unavailable("away"), 503, "ServiceUnavailable", "away"),
        (LostHistory("gone"), 500, "InternalError", "Internal error occurred: gone"),
    ],
)
def test_an_error_is_answered_as_kubernetes_would(
    error: ChronosetError, code: int, reason: str, message: str
) -> None:
    status = status_of(error, TARGET)
    assert (status["code"], status["reason"], status["message"]) == (code, reason, message)
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")


def test_every_cause_is_in_the_details() -> None:
    causes = [Cause("a", "Required value", "FieldValueRequired"), Cause("b", "Invalid value: 1: no")]
    details = status_of(Invalid("x", causes), TARGET)["details"]
    assert details["causes"] == [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "a"},
        {"reason": "FieldValueInvalid", "message": "Invalid value: 1: no", "field": "b"},
    ]
    assert (details["name"], details["group"], details["kind"]) == ("db", "apps", "StatefulSet")
