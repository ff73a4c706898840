"""How budgets stand: what counts, what is allowed, who is asked to look."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Replace
from schemas.objects import Object, key_of_object, with_metadata
from schemas.times import rfc3339
from services.controllers.disruption import DISRUPTION
from services.controllers.disruption.budgets import DELETION_TIMEOUT
from tests.builders import a_controller, a_pod, a_reference, a_state, an_object
from tests.services.controllers.disruption.worlds import NOW, a_budget, a_db, a_set
from tests.services.controllers.settling import Settling

KEY = "policy/poddisruptionbudgets/default/db"
SET = a_set()


def three(ready: int = 3, owner: Object | None = SET) -> list[Object]:
    return [a_db(number, owner, ready=number < ready) for number in range(3)]


def told(budget: Object, *objects: Object, now: int = NOW) -> Any:
    view = DISRUPTION.view_of(a_state(budget, *objects), KEY)
    assert view is not None
    (change,) = DISRUPTION.reconcile(view, now).changes
    assert isinstance(change, Replace)
    return change.new["status"]


def numbers(status: Any) -> tuple[int, int, int, int]:
    return (
        status["expectedPods"],
        status["currentHealthy"],
        status["desiredHealthy"],
        status["disruptionsAllowed"],
    )


@pytest.mark.parametrize(
    ("spec", "ready", "expected"),
    [
        ({"minAvailable": 2}, 3, (3, 3, 2, 1)),
        ({"minAvailable": 2}, 2, (3, 2, 2, 0)),
        ({"minAvailable": 2}, 1, (3, 1, 2, 0)),
        ({"minAvailable": 0}, 3, (3, 3, 0, 3)),
        ({"minAvailable": "50%"}, 3, (3, 3, 2, 1)),
        ({"maxUnavailable": 1}, 3, (3, 3, 2, 1)),
        ({"maxUnavailable": "10%"}, 3, (3, 3, 2, 1)),
        ({"maxUnavailable": 0}, 3, (3, 3, 3, 0)),
        ({"maxUnavailable": 9}, 3, (3, 3, 0, 3)),
        ({}, 3, (0, 3, 0, 0)),
    ],
)
def test_a_budget_says_how_many_may_go(
    spec: dict[str, Any], ready: int, expected: tuple[int, int, int, int]
) -> None:
    status = told(a_budget(generation=4, **spec), SET, *three(ready))

    assert numbers(status) == expected
    assert status["observedGeneration"] == 4
    (condition,) = status["conditions"]
    assert condition == {
        "type": "DisruptionAllowed",
        "status": str(expected[3] > 0),
        "reason": "SufficientPods" if expected[3] else "InsufficientPods",
        "message": "",
        "observedGeneration": 4,
        "lastTransitionTime": rfc3339(NOW),
    }


def test_shares_are_of_the_replicas_of_all_controllers_and_not_of_the_pods_there_are() -> None:
    other = a_set(7, "other")
    pods = [a_db(0, SET), a_db(1, SET), a_db(2, other), a_db(3)]

    assert numbers(told(a_budget(minAvailable="50%"), SET, other, *pods)) == (10, 4, 5, 0)


def test_pods_of_others_and_pods_that_go_do_not_count() -> None:
    gone = a_db(2, SET, deletionTimestamp="2026-01-01T00:00:30Z")
    elsewhere = {**a_db(7), "metadata": {**a_db(7)["metadata"], "namespace": "other"}}

    status = told(a_budget(minAvailable=1), SET, a_db(0, SET), gone, a_pod("web"), elsewhere)

    assert numbers(status) == (2, 1, 1, 0)


@pytest.mark.parametrize(
    ("owner", "present", "message"),
    [
        (
            an_object("DaemonSet", "db", "default", "apps/v1"),
            True,
            "daemonsets.apps does not implement the scale",
        ),
        (SET, False, 'found no controllers for pod "db-0"'),
        (
            an_object("CloneSet", "db", "default", "example.com/v1"),
            False,
            'no matches for kind "CloneSet" in version "example.com/v1"',
        ),
    ],
)
def test_a_share_of_what_nobody_knows_allows_nothing_and_says_why(
    owner: Object, present: bool, message: str
) -> None:
    before = {"currentHealthy": 1, "disruptionsAllowed": 1, "observedGeneration": 1}
    there = [owner] if present else []

    status = told(a_budget(status=before, maxUnavailable=1), *there, a_db(0, owner))

    assert status["disruptionsAllowed"] == 0 and status["currentHealthy"] == 1
    assert status["conditions"][0]["reason"] == "SyncFailed"
    assert message in status["conditions"][0]["message"]


def test_a_plain_number_of_daemons_needs_no_scale() -> None:
    daemon_set = an_object("DaemonSet", "db", "default", "apps/v1")

    assert numbers(told(a_budget(minAvailable=1), a_db(0, daemon_set), a_db(1, daemon_set))) == (2, 2, 1, 1)


def test_a_set_that_was_made_anew_is_not_the_pods_controller() -> None:
    status = told(a_budget(maxUnavailable=1), a_set(), a_db(0, SET))

    assert status["conditions"][0]["message"] == 'found no controllers for pod "db-0"'


@pytest.mark.parametrize(
    ("age", "healthy", "recheck"),
    [(0, 2, DELETION_TIMEOUT), (DELETION_TIMEOUT - 1000, 2, 1000), (DELETION_TIMEOUT, 3, None)],
)
def test_a_pod_whose_eviction_was_allowed_counts_again_when_nobody_has_asked_it_to_go(
    age: int, healthy: int, recheck: int | None
) -> None:
    budget = a_budget(
        status={"disruptedPods": {"db-1": rfc3339(NOW - age), "gone": rfc3339(NOW)}}, minAvailable=1
    )
    view = DISRUPTION.view_of(a_state(budget, *three()), KEY)
    assert view is not None

    decision = DISRUPTION.reconcile(view, NOW)

    (change,) = decision.changes
    assert isinstance(change, Replace)
    assert change.new["status"]["currentHealthy"] == healthy
    assert list(change.new["status"].get("disruptedPods", {})) == (["db-1"] if healthy == 2 else [])
    assert decision.requeue_at == (NOW + recheck if recheck is not None else None)


def test_the_successor_of_an_evicted_pod_counts_at_once() -> None:
    budget = a_budget(status={"disruptedPods": {"db-1": rfc3339(NOW - 5000)}}, minAvailable=1)
    successor = a_db(1, SET, creationTimestamp=rfc3339(NOW - 4000))

    assert told(budget, successor)["currentHealthy"] == 1


def test_a_budget_that_stands_as_it_says_changes_nothing_and_its_condition_keeps_its_time() -> None:
    budget = a_budget(minAvailable=2)
    run = Settling(DISRUPTION, a_state(SET, *three(), budget)).resync()
    settled = run.now(budget)

    view = DISRUPTION.view_of(run.state, KEY)
    assert view is not None
    (change,) = DISRUPTION.reconcile(view, NOW + 60_000).changes

    assert isinstance(change, Replace) and change.old == change.new == settled


def test_a_budget_follows_its_pods() -> None:
    pods, budget = three(), a_budget(minAvailable=2)
    run = Settling(DISRUPTION, a_state(SET, *pods, budget)).resync()

    run.edit(pods[0], lambda pod: {**pod, "status": {**pod["status"], "conditions": []}}).settle()

    assert run.now(budget)["status"]["disruptionsAllowed"] == 0


@pytest.mark.parametrize(
    ("edit", "concerned"),
    [
        (lambda pod: with_metadata(pod, labels={"app": "web"}), True),
        (lambda pod: with_metadata(pod, deletionTimestamp="2026-01-01T00:00:30Z"), True),
        (lambda pod: with_metadata(pod, ownerReferences=[a_reference(a_controller("x"))]), True),
        (lambda pod: {**pod, "status": {"phase": "Running"}}, True),
        (lambda pod: {**pod, "status": {**pod["status"], "podIP": "127.1.2.3"}}, False),
        (lambda pod: with_metadata(pod, annotations={"a": "b"}), False),
    ],
)
def test_a_pod_concerns_its_budgets_only_where_what_they_count_changes(edit: Any, concerned: bool) -> None:
    pod = a_db()
    other = {**a_budget("other"), "spec": {"selector": {"matchLabels": {"app": "web", "x": "y"}}}}
    state = a_state(a_budget(minAvailable=1), other)

    assert list(DISRUPTION.triggers(state, pod, edit(pod))) == ([KEY] if concerned else [])


def test_pods_of_other_namespaces_concern_no_budget() -> None:
    pod = with_metadata(a_db(), namespace="elsewhere")

    assert list(DISRUPTION.triggers(a_state(a_budget(minAvailable=1)), None, pod)) == []


def test_a_set_that_is_scaled_concerns_the_budgets_that_are_a_share_of_it() -> None:
    plain, share = a_budget("plain", minAvailable=1), a_budget("share", maxUnavailable="10%")
    state = a_state(plain, share)

    assert list(DISRUPTION.triggers(state, SET, {**SET, "spec": {"replicas": 5}})) == [key_of_object(share)]
    assert list(DISRUPTION.triggers(state, SET, {**SET, "status": {"replicas": 3}})) == []


def test_what_the_controller_itself_writes_concerns_nobody() -> None:
    budget = a_budget(minAvailable=1)
    written = {**budget, "status": {"currentHealthy": 1}}

    assert list(DISRUPTION.triggers(a_state(budget), budget, written)) == []
    assert list(DISRUPTION.triggers(a_state(budget), None, budget)) == [KEY]
    assert list(DISRUPTION.triggers(a_state(), budget, None)) == []
