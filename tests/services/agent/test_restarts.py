"""The crash loop's curve is Kubernetes'."""

from __future__ import annotations

import pytest

from services.agent.restarts import BackOff, allowed_at, is_restarted, next_back_off


def test_restarts_wait_nothing_then_ten_seconds_doubling_to_five_minutes() -> None:
    waits, back_off, now = [], None, 0
    for _ in range(8):
        ended = now + 1_000
        now = allowed_at(back_off, ended)
        waits.append((now - ended) // 1000)
        back_off = next_back_off(back_off, ended, now)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]


def test_ten_minutes_of_running_are_forgiven() -> None:
    crashed_often = BackOff(300_000, updated_at=0)
    assert allowed_at(crashed_often, 600_000) == 900_000
    assert allowed_at(crashed_often, 600_001) == 600_001
    assert next_back_off(crashed_often, 600_001, 600_001).delay == 10_000


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_the_restart_policy_decides_by_exit_code(policy: str, code: int, expected: bool) -> None:
    assert is_restarted(policy, code) is expected
