"""Claims and volumes: what stays while it is used, and what is reclaimed."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Create, Delete
from schemas.deletion import deletion_of
from schemas.objects import Object, is_terminating, with_fields, with_metadata
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


def a_free_volume(name: str, size: str = "1Gi", **spec: Any) -> Object:
    """A volume that somebody has made and nobody has."""
    volume = a_volume(name, reclaim="Retain", phase="Available")
    return {**volume, "spec": {**volume["spec"], "capacity": {"storage": size}, **spec}}


def said_of(run: Settling, claim: Object) -> tuple[str, str, str]:
    """The phase of a claim, and the reason and message of its condition Bound."""
    status = run.now(claim)["status"]
    [condition] = status.get("conditions") or [{}]
    return status["phase"], condition.get("reason", ""), condition.get("message", "")


NONE = {"storageClassName": ""}
WAITING = (
    "Waiting for a volume to be created either by the external provisioner 'example.com/nfs' or manually by the system "
    "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly "
    "registered."
)

TROUBLES: list[tuple[str, Object, list[Object], tuple[str, str, str]]] = [
    (
        "no class, nothing made",
        a_claim(spec=NONE),
        [a_class()],
        (
            "Pending",
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        ),
    ),
    (
        "no class named, and no default",
        a_claim(),
        [a_class(default=False)],
        (
            "Pending",
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        ),
    ),
    (
        "an unknown class",
        a_claim(spec={"storageClassName": "ssd"}),
        [a_class()],
        ("Pending", "ProvisioningFailed", 'storageclass.storage.k8s.io "ssd" not found'),
    ),
    (
        "an unknown provisioner",
        a_claim(),
        [a_class(provisioner="example.com/nfs")],
        ("Pending", "ExternalProvisioning", WAITING),
    ),
    (
        "nobody makes volumes of the class",
        a_claim(),
        [a_class(provisioner="kubernetes.io/no-provisioner", mode="Immediate")],
        ("Pending", "ProvisioningFailed", 'no volume plugin matched name: "kubernetes.io/no-provisioner"'),
    ),
    (
        "a selector",
        a_claim(spec={"selector": {"matchLabels": {"a": "b"}}}),
        [a_class()],
        ("Pending", "ProvisioningFailed", "claim Selector is not supported"),
    ),
    (
        "nothing, in a template",
        a_claim(size="0"),
        [a_class()],
        ("Pending", "ProvisioningFailed", "spec.resources[storage]: must be greater than zero"),
    ),
    (
        "a named volume that is too small",
        a_claim(volume="pv1", phase="Pending", size="2Gi"),
        [a_free_volume("pv1")],
        ("Pending", "VolumeMismatch", 'Cannot bind to requested volume "pv1": requested PV is too small'),
    ),
    (
        "a named volume of another class",
        a_claim(volume="pv1", phase="Pending"),
        [a_free_volume("pv1", storageClassName="ssd")],
        (
            "Pending",
            "VolumeMismatch",
            'Cannot bind to requested volume "pv1": storageClassName does not match',
        ),
    ),
    (
        "a named volume with other access modes",
        a_claim(volume="pv1", phase="Pending", spec={"accessModes": ["ReadWriteMany"]}),
        [a_free_volume("pv1")],
        ("Pending", "VolumeMismatch", 'Cannot bind to requested volume "pv1": incompatible accessMode'),
    ),
    (
        "a named volume of another mode",
        a_claim(volume="pv1", phase="Pending", spec={"volumeMode": "Block"}),
        [a_free_volume("pv1")],
        ("Pending", "VolumeMismatch", 'Cannot bind to requested volume "pv1": incompatible volumeMode'),
    ),
    (
        "a named volume that is not there",
        a_claim(volume="pv1", phase="Pending"),
        [],
        ("Pending", "FailedBinding", 'volume "pv1" does not exist'),
    ),
    (
        "a bound claim whose volume is gone",
        a_claim(volume="pv1"),
        [],
        ("Lost", "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"),
    ),
    (
        "a bound claim whose volume was given to another by hand",
        a_claim(volume="pv1"),
        [a_volume("pv1", a_claim("other"))],
        ("Lost", "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"),
    ),
    ("a class that waits for its consumer", a_claim(), [a_class()], ("Pending", "", "")),
]


@pytest.mark.parametrize(
    ("claim", "others", "said"), [row[1:] for row in TROUBLES], ids=[row[0] for row in TROUBLES]
)
def test_a_claim_says_why_it_is_not_bound(
    claim: Object, others: list[Object], said: tuple[str, str, str]
) -> None:
    run = volumes(*others).change(Create(claim)).settle()

    assert said_of(run, claim) == said
    before = run.now(claim)
    assert run.resync().now(claim) is before


def test_a_claim_without_a_class_gets_the_default_one_once_there_is_one() -> None:
    run = volumes().change(Create(claim := a_claim())).settle()
    assert said_of(run, claim)[1] == "FailedBinding"

    run.change(Create(a_class())).settle()

    assert run.now(claim)["spec"]["storageClassName"] == "local"
    assert said_of(run, claim) == ("Pending", "", "")


def test_a_claim_without_a_class_is_bound_to_the_smallest_made_volume_that_fits() -> None:
    made = [a_free_volume("a", "4Gi"), a_free_volume("b", "2Gi"), a_free_volume("c", "512Mi")]

    run = volumes(*made).change(Create(claim := a_claim(spec=NONE))).settle()

    assert run.now(claim)["spec"]["volumeName"] == "b"
    assert run.now(claim)["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"] == "yes"
    assert run.now(made[1])["status"]["phase"] == "Bound"
    assert run.now(made[0])["status"]["phase"] == "Available"


def test_a_claim_waits_for_a_volume_to_be_made_and_gets_it() -> None:
    run = volumes().change(Create(claim := a_claim(spec=NONE))).settle()

    run.change(Create(with_fields(a_free_volume("pv1"), status={"phase": "Pending"}))).settle()

    assert said_of(run, claim) == ("Bound", "", "")


def test_two_claims_of_different_namespaces_do_not_share_a_volume() -> None:
    claims = [a_claim(spec=NONE), a_claim(spec=NONE, namespace="other")]

    run = volumes(a_free_volume("pv1")).change(*map(Create, claims)).settle()

    assert sorted(run.now(claim)["status"]["phase"] for claim in claims) == ["Bound", "Pending"]


def test_a_volume_reserved_by_name_is_given_to_its_claim_even_where_claims_wait_for_a_pod() -> None:
    reserved = a_free_volume("pv1", claimRef={"namespace": "default", "name": "data"})

    run = volumes(a_class(), reserved).change(Create(claim := a_claim())).settle()

    assert run.now(claim)["spec"]["volumeName"] == "pv1"
    assert run.now(reserved)["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]


def test_a_made_volume_is_left_to_the_scheduler_where_claims_wait_for_a_pod() -> None:
    run = volumes(a_class(), a_free_volume("pv1", storageClassName="local"))

    run.change(Create(claim := a_claim())).settle()

    assert "volumeName" not in run.now(claim)["spec"]


def test_a_volume_whose_claim_was_taken_out_by_hand_is_bound_again() -> None:
    claim, volume = a_bound_pair("Retain")
    run = volumes(claim, volume)

    run.edit(volume, lambda old: without_claim(old)).settle()

    assert run.now(volume)["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
    assert run.now(volume)["status"]["phase"] == "Bound"
    assert run.now(claim)["status"]["phase"] == "Bound"


def test_a_lost_claim_is_bound_again_when_its_volume_comes_back() -> None:
    claim, volume = a_bound_pair("Retain")
    run = volumes(claim, volume).change(Delete(volume)).settle()
    assert run.now(claim)["status"]["phase"] == "Lost"

    run.change(Create(volume)).settle()

    assert said_of(run, claim) == ("Bound", "", "")


def test_a_retained_volume_is_free_again_once_its_claim_is_taken_out_by_hand() -> None:
    claim, volume = a_bound_pair("Retain")
    run = volumes(claim, volume).change(deletion_of(claim, NOW)).settle()
    assert run.now(volume)["status"]["phase"] == "Released"

    run.edit(volume, without_claim).settle()

    assert run.now(volume)["status"]["phase"] == "Available"


def test_a_policy_changed_to_retain_by_hand_keeps_the_data() -> None:
    claim, volume = a_bound_pair()
    run = volumes(a_node(), claim, volume)
    kept = {**volume["spec"], "persistentVolumeReclaimPolicy": "Retain"}

    run.edit(volume, lambda old: with_fields(old, spec=kept)).settle()
    run.change(deletion_of(claim, NOW)).settle()

    assert run.now(volume)["status"]["phase"] == "Released" and not is_terminating(run.now(volume))


def test_a_claim_whose_class_is_deleted_stays_bound() -> None:
    claim, volume = a_bound_pair()
    run = volumes(storage_class := a_class(), claim, volume)

    run.remove(storage_class).settle()

    assert run.now(claim) is claim and run.now(volume) is volume


def without_claim(volume: Object) -> Object:
    return with_fields(
        volume, spec={name: value for name, value in volume["spec"].items() if name != "claimRef"}
    )
