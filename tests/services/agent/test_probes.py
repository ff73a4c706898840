"""Probes: thresholds, periods, and the eagerness before the first success."""

from __future__ import annotations

from typing import Any

import pytest

from services.agent.probes import ProbeKind, ProbeState, is_due, probe_of, with_asked, with_result


def a_probe(kind: ProbeKind = ProbeKind.READINESS, **fields: Any) -> ProbeState:
    probe = probe_of({f"{kind}Probe": {"tcpSocket": {"port": 1}, **fields}}, kind, 0)
    assert probe is not None
    return probe


def after(probe: ProbeState, results: str, gap: int = 10_000) -> ProbeState:
    """Feed `+` and `-` results, `gap` ms apart."""
    for number, result in enumerate(results):
        probe = with_result(with_asked(probe), result == "+", "", number * gap)
    return probe


def test_defaults_are_those_of_kubernetes() -> None:
    probe = a_probe()
    assert (probe.period, probe.timeout, probe.successes_needed, probe.failures_needed) == (
        10_000,
        1_000,
        1,
        3,
    )
    assert probe_of({}, ProbeKind.READINESS, 0) is None


@pytest.mark.parametrize(
    ("results", "fields", "passing"),
    [
        ("", {}, None),
        ("-", {}, None),
        ("--", {}, None),
        ("---", {}, False),
        ("+", {}, True),
        ("+--", {}, True),
        ("+---", {}, False),
        ("+--+--", {}, True),
        ("---+", {}, True),
        ("---+", {"successThreshold": 2}, False),
        ("---++", {"successThreshold": 2}, True),
        ("-", {"failureThreshold": 1}, False),
    ],
)
def test_a_verdict_needs_its_threshold_in_a_row(
    results: str, fields: dict[str, int], passing: bool | None
) -> None:
    assert after(a_probe(**fields), results).passing is passing


def test_the_first_ask_waits_for_the_initial_delay() -> None:
    probe = a_probe(initialDelaySeconds=5)
    assert not is_due(probe, 4_999) and is_due(probe, 5_000)
    assert not is_due(with_asked(probe), 5_000)


def test_readiness_is_asked_eagerly_until_it_first_passes() -> None:
    probe, times = a_probe(periodSeconds=1), []
    for _ in range(6):
        now = probe.next_at
        times.append(now)
        probe = with_result(with_asked(probe), False, "", now)
    assert times == [0, 100, 300, 700, 1500, 2500]
    passed = with_result(probe, True, "", 2600)
    assert passed.next_at == 3600
    assert with_result(passed, False, "", 3600).next_at == 4600


def test_eager_failures_count_once_a_period() -> None:
    """A program that needs 5 s to start is not failed by many quick questions."""
    probe = a_probe(ProbeKind.STARTUP, periodSeconds=10, failureThreshold=2)
    for now in (0, 100, 300, 700, 1500, 3100, 6300):
        probe = with_result(probe, False, "", now)
    assert probe.passing is None
    assert with_result(probe, False, "", 12_700).passing is False


def test_liveness_is_never_eager() -> None:
    assert after(a_probe(ProbeKind.LIVENESS), "-").next_at == 10_000
