"""A whole load test, small: real processes, and damage that must not pass."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from events.replay import events_between
from schemas.kinds import STATEFUL_SET
from services.connections import connect
from services.loadtest.api_hands import ApiHand
from services.loadtest.clusters import Running, Shape, running_cluster
from services.loadtest.profiles import Churn, Profile
from services.loadtest.runs import Plan, Result, run
from services.loadtest.sets import a_daemonset, a_set, key_of_daemons, key_of_set, with_image
from services.projections import keys
from services.settings import KUBECONFIG
from services.wiring import open_log

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


def a_plan(place: Path, **changes: Any) -> Plan:
    return Plan(
        1, replace(Profile("test", nodes=2, sets=2, replicas=2, timeout=60.0), **changes), place=place
    )


def played(result: Result) -> list[str]:
    return [pace.phase for pace in result.paces]


def test_a_run_converges_and_everything_is_the_same(tmp_path: Path) -> None:
    told: list[str] = []
    result = run(a_plan(tmp_path), lambda phase, _sets, _events: told.append(phase))
    assert result.problems == ()
    assert played(result) == ["create", "roll", "scale up", "scale down", "delete half"]
    assert set(told) == {*played(result), "checking"}
    found = result.latencies.spreads()
    assert found["hop"].samples > 10 and found["hop"].p50 > 0
    assert found["pod Ready"].samples >= 8 and found["set settled"].samples >= 9
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


def test_workers_may_be_killed_and_nodes_may_die_and_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    churn = Churn(3.0, rollouts=2.0, scales=2.0, node_deaths=1.0)
    plan = a_plan(tmp_path, nodes=3, daemonsets=1, phases=("create",), churn=churn, restarts=True)
    result = run(replace(plan, workers=2, kills=2.0), lambda *_: None)
    assert result.problems == ()
    assert sum(result.killed.values()) >= 2
    assert played(result) == ["create", "churn"]
    assert result.latencies.spreads()["write in churn"].samples == 15
    lagging = {name for sample in result.samples for name in sample.lags}
    assert {"worker-1", "worker-2", "dispatcher", "projector"} <= lagging
    assert {"worker-1", "worker-2", "dispatcher", "projector", "log", "queue"} == set(result.restarts)
    assert all(0 < seconds < 60 for seconds in result.restarts.values())


def test_nodes_and_driver_may_know_nothing_but_the_api(tmp_path: Path) -> None:
    with running_cluster(Shape(workers=1, nodes=3, over_api=True), tmp_path) as cluster:
        hand = ApiHand(cluster.settings.data_dir / KUBECONFIG, 30.0)
        web, everywhere = key_of_set("web"), key_of_daemons("everywhere")
        hand.create(web, a_set("web", 3, "OrderedReady"))
        hand.wait_settled([web], 3)
        hand.change(web, lambda old: with_image(old, "app:2"))
        hand.wait_settled([web], 3)
        hand.create(everywhere, a_daemonset("everywhere"))
        hand.wait_settled([everywhere], 3)
        hand.delete(web)
        hand.delete(everywhere)
        hand.wait_gone([web, everywhere])
        hand.close()
        log = open_log(cluster.settings, "test")
        written = [event for event in events_between(log, 0, log.last()) if event.type == "PodReady"]
        log.close()
        cluster.end()
    assert len(written) == 9
    assert {event.actor.name for event in written} == {"user:admin"}
