"""What is counted, and that it is forgotten by a program that was forked from one that had counted."""

from __future__ import annotations

import pytest

from events.log import Batch, Draft
from events.memory import wall_clock
from events.redis_log import RedisLog
from schemas.errors import Conflict
from services.metrics import measures
from services.metrics.logs import MeasuredLog
from services.settings import settings_from
from services.wiring import open_stream


def value(name: str, **labels: str) -> float:
    return measures.REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture(autouse=True)
def _fresh() -> None:
    measures.begin()


def a_log() -> MeasuredLog:
    import fakeredis

    log = MeasuredLog(fakeredis.FakeRedis(version=(7, 2)), "test")
    log.create()
    return log


def a_batch(*keys: str, expected: int = 0) -> Batch:
    drafts = tuple(Draft(key, "PodCreated", b"\x80", False) for key in keys)
    return Batch(drafts, dict.fromkeys(keys, expected), (), " ".join(keys), "d", wall_clock())


def test_events_are_counted_by_resource_and_a_repetition_is_not() -> None:
    log = a_log()
    pods = a_batch("core/pods/default/a", "core/pods/default/b", "core/nodes/n1")
    log.append(pods)
    assert log.append(pods).repeated
    assert value("chronoset_events_appended_total", resource="core/pods") == 2
    assert value("chronoset_events_appended_total", resource="core/nodes") == 1
    assert value("chronoset_append_seconds_count", outcome="appended") == 2
    assert isinstance(log, RedisLog)


@pytest.mark.parametrize(("port", "log"), [("0", RedisLog), ("9464", MeasuredLog)])
def test_appends_are_counted_only_where_metrics_are_served(port: str, log: type[RedisLog]) -> None:
    settings = settings_from({"CHRONOSET_METRICS_PORT": port, "CHRONOSET_LOG_URL": "redis://127.0.0.1:1/0"})
    assert type(open_stream(settings, "test")) is log


def test_a_conflict_is_counted_and_appends_nothing() -> None:
    log = a_log()
    with pytest.raises(Conflict):
        log.append(a_batch("core/pods/default/a", expected=7))
    assert value("chronoset_commit_conflicts_total") == 1
    assert value("chronoset_append_seconds_count", outcome="conflict") == 1
    assert value("chronoset_events_appended_total", resource="core/pods") == 0


def test_batches_that_are_appended_together_are_counted_each_for_itself() -> None:
    well, outrun, again = (
        a_batch("core/pods/default/a"),
        a_batch("core/pods/default/b", expected=7),
        a_batch("core/nodes/n1"),
    )
    first, conflict, last = a_log().append_all([well, outrun, again])
    assert isinstance(conflict, Conflict) and not isinstance(first, Exception)
    assert not isinstance(last, Exception) and last.first > first.last
    assert value("chronoset_commit_conflicts_total") == 1
    assert value("chronoset_append_seconds_count", outcome="conflict") == 1
    assert value("chronoset_append_seconds_count", outcome="appended") == 2
    assert value("chronoset_events_appended_total", resource="core/pods") == 1
    assert value("chronoset_events_appended_total", resource="core/nodes") == 1


def test_a_forked_program_begins_at_zero() -> None:
    a_log().append(a_batch("core/nodes/n1"))
    measures.CONFLICTS.inc()
    measures.begin()
    assert value("chronoset_events_appended_total", resource="core/nodes") == 0
    assert value("chronoset_commit_conflicts_total") == 0
