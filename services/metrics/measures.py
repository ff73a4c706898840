"""The metrics of this process. docs/metrics.md says what each means and what to make of it.

They belong to the process, as prometheus-client's own do, so that no program is built otherwise because it is measured.
Nothing runs, no thread is there and no append is counted, unless they are served (services.metrics.serving).
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

EVENTS = Counter(
    "chronoset_events_appended", "Events appended by this program.", ["resource"], registry=REGISTRY
)
CONFLICTS = Counter(
    "chronoset_commit_conflicts", "Appends refused since another writer was faster.", registry=REGISTRY
)
APPENDS = Histogram(
    "chronoset_append_seconds",
    "Time of an append, its fsync included.",
    ["outcome"],
    registry=REGISTRY,
    buckets=_FAST,
)
HOPS = Histogram(
    "chronoset_hop_seconds",
    "From the append of the newest event that called for a look to the decision it led to.",
    ["controller"],
    registry=REGISTRY,
    buckets=_FAST,
)
RECONCILES = Histogram(
    "chronoset_reconcile_seconds",
    "Time of a look at a key, or at those that were looked at together, commits included.",
    ["controller", "outcome"],
    registry=REGISTRY,
    buckets=_FAST,
)
API_REQUESTS = Counter(
    "chronoset_api_requests",
    "Requests answered by the HTTP API; a watch counts when it ends.",
    ["verb", "resource", "code"],
    registry=REGISTRY,
)
API_SECONDS = Histogram(
    "chronoset_api_request_seconds",
    "Time of a request until its answer is sent, watches aside.",
    ["verb"],
    registry=REGISTRY,
    buckets=_FAST,
)
HEARTBEATS = Counter(
    "chronoset_agent_heartbeats", "Heartbeats of nodes sent by this program.", ["outcome"], registry=REGISTRY
)


def begin() -> None:
    """Forget what the process that this one was forked from has counted."""
    CONFLICTS.reset()
    for each in (EVENTS, APPENDS, HOPS, RECONCILES, API_REQUESTS, API_SECONDS, HEARTBEATS):
        each.clear()
