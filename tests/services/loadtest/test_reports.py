"""The report of a run says what was measured, and whether it passed: as tables, as JSON, as a page."""

from __future__ import annotations

import json
from dataclasses import replace

from services.loadtest.comparisons import ROWS
from services.loadtest.driving import Pace
from services.loadtest.pages import comparison_page, page
from services.loadtest.profiles import Profile
from services.loadtest.reports import as_json, compared, report
from services.loadtest.runs import Latencies, Plan, Result
from services.loadtest.sampling import Sample
from services.loadtest.usage import Usage, used_between

RESULT = Result(
    plan=Plan(workers=2, profile=Profile("mine", nodes=3, sets=4)),
    paces=(Pace("create", 20, 100, 0.5), Pace("churn", 0, 20, 2.0)),
    latencies=Latencies(hop=[(0.2, 1.5), (1.2, 3.0), (1.4, 9.0)], ready=[(0.3, 40.0)]),
    samples=(Sample(0.5, 0, 4, {"worker-1": 20.0}), Sample(1.0, 50, 0, {"worker-1": 0.0})),
    processes={"worker-1": Usage(0.24, 360, 15 << 20)},
    servers={"log": (2 << 20, 6.5)},
    conflicts=3,
    retries=1,
    killed={"worker-1": 2},
    restarts={"projector": 2.25},
    problems=(),
    load=1.25,
)
FAILED = replace(RESULT, problems=("the projection of core/pods/default/<web>-0 differs",))


def cells(text: str, first: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(first))


def test_rates_are_by_second_by_pod_and_by_event() -> None:
    text = report([RESULT])
    assert cells(text, "create") == ["create", "20", "100", "0.50", "200", "40", "25.0"]
    assert cells(text, "churn") == ["churn", "-", "20", "2.00", "10", "-", "-"]
    assert cells(text, "worker-1") == ["worker-1", "0.24", "2000", "3.0", "15.0"]
    assert cells(text, "log") == ["log", "2.0", "6.5"]
    assert cells(text, "projector") == ["projector", "2.2"]
    assert "3 conflicts, 1 retries, 2 workers killed" in text and "load average 1.25" in text


def test_latencies_lags_and_the_queue_are_told_by_percentiles() -> None:
    text = report([RESULT])
    assert cells(text, "hop, ms") == ["hop,", "ms", "3.0", "9.0", "9.0", "9.0", "3"]
    assert cells(text, "lag of worker-1") == [
        "lag",
        "of",
        "worker-1,",
        "ms",
        "0.0",
        "20.0",
        "20.0",
        "20.0",
        "2",
    ]
    assert cells(text, "queue depth") == ["queue", "depth", "0.0", "4.0", "4.0", "4.0", "2"]


def test_a_run_that_differs_says_where() -> None:
    assert "FAILED: the projection of core/pods/default/<web>-0 differs" in report([FAILED])
    assert [each["passed"] for each in as_json([RESULT, FAILED])] == [True, False]


def test_json_holds_what_the_tables_say() -> None:
    (found,) = json.loads(json.dumps(as_json([RESULT])))
    assert found["latencies"]["hop"] == {"p50": 3.0, "p90": 9.0, "p99": 9.0, "p999": 9.0, "samples": 3}
    assert found["plan"]["profile"]["nodes"] == 3
    assert found["lags"]["worker-1"]["p99"] == 20.0


def test_what_was_used_in_between_leaves_out_what_was_not_there_before() -> None:
    before = {"a": Usage(1.0, 10, 5)}
    after = {"a": Usage(1.5, 30, 4), "b": Usage(9.0, 9, 9)}
    assert used_between(before, after) == {"a": Usage(0.5, 20, 4)}


def test_the_page_needs_nothing_from_elsewhere_and_steers_nothing() -> None:
    text = page([RESULT, FAILED])
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in text and "src=" not in text
    assert "&lt;web&gt;-0 differs" in text
    assert text.count("<svg") >= 10
    assert "By size of the worker pool" in text and "By size" not in page([RESULT])


def test_a_comparison_judges_each_row_by_its_must_and_aim() -> None:
    found = {ROWS[0]: [6.9], ROWS[1]: [17.0, 31.0, 19.0], ROWS[2]: [3.1]}
    assert [row[-1] for row in compared(found)] == ["aim", "ok", "MISSED"]
    assert compared(found)[1][1:3] == ("19.00", "17.00-31.00")
    assert "31-42" in comparison_page(found, "two cores")
