"""A whole load test, small: real processes, and damage that must not pass."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas.kinds import STATEFUL_SET
from services.connections import connect
from services.loadtest.clusters import Running
from services.loadtest.runs import Plan, Result, run
from services.projections import keys

pytestmark = [pytest.mark.e2e, pytest.mark.server]


def damage_a_projection(cluster: Running) -> None:
    """Take one set out of the projection, as a projector that lost an event would."""
    client, name = connect(cluster.settings.views_url, "test"), cluster.settings.cluster
    generation = client.hget(keys.views_key(name), "generation").decode()
    where = keys.in_generation(name, generation, keys.objects(STATEFUL_SET.resource))
    assert client.hdel(where, client.hkeys(where)[0]) == 1
    client.close()


def damage_a_head(cluster: Running) -> None:
    """Leave a head behind that no event explains."""
    client = connect(cluster.settings.log_url, "test")
    client.hset(f"{{{cluster.settings.cluster}}}:heads", "core/pods/default/ghost", "1-1")
    client.close()


def a_plan(place: Path) -> Plan:
    return Plan(workers=1, sets=2, replicas=2, nodes=2, timeout=60, place=place)


def played(result: Result) -> list[str]:
    return [pace.phase for pace in result.paces]


def test_a_run_converges_and_everything_is_the_same(tmp_path: Path) -> None:
    told: list[str] = []
    result = run(a_plan(tmp_path), lambda phase, _sets, _events: told.append(phase))
    assert result.problems == ()
    assert played(result) == ["create", "roll", "scale up", "scale down", "delete half"]
    assert set(told) == {*played(result), "checking"}
    assert result.hop.samples > 10 and result.hop.p50 > 0
    assert {"worker", "dispatcher", "projector", "nodes", "log", "queue"} <= set(result.processes)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (damage_a_projection, "the projection of apps/statefulsets/"),
        (damage_a_head, "the log's head of core/pods/"),
    ],
)
def test_damage_makes_a_run_fail(damage: object, expected: str, tmp_path: Path) -> None:
    result = run(a_plan(tmp_path), lambda *_: None, damage)  # type: ignore[arg-type]
    assert any(problem.startswith(expected) for problem in result.problems)
