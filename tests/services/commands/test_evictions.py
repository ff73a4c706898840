"""Evictions: who goes without asking, who is charged, who is refused, and what two at once come to."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Delete, Replace
from schemas.errors import BadRequest, NotFound, PreconditionFailed, TooManyRequests, Unsupported
from schemas.event_types import condition_of
from schemas.objects import Object, is_terminating, key_of_object, name_of, with_metadata
from schemas.times import rfc3339
from services.commands.commands import Evict
from services.commands.deciding import Decided, decide
from tests.builders import a_pod, a_state
from tests.services.commands.worlds import DB, NOON, Known
from tests.services.controllers.disruption.worlds import a_budget, a_db, a_set

SET = a_set()


def three(ready: int = 3) -> list[Object]:
    return [a_db(number, SET, ready=number < ready) for number in range(3)]


def evicted(pod: Object, *objects: Object, **command: Any) -> Decided:
    state = a_state(pod, *objects)
    return decide(Evict(key_of_object(pod), **command), Known(state), NOON)


def test_an_eviction_asks_the_pod_to_end_and_charges_its_budget_in_one_batch() -> None:
    pods, budget = three(), a_budget(minAvailable=2)

    decided = evicted(pods[1], SET, *pods, budget, grace_seconds=5)

    ending, charged = decided.changes
    assert isinstance(ending, Replace) and isinstance(charged, Replace)
    assert ending.new["metadata"]["deletionGracePeriodSeconds"] == 5
    target = ending.new["status"]["conditions"][-1]
    assert (target["type"], target["status"], target["reason"]) == (
        "DisruptionTarget",
        "True",
        "EvictionByEvictionAPI",
    )
    assert charged.old is budget
    assert charged.new["status"]["disruptionsAllowed"] == 0
    assert charged.new["status"]["disruptedPods"] == {"db-1": rfc3339(NOON)}
    assert condition_of(charged.new, "DisruptionAllowed") == "False"
    assert list(map(name_of, decided.rests_on)) == ["db-0", "db-2"]


def test_a_share_rests_on_the_scale_it_is_of() -> None:
    pods = three()

    decided = evicted(pods[0], SET, *pods, a_budget(maxUnavailable=2))

    assert list(map(name_of, decided.rests_on)) == ["db-1", "db"]


def test_a_budget_that_has_none_to_spare_refuses_and_says_how_many_it_needs() -> None:
    pods = three(ready=2)

    with pytest.raises(TooManyRequests) as refused:
        evicted(pods[0], SET, *pods, a_budget(minAvailable=2))

    assert str(refused.value) == "Cannot evict pod as it would violate the pod's disruption budget."
    (cause,) = refused.value.causes
    assert cause.reason == "DisruptionBudget"
    assert cause.message == "The disruption budget db needs 2 healthy pods and has 2 currently"


def test_a_status_that_says_more_than_is_so_is_not_believed() -> None:
    pods = three(ready=2)
    boasting = a_budget(status={"disruptionsAllowed": 3, "observedGeneration": 1}, minAvailable=2)

    with pytest.raises(TooManyRequests):
        evicted(pods[0], SET, *pods, boasting)


def test_a_budget_that_cannot_be_counted_refuses_and_says_why() -> None:
    pod = a_db(0, SET)

    with pytest.raises(TooManyRequests) as refused:
        evicted(pod, a_budget(maxUnavailable=1))

    assert 'failed sync: found no controllers for pod "db-0"' in refused.value.causes[0].message


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
def test_a_pod_that_does_not_run_goes_whatever_its_budget_says(phase: str) -> None:
    pod = {**a_db(), "status": {"phase": phase}}

    decided = evicted(pod, a_budget(maxUnavailable=0))

    (change,) = decided.changes
    assert isinstance(change, Delete) or is_terminating(change.new)  # type: ignore[union-attr]


def test_a_pod_that_is_ending_is_asked_again_without_charge() -> None:
    pod = a_db(deletionTimestamp=rfc3339(NOON + 30_000), deletionGracePeriodSeconds=30)

    (change,) = evicted(pod, a_budget(maxUnavailable=0), grace_seconds=1).changes

    assert isinstance(change, Replace) and change.new["metadata"]["deletionGracePeriodSeconds"] == 1


@pytest.mark.parametrize(
    ("policy", "ready", "goes"),
    [
        ("", 2, True),
        ("IfHealthyBudget", 2, True),
        ("", 1, False),
        ("IfHealthyBudget", 1, False),
        ("AlwaysAllow", 1, True),
    ],
)
def test_an_unhealthy_pod_goes_by_its_budgets_policy_and_is_never_charged(
    policy: str, ready: int, goes: bool
) -> None:
    pods = three(ready)
    budget = a_budget(minAvailable=2, **({"unhealthyPodEvictionPolicy": policy} if policy else {}))

    if goes:
        decided = evicted(pods[2], SET, *pods, budget)
        assert [change.key for change in decided.changes] == [key_of_object(pods[2])]
        assert decided.rests_on[0] is budget
        assert list(map(name_of, decided.rests_on[1:])) == ["db-0", "db-1"][:ready]
    else:
        with pytest.raises(TooManyRequests):
            evicted(pods[2], SET, *pods, budget)


def test_two_budgets_for_one_pod_are_an_error() -> None:
    with pytest.raises(
        Unsupported, match="This pod has more than one PodDisruptionBudget, which the eviction"
    ):
        evicted(a_db(), a_budget("a", minAvailable=0), a_budget("b", minAvailable=0))


def test_budgets_of_other_pods_and_namespaces_have_no_say() -> None:
    elsewhere = with_metadata(a_budget("x", maxUnavailable=0), namespace="other")
    unselective = {**a_budget("y"), "spec": {"maxUnavailable": 0}}
    of_web = {**a_budget("z"), "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}}

    assert len(evicted(a_db(), elsewhere, unselective, of_web).changes) == 1


def test_preconditions_that_do_not_hold_are_named() -> None:
    pod = a_db()

    assert evicted(pod, uid=pod["metadata"]["uid"], resource_version="1").changes
    with pytest.raises(PreconditionFailed, match="UID in precondition: other, UID in object meta: pod-db-0"):
        evicted(pod, uid="other")
    with pytest.raises(
        PreconditionFailed, match="ResourceVersion in precondition: 9, ResourceVersion in object"
    ):
        evicted(pod, resource_version="9")


def test_only_pods_that_are_there_can_be_evicted() -> None:
    with pytest.raises(NotFound, match='pods "db-0" not found in namespace default'):
        decide(Evict("core/pods/default/db-0"), Known(a_state()), NOON)
    with pytest.raises(BadRequest, match=r'statefulsets\.apps "db" is no pod'):
        decide(Evict(DB), Known(a_state(a_pod("db"))), NOON)
