"""Bounds of one user, which are no other's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.api.failures import Failure
from services.api.limits import InFlight, Limits, read_body


def test_a_user_with_as_many_requests_in_flight_as_may_be_is_asked_to_wait_and_nobody_else_is() -> None:
    in_flight = InFlight(Limits(requests=2))
    with in_flight.request("alice"), in_flight.request("alice"):
        with pytest.raises(Failure) as refused, in_flight.request("alice"):
            pass
        status = refused.value.status
        assert (status["code"], status["details"]) == (429, {"retryAfterSeconds": 1})
        with in_flight.request("bob"), in_flight.watch("alice"):
            pass
    with in_flight.request("alice"):
        pass


@pytest.mark.parametrize("announced", ["", "9", "11"])
def test_a_body_beyond_the_limit_is_refused_whatever_was_announced(announced: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x"

    with pytest.raises(Failure) as refused:
        asyncio.run(read_body(chunks(), announced, 10))
    assert refused.value.status["code"] == 413
