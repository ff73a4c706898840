"""One API for the tests of a module: each test uses names of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.api.apis import AnApi, an_api


@pytest.fixture(scope="module")
def api() -> Iterator[AnApi]:
    with an_api() as running:
        yield running
