"""What is held for long takes no more room than it says."""

from __future__ import annotations

import tracemalloc

from services.api.kept_json import kept_json


def test_json_that_is_kept_takes_as_much_memory_as_it_is_long() -> None:
    value = {"lines": ["x" * 50] * 40}
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [kept_json(value) for _ in range(100)]
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < 1.2 * sum(map(len, kept))
