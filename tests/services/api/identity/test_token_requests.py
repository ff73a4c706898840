"""Tokens of service accounts, asked for as `kubectl create token` asks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from events.memory import wall_clock
from schemas.times import parse_rfc3339
from services.api.identity.bindings import MASTERS
from services.api.identity.policies import policy_over
from tests.services.api.apis import an_api
from tests.services.api.identity.users import World

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with an_api(partial(policy_over, unseal=lambda obj: obj, clock=wall_clock)) as api:
        found = World(api)
        found.token("root", (MASTERS,))
        found.token("owner", role="admin")
        yield found


def requested(
    world: World, account: str, query: str = "", user: str = "root", **spec: Any
) -> tuple[int, Any]:
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
    return world.ask(user, "POST", f"{ACCOUNTS}/{account}/token{query}", body)


def who(world: World, token: str) -> tuple[int, Any]:
    body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    response = world.api.ask("POST", REVIEWS, body, authorization=f"Bearer {token}")
    return response.status_code, response.json()


def test_a_token_is_its_accounts_until_that_goes(world: World) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    assert world.ask("root", "POST", ACCOUNTS, account)[0] == 201
    code, found = requested(world, "robot")
    assert (code, found["kind"], found["spec"]["expirationSeconds"]) == (201, "TokenRequest", 3600)
    lasts = parse_rfc3339(found["status"]["expirationTimestamp"]) - wall_clock()
    assert 3_590_000 < lasts <= 3_600_000
    world.settle()
    code, told = who(world, found["status"]["token"])
    assert code == 201 and told["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot"
    assert "system:serviceaccounts:default" in told["status"]["userInfo"]["groups"]

    assert world.ask("root", "DELETE", f"{ACCOUNTS}/robot")[0] == 200
    world.settle()
    assert who(world, found["status"]["token"])[0] == 401
    assert world.ask("root", "POST", ACCOUNTS, account)[0] == 201
    world.settle()
    assert who(world, found["status"]["token"])[0] == 401


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"expirationSeconds": 599}, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 2**33}, "may not specify a duration larger than 2^32 seconds"),
        ({"expirationSeconds": "1h"}, "may not specify a duration less"),
        ({"audiences": ["vault"]}, "tokens are for this API alone"),
        ({"boundObjectRef": {"kind": "Pod", "name": "p"}}, "tokens end with their account"),
    ],
)
def test_what_cannot_be_had_is_refused_by_its_field(world: World, spec: Any, words: str) -> None:
    code, status = requested(world, "default", **spec)
    assert code == 422 and words in status["message"]
    assert status["details"]["causes"][0]["field"] == f"spec.{next(iter(spec))}"


def test_an_account_that_is_not_there_has_no_tokens_and_nobody_else_makes_them(world: World) -> None:
    code, status = requested(world, "nobody")
    assert (code, status["message"]) == (404, 'serviceaccounts "nobody" not found')
    assert requested(world, "default", user="owner")[0] == 403


def test_a_dry_run_makes_none(world: World) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "dry"}}
    assert world.ask("root", "POST", ACCOUNTS, account)[0] == 201
    code, found = requested(world, "dry", "?dryRun=All")
    assert code == 201
    world.settle()
    assert who(world, found["status"]["token"])[0] == 401
