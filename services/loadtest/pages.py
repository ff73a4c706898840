"""A load test as one HTML page that needs nothing else: tables, and plots over time and by the size of the pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from statistics import median

from services.loadtest.charts import bar_chart, line_chart
from services.loadtest.comparisons import Row
from services.loadtest.reports import COMPARED, compared, events_of, headline, sections, verdict
from services.loadtest.runs import Result
from services.loadtest.sampling import Sample
from services.loadtest.statistics import Moment, over_time

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2937; margin: 2rem auto; max-width: 1320px; padding: 0 1rem; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; border-top: 1px solid #e5e7eb; padding-top: 1rem; }
h3 { font-size: .95rem; margin: .4rem 0; font-weight: 600; }
.grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 1rem 2rem; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; font-size: .87rem; }
th { text-align: left; font-weight: 600; color: #6b7280; font-size: .75rem; }
td, th { padding: .18rem .9rem .18rem 0; border-bottom: 1px solid #f3f4f6; white-space: nowrap; }
td:not(:first-child), th:not(:first-child) { text-align: right; }
figure { margin: 0; max-width: 720px; } svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: #6b7280; }
svg .grid { stroke: #e5e7eb; } svg .label { fill: #374151; }
figcaption span { margin-right: 1rem; font-size: .8rem; }
figcaption i { display: inline-block; width: .7rem; height: .7rem;
  border-radius: 2px; margin-right: .35rem; }
.ok { color: #047857; } .bad { color: #b91c1c; font-weight: 600; }
"""


def page(results: Sequence[Result]) -> str:
    """Return the page of some runs, usually of one profile with pools of several sizes."""
    body = [f"<h1>chronoset loadtest: {escape(results[0].plan.profile.name)}</h1>"]
    if len(results) > 1:
        body.append("<h2>By size of the worker pool</h2>" + _grid(_by_pool(results)))
    for result in results:
        body.append(_section(result))
    return _document("chronoset loadtest", body)


def comparison_page(found: Mapping[Row, Sequence[float]], about: str) -> str:
    """Return the page of a comparison with Kubernetes."""
    body = [
        "<h1>chronoset loadtest: beside Kubernetes</h1>",
        f"<p>{escape(about)}</p>",
        _table(COMPARED, compared(found)),
        "<h3>milliseconds a pod or set, ours and Kubernetes' with its limits off (the better of its range)</h3>",
        bar_chart(
            {
                str(number): {"ours": median(values), "Kubernetes": float(row.unlimited.partition("-")[0])}
                for number, (row, values) in enumerate(found.items(), 1)
                if row.unit.startswith("ms")
            },
            "ms",
        ),
        "<p>The numbers below the bars are the table's rows.</p>",
    ]
    return _document("chronoset loadtest: beside Kubernetes", body)


def _section(result: Result) -> str:
    marks = "".join(
        f'<p class="{"bad" if result.problems else "ok"}">{escape(sentence)}</p>'
        for sentence in verdict(result)
    )
    tables = "".join(f"<div>{_table(header, rows)}</div>" for header, rows in sections(result))
    killed = sum(result.killed.values())
    counted = f"<p>{result.conflicts} conflicts, {result.retries} retries, {killed} workers killed</p>"
    title = f"{result.plan.workers} worker{'s' if result.plan.workers > 1 else ''}"
    return (
        f"<h2>{title}</h2><p>{escape(headline(result))}</p>{marks}{counted}"
        f'{_grid(_over_time(result))}<div class="grid2">{tables}</div>'
    )


def _over_time(result: Result) -> Iterable[tuple[str, str]]:
    took, samples = result.latencies, result.samples
    for name, moments in (
        ("Hop: append to start of reconcile", took.hop),
        ("Pods: created to Ready", took.ready),
        ("Sets: changed to settled", took.settled),
        ("Writes of the churn: until accepted", took.write),
    ):
        if moments:
            lines = {f"p{100 * share:g}": over_time(moments, share) for share in (0.5, 0.99)}
            yield name, line_chart(lines, "seconds", "ms")
    yield "Throughput", line_chart({"events/s": _rates(samples)}, "seconds", "events/s")
    depth = [(sample.at, float(sample.depth)) for sample in samples]
    yield "Queue depth", line_chart({"hints": depth}, "seconds", "hints")
    names = sorted({name for sample in samples for name in sample.lags})
    lag = {
        name: [(sample.at, sample.lags[name]) for sample in samples if name in sample.lags] for name in names
    }
    yield "Lag: age of the oldest event not yet read", line_chart(lag, "seconds", "ms")
    cpu = {name: {"CPU seconds": usage.cpu} for name, usage in result.processes.items()}
    yield "CPU by process", bar_chart(cpu, "s")


def _by_pool(results: Sequence[Result]) -> Iterable[tuple[str, str]]:
    def by_workers(value: Mapping[int, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
        return {f"{workers} worker{'s' if workers > 1 else ''}": each for workers, each in value.items()}

    events = {
        result.plan.workers: {
            "events/s": events_of(result) / max(1e-9, sum(pace.seconds for pace in result.paces))
        }
        for result in results
    }
    yield "Throughput", bar_chart(by_workers(events), "events/s")
    pods = {
        result.plan.workers: {
            pace.phase: pace.pods / max(1e-9, pace.seconds) for pace in result.paces if pace.pods
        }
        for result in results
    }
    yield "Pods a second, by phase", bar_chart(by_workers(pods), "pods/s")
    hop = {
        result.plan.workers: {
            f"p{name}": getattr(spread, f"p{name}".replace(".", ""))
            for spread in [result.latencies.spreads()["hop"]]
            for name in ("50", "90", "99")
        }
        for result in results
        if result.latencies.hop
    }
    yield "Hop", bar_chart(by_workers(hop), "ms")


def _rates(samples: Sequence[Sample]) -> list[Moment]:
    return [
        (after.at, (after.events - before.events) / (after.at - before.at))
        for before, after in pairwise(samples)
        if after.at > before.at
    ]


def _grid(charts: Iterable[tuple[str, str]]) -> str:
    return (
        '<div class="grid2">' + "".join(f"<div><h3>{escape(n)}</h3>{c}</div>" for n, c in charts) + "</div>"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _document(title: str, body: Iterable[str]) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
