"""The report of a run says what was measured, and whether it passed."""

from __future__ import annotations

from dataclasses import replace

from services.loadtest.reports import as_json, report
from services.loadtest.runs import Pace, Plan, Result
from services.loadtest.statistics import Spread
from services.loadtest.usage import Usage, used_between

RESULT = Result(
    plan=Plan(workers=2, sets=4, replicas=5, nodes=3),
    paces=(Pace("create", 20, 100, 0.5), Pace("roll", 0, 0, 0.0)),
    hop=Spread(1.5, 3.0, 9.0, 40),
    processes={"worker-1": Usage(0.2, 300, 15 << 20)},
    servers={"log": (2 << 20, 6.5)},
    conflicts=3,
    problems=(),
    load=1.25,
)


def cells(text: str, first: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(first))


def test_rates_are_by_second_by_pod_and_by_event() -> None:
    text = report([RESULT])
    assert cells(text, "create") == ["create", "20", "100", "0.50", "200", "40", "25.0"]
    assert cells(text, "worker-1") == ["worker-1", "0.20", "2000", "3.0", "15.0"]
    assert cells(text, "log") == ["log", "2.0", "6.5"]
    assert "3 conflicts" in text and "load average 1.25" in text


def test_a_run_that_differs_says_where() -> None:
    failed = replace(RESULT, problems=("the projection of core/pods/default/web-0 differs",))
    assert "FAILED: the projection of core/pods/default/web-0 differs" in report([failed])
    assert [each["passed"] for each in as_json([RESULT, failed])] == [True, False]


def test_what_was_used_in_between_leaves_out_what_was_not_there_before() -> None:
    before = {"a": Usage(1.0, 10, 5)}
    after = {"a": Usage(1.5, 30, 4), "b": Usage(9.0, 9, 9)}
    assert used_between(before, after) == {"a": Usage(0.5, 20, 4)}
