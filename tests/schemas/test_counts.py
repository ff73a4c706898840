"""Numbers of things in sentences."""

from __future__ import annotations

import pytest

from schemas.counts import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 pods"), (1, "1 pod"), (2, "2 pods")])
def test_one_thing_has_no_plural(number: int, said: str) -> None:
    assert counted(number, "pod") == said
