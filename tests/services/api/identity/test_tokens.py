"""Tokens: what the log keeps of them, and when they hold."""

from __future__ import annotations

import base64

import pytest

from schemas.canonical import canonical
from schemas.changes import Delete
from schemas.errors import Unavailable
from schemas.objects import Object, key_of_object, uid_of
from schemas.validation import validate_create
from services.api.identity.tokens import Endings, holds, is_token, key_of_token, new_token, secret_of
from services.api.requests import User
from tests.builders import a_state, an_object

NOON = 1_800_000_000_000


def test_a_token_stands_for_its_user_until_it_ends() -> None:
    token = new_token()
    secret = secret_of(token, "bob", ("devs", "ops"), NOON)

    grant = holds(secret, token, NOON - 1)

    assert grant is not None
    assert (grant.user, grant.ends) == (User("bob", ("devs", "ops"), authenticated="token"), NOON)
    assert holds(secret, token, NOON) is None


def test_what_is_kept_of_a_token_is_no_part_of_its_secret() -> None:
    token = new_token()
    secret = secret_of(token, "bob", (), NOON)

    kept = str(secret) + "".join(base64.b64decode(value).decode() for value in secret["data"].values())

    assert token.partition(".")[2] not in kept
    assert len(base64.urlsafe_b64decode(token.partition(".")[2] + "=")) == 32
    assert validate_create(canonical(secret).object) == ()


def test_a_token_is_found_by_its_public_part() -> None:
    token = new_token()

    assert key_of_token(token) == key_of_object(secret_of(token, "bob", (), 0))


@pytest.mark.parametrize("text", ["", "guess", "a.b", "../../x." + "a" * 43, "0" * 16 + "." + "a" * 42])
def test_what_has_not_the_form_of_a_token_is_none(text: str) -> None:
    assert key_of_token(text) is None


def test_the_public_part_alone_opens_nothing() -> None:
    token = new_token()
    other = token.partition(".")[0] + "." + new_token().partition(".")[2]

    assert holds(secret_of(token, "bob", (), 0), other, NOON) is None


def test_a_secret_of_another_type_that_goes_or_that_cannot_be_read_grants_nothing() -> None:
    token = new_token()
    secret = secret_of(token, "bob", (), 0)
    going = {**secret, "metadata": {**secret["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    sealed = {**secret, "data": dict.fromkeys(secret["data"], "sealed:v1:abc")}
    endless = {**secret, "data": {**secret["data"], "expiration": base64.b64encode(b"soon").decode()}}

    assert holds(secret, token, NOON) is not None
    for each in ({**secret, "type": "Opaque"}, going, sealed, endless, {**secret, "data": {}}):
        assert holds(each, token, NOON) is None


def test_tokens_are_known_by_their_type_and_by_their_place() -> None:
    assert is_token(an_object("Secret", "any", "shop", type="chronoset.dev/token"))
    assert is_token(an_object("Secret", "token-x", "kube-system", type="Opaque"))
    assert not is_token(an_object("Secret", "token-x", "shop", type="Opaque"))
    assert not is_token(an_object("ConfigMap", "token-x", "kube-system"))


def a_stored_token(user: str, ends: int, **metadata: str) -> Object:
    secret = canonical(secret_of(new_token(), user, (), ends)).object
    return {**secret, "metadata": {**secret["metadata"], "uid": user, "resourceVersion": "7", **metadata}}


def test_tokens_that_are_over_are_taken_away_and_no_others() -> None:
    over, lasting, endless = (
        a_stored_token("over", NOON),
        a_stored_token("lasting", NOON + 1_000),
        a_stored_token("endless", 0),
    )
    ending = a_stored_token("ending", NOON, deletionTimestamp="2026-11-23T00:00:00Z")
    other = {**a_stored_token("other", NOON), "type": "Opaque"}
    opened = []

    def unseal(secret: Object) -> Object:
        opened.append(uid_of(secret))
        if uid_of(secret) == "endless":
            raise Unavailable("altered")
        return secret

    clock = [NOON - 1]
    endings = Endings(a_state(over, lasting, endless, ending, other), unseal, lambda: clock[0])
    assert endings() == []
    clock[0] = NOON
    assert [(change.key, change) for change in endings()] == [(key_of_object(over), Delete(over))]
    assert sorted(opened) == ["endless", "lasting", "over"], "each is opened once"
