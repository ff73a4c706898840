"""Claims and volumes: what stays while it is used, and what is reclaimed."""

from __future__ import annotations

import pytest

from schemas.changes import Create, Delete
from schemas.deletion import deletion_of
from schemas.objects import Object, is_terminating, with_metadata
from services.controllers.volumes import DATA, VOLUMES
from services.scheduler.census import Census
from services.scheduler.scheduling import schedule
from tests.builders import a_claim, a_class, a_node, a_pod, a_state, a_volume
from tests.services.controllers.settling import NOW, Settling

OURS = {"annotations": {"pv.kubernetes.io/provisioned-by": "chronoset.dev/local"}}


def volumes(*objects: Object) -> Settling:
    return Settling(VOLUMES, a_state(*objects))


def a_bound_pair(reclaim: str = "Delete", **metadata: object) -> tuple[Object, Object]:
    claim = a_claim(volume="pv1")
    return claim, a_volume(claim=claim, reclaim=reclaim, **(metadata or OURS))


def test_a_claim_stays_while_a_bound_pod_uses_it_and_goes_with_the_last() -> None:
    claim, volume = a_bound_pair()
    pods = [a_pod(f"p-{n}", node="n1", claims=("data",)) for n in range(2)]
    run = volumes(a_node(), claim, volume, *pods)

    run.change(deletion_of(claim, NOW)).settle()
    assert list(run.waiting_for.values()) == ["data is used by p-0, p-1"]

    run.change(Delete(pods[0])).settle()
    assert run.has(claim)

    run.change(Delete(pods[1])).settle()
    assert not run.has(claim)


def test_a_pod_without_a_node_does_not_hold_a_claim() -> None:
    claim, volume = a_bound_pair()

    assert (
        not volumes(claim, volume, a_pod(claims=("data",)))
        .change(deletion_of(claim, NOW))
        .settle()
        .has(claim)
    )


def test_a_claim_keeps_the_finalizers_of_others() -> None:
    claim = a_claim(finalizers=["kubernetes.io/pvc-protection", "example.com/hold"])

    run = volumes(claim).change(deletion_of(claim, NOW)).settle()

    assert run.now(claim)["metadata"]["finalizers"] == ["example.com/hold"]


def test_a_volume_to_delete_waits_for_the_agent_to_remove_its_data() -> None:
    claim, volume = a_bound_pair()
    run = volumes(a_node(), claim, volume)

    run.change(deletion_of(claim, NOW)).settle()

    left = run.now(volume)
    assert left["status"]["phase"] == "Released"
    assert is_terminating(left) and left["metadata"]["finalizers"] == [DATA]
    run.change(Delete(left)).settle()
    assert not run.has(volume)


def test_a_retained_volume_is_released_and_kept() -> None:
    claim, volume = a_bound_pair("Retain")
    run = volumes(a_node(), claim, volume)

    run.change(deletion_of(claim, NOW)).settle()

    assert run.now(volume)["status"]["phase"] == "Released"
    assert not is_terminating(run.now(volume))
    assert not run.change(deletion_of(run.now(volume), NOW)).settle().has(volume)


def test_a_volume_that_is_not_ours_is_never_deleted() -> None:
    claim, volume = a_bound_pair("Delete", annotations={})
    run = volumes(a_node(), claim, volume)

    run.change(deletion_of(claim, NOW)).settle()

    assert run.now(volume)["status"]["phase"] == "Failed"
    assert not is_terminating(run.now(volume))


def test_a_volume_in_use_survives_its_deletion_until_the_claim_is_gone() -> None:
    claim, volume = a_bound_pair()
    run = volumes(a_node(), claim, volume)

    run.change(deletion_of(volume, NOW)).settle()
    assert run.now(volume)["status"]["phase"] == "Bound"
    assert run.now(volume)["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]

    run.change(deletion_of(claim, NOW)).settle()
    assert run.now(volume)["metadata"]["finalizers"] == [DATA]


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_data_of_a_node_that_is_gone_is_not_waited_for(when: str) -> None:
    claim, volume = a_bound_pair()
    run = volumes(node := a_node(), claim, volume)
    steps = [Delete(node), deletion_of(claim, NOW)]

    for step in steps if when == "before" else reversed(steps):
        run.change(step).settle()

    assert not run.has(volume)


def test_another_claim_of_the_same_name_does_not_keep_the_volume() -> None:
    claim, volume = a_bound_pair("Retain")
    run = volumes(claim, volume)

    run.change(Delete(claim)).change(Create(a_claim())).settle()

    assert run.now(volume)["status"]["phase"] == "Released"


def test_a_claim_that_names_a_free_volume_is_bound_to_it() -> None:
    run = volumes(volume := a_volume(phase="Available"))

    run.change(Create(claim := a_claim(volume="pv1", phase="Pending", finalizers=[]))).settle()

    assert run.now(claim)["status"] == {
        "phase": "Bound",
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
    }
    assert run.now(claim)["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert run.now(volume)["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
    assert run.now(volume)["status"]["phase"] == "Bound"
    assert run.batches == 1


def test_a_claim_that_names_anothers_volume_waits() -> None:
    claim, volume = a_bound_pair()
    other = a_claim("other", volume="pv1", phase="Pending")

    run = volumes(claim, volume, other).resync()

    assert run.now(other)["status"]["phase"] == "Pending"
    assert list(run.waiting_for.values()) == ["other names pv1, which is for another claim"]


def test_of_two_claims_that_name_one_volume_the_first_by_name_gets_it() -> None:
    a, b = (a_claim(name, volume="pv1", phase="Pending") for name in "ab")

    run = volumes(a_volume(phase="Available"), b, a).resync()

    assert [run.now(each)["status"]["phase"] for each in (a, b)] == ["Bound", "Pending"]


def test_a_claim_whose_volume_vanished_is_lost() -> None:
    claim, volume = a_bound_pair()

    run = volumes(claim, volume).change(Delete(volume)).settle()

    assert run.now(claim)["status"]["phase"] == "Lost"


def test_a_users_volume_becomes_available_and_protected() -> None:
    volume = a_volume(phase="Pending", finalizers=None)

    run = volumes().change(Create(volume)).settle()

    assert run.now(volume)["status"]["phase"] == "Available"
    assert run.now(volume)["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]


def test_what_the_scheduler_makes_needs_nothing_done() -> None:
    """A freshly bound claim and its volume are as this controller wants them, so no event of that batch triggers it."""
    run = volumes(a_node(), a_class(), a_claim(), a_pod(claims=("data",)))
    view = Census().view_of(run.state, "all")
    assert view is not None

    run.change(*schedule(view, NOW).changes).settle()

    assert run.batches == 0 and run.waiting_for == {}


def test_a_restart_finds_all_that_was_left_to_do() -> None:
    released = a_volume("released", a_claim(), **OURS)
    going = with_metadata(a_claim("going"), deletionTimestamp="2026-01-01T00:00:00Z")
    claim, volume = a_bound_pair()

    run = volumes(a_node(), released, going, claim, volume).resync()

    assert run.now(released)["metadata"]["finalizers"] == [DATA]
    assert not run.has(going)
    assert run.now(claim) is claim and run.now(volume) is volume
