"""Claims and the room on disks: where new volumes go, which made ones are taken, and what is said where neither is."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Create, Replace
from schemas.objects import Object, with_fields
from schemas.storage import PROVISIONED_BY, PROVISIONER, STORAGE
from services.scheduler.controller import KEY, scheduler
from tests.builders import a_claim, a_class, a_node, a_pod, a_state, a_volume
from tests.services.controllers.settling import Settling

NO_STORAGE = "node(s) did not have enough free storage"
NO_VOLUMES = "node(s) didn't find available persistent volumes to bind"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


def a_store(name: str = "n1", room: str = "10Gi", **more: Any) -> Object:
    """A node whose volumes may hold `room` together."""
    node = a_node(name, **more)
    node["status"]["allocatable"][STORAGE] = room
    return node


def a_made_volume(
    name: str, node: str = "n1", size: str = "1Gi", claim: Object | None = None, **spec: Any
) -> Object:
    """A volume that somebody has made, free unless a claim is given."""
    volume = a_volume(name, claim, node, reclaim="Retain", phase="Bound" if claim else "Available")
    made = {**volume["spec"], "capacity": {"storage": size}, "storageClassName": "local", **spec}
    return {**volume, "spec": made}


def ours(name: str, node: str, size: str) -> Object:
    """A volume of some claim that is not looked at, made here."""
    volume = a_volume(name, a_claim("other"), node, annotations={PROVISIONED_BY: PROVISIONER})
    return {**volume, "spec": {**volume["spec"], "capacity": {"storage": size}}}


def run(*objects: Object) -> Settling:
    return Settling(scheduler(), a_state(*objects)).resync()


def node_of(settled: Settling, pod: Object) -> str:
    return str(settled.now(pod)["spec"].get("nodeName", ""))


def message_of(settled: Settling, pod: Object) -> str:
    [condition] = settled.now(pod)["status"]["conditions"]
    return str(condition.get("message", ""))


def volume_of(settled: Settling, claim: Object) -> Object:
    found = settled.state.get(f"core/persistentvolumes/{settled.now(claim)['spec']['volumeName']}")
    assert found is not None
    return found


def host_of(volume: Object) -> str:
    [term] = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    return str(term["matchExpressions"][0]["values"][0])


POD = a_pod(claims=("data",))


class TestRoom:
    def test_a_claim_goes_where_the_disk_has_room_for_it(self) -> None:
        claim = a_claim(size="5Gi")

        done = run(a_class(), a_store("n1", "4Gi"), a_store("n2", "6Gi"), claim, POD)

        assert node_of(done, POD) == "n2" == host_of(volume_of(done, claim))

    def test_a_claim_for_more_than_any_disk_holds_is_refused_with_counts(self) -> None:
        nodes = [a_store("n1"), a_store("n2"), a_store("n3", "100Gi", unschedulable=True)]

        done = run(a_class(), *nodes, a_claim(size="20Gi"), POD)

        assert node_of(done, POD) == ""
        assert message_of(done, POD) == (
            f"0/3 nodes are available: 1 node(s) were unschedulable, 2 {NO_STORAGE}."
        )

    def test_what_claims_have_already_counts(self) -> None:
        done = run(a_class(), a_store(), ours("pv-a", "n1", "6Gi"), a_claim(size="5Gi"), POD)

        assert message_of(done, POD) == f"0/1 nodes are available: 1 {NO_STORAGE}."

    def test_a_released_volume_takes_room_until_its_directory_is_removed(self) -> None:
        released = with_fields(ours("pv-a", "n1", "6Gi"), status={"phase": "Released"})
        done = run(a_class(), a_store(), released, a_claim(size="5Gi"), POD)
        assert node_of(done, POD) == ""

        done.remove(released).settle()

        assert node_of(done, POD) == "n1"

    def test_pods_of_one_decision_do_not_share_room(self) -> None:
        claims = [a_claim(f"data-{n}", size="4Gi") for n in range(5)]
        pods = [a_pod(f"p-{n}", claims=(f"data-{n}",)) for n in range(5)]

        done = run(a_class(), a_store("n1"), a_store("n2"), *claims, *pods)

        assert sorted(node_of(done, pod) for pod in pods) == ["", "n1", "n1", "n2", "n2"]

    def test_all_claims_of_a_pod_go_to_one_node(self) -> None:
        pod = a_pod(claims=("a", "b"))
        nodes = [a_store("n1", "5Gi"), a_store("n2", "7Gi")]

        done = run(a_class(), *nodes, a_claim("a", size="3Gi"), a_claim("b", size="3Gi"), pod)

        assert node_of(done, pod) == "n2"

    def test_a_node_that_does_not_say_what_it_holds_has_no_limit(self) -> None:
        assert node_of(run(a_class(), a_node(), a_claim(size="1Pi"), POD), POD) == "n1"

    def test_the_pod_is_tried_again_when_the_node_reports_more_room(self) -> None:
        node = a_store()
        done = run(a_class(), node, a_claim(size="20Gi"), POD)
        assert node_of(done, POD) == ""

        done.edit(node, lambda old: with_fields(old, status=a_store(room="20Gi")["status"])).settle()

        assert node_of(done, POD) == "n1"

    def test_what_else_a_node_lacks_is_said_first(self) -> None:
        pod = a_pod(claims=("data",), requests={"cpu": "100"})

        assert message_of(run(a_class(), a_store(), a_claim(size="20Gi"), pod), pod) == (
            "0/1 nodes are available: 1 Insufficient cpu."
        )

    def test_a_full_disk_takes_no_pods(self) -> None:
        node = a_store()
        node["status"]["conditions"].append({"type": "DiskPressure", "status": "True"})

        done = run(node, pod := a_pod())

        assert message_of(done, pod) == (
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }."
        )


class TestClasses:
    def test_the_volume_is_as_its_class_says(self) -> None:
        claim = a_claim(spec={"storageClassName": "kept"})
        kept = a_class("kept", default=False, reclaimPolicy="Retain", mountOptions=["noatime"])

        done = run(kept, a_node(), claim, POD)

        spec = volume_of(done, claim)["spec"]
        assert (spec["storageClassName"], spec["persistentVolumeReclaimPolicy"]) == ("kept", "Retain")
        assert spec["mountOptions"] == ["noatime"]

    def test_of_two_default_classes_the_newest_wins(self) -> None:
        old = a_class("old", metadata={"creationTimestamp": "2026-01-01T00:00:00Z"})
        new = a_class("new", metadata={"creationTimestamp": "2026-01-02T00:00:00Z"})
        claim = a_claim()

        done = run(old, new, a_node(), claim, POD)

        assert done.now(claim)["spec"]["storageClassName"] == "new"

    @pytest.mark.parametrize(
        ("claim", "classes", "message"),
        [
            (a_claim(), [], UNBOUND),
            (a_claim(), [a_class(default=False)], UNBOUND),
            (a_claim(spec={"storageClassName": ""}), [a_class()], UNBOUND),
            (a_claim(spec={"storageClassName": "ssd"}), [a_class()], UNBOUND),
            (
                a_claim(),
                [a_class(provisioner="example.com/nfs")],
                'persistentvolumeclaim "data": Waiting for a volume to be created either by the external provisioner '
                "'example.com/nfs' or manually by the system administrator. If volume creation is delayed, please "
                "verify that the provisioner is running and correctly registered",
            ),
            (a_claim(), [a_class(provisioner="kubernetes.io/no-provisioner")], f"1 {NO_VOLUMES}"),
            (
                a_claim(spec={"selector": {"matchLabels": {"a": "b"}}}),
                [a_class()],
                'persistentvolumeclaim "data": claim Selector is not supported',
            ),
            (
                a_claim(size="0"),
                [a_class()],
                'persistentvolumeclaim "data": spec.resources[storage]: must be greater than zero',
            ),
            (
                a_claim(volume="pv9", phase="Lost"),
                [a_class()],
                'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv9"',
            ),
        ],
    )
    def test_a_pod_says_why_its_claim_gets_no_volume(
        self, claim: Object, classes: list[Object], message: str
    ) -> None:
        done = run(*classes, a_node(), claim, POD)

        assert message_of(done, POD) == f"0/1 nodes are available: {message}."

    def test_a_pod_is_tried_again_when_its_class_is_made(self) -> None:
        done = run(a_node(), a_claim(), POD)
        assert node_of(done, POD) == ""

        done.change(Create(a_class())).settle()

        assert node_of(done, POD) == "n1"

    def test_a_class_that_is_deleted_leaves_its_bound_claims_alone(self) -> None:
        claim = a_claim(volume="pv1", spec={"storageClassName": "gone"})

        assert node_of(run(a_node(), claim, a_volume(claim=claim), POD), POD) == "n1"

    def test_volumes_are_made_only_where_the_class_allows_it(self) -> None:
        terms = [{"matchLabelExpressions": [{"key": "zone", "values": ["b"]}]}]
        nodes = [a_node("n1", labels={"zone": "a"}), a_node("n2", labels={"zone": "b"})]

        assert node_of(run(a_class(allowedTopologies=terms), *nodes, a_claim(), POD), POD) == "n2"
        assert message_of(run(a_class(allowedTopologies=terms), nodes[0], a_claim(), POD), POD) == (
            f"0/1 nodes are available: 1 {NO_VOLUMES}."
        )


class TestMadeVolumes:
    def test_the_smallest_that_fits_is_taken_and_no_new_one_made(self) -> None:
        volumes = [a_made_volume("big", size="9Gi"), a_made_volume("fit", size="3Gi"), a_made_volume("tiny")]
        claim = a_claim(size="2Gi")

        done = run(a_class(), a_node(), *volumes, claim, POD)

        assert done.now(claim)["spec"]["volumeName"] == "fit"
        assert done.now(volumes[1])["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
        assert done.now(claim)["status"]["capacity"] == {"storage": "3Gi"}
        assert len(done.state.list("core/persistentvolumes")) == 3

    def test_where_none_may_be_made_the_pod_goes_to_the_volume(self) -> None:
        storage_class = a_class(provisioner="kubernetes.io/no-provisioner")
        nodes = [a_node(f"n{n}") for n in (1, 2, 3)]

        done = run(storage_class, *nodes, a_made_volume("pv-n2", "n2"), a_claim(), POD)

        assert node_of(done, POD) == "n2"

    def test_one_volume_serves_one_claim(self) -> None:
        storage_class = a_class(provisioner="kubernetes.io/no-provisioner")
        claims = [a_claim("a"), a_claim("b")]
        pods = [a_pod(name, claims=(name,)) for name in "ab"]

        done = run(storage_class, a_node(), a_made_volume("pv1"), *claims, *pods)

        assert [node_of(done, pod) for pod in pods] == ["n1", ""]
        assert message_of(done, pods[1]) == f"0/1 nodes are available: 1 {NO_VOLUMES}."

    def test_a_volume_reserved_for_another_claim_is_left(self) -> None:
        reserved = a_made_volume("pv1", claimRef={"namespace": "default", "name": "other"})
        claim = a_claim()

        done = run(a_class(), a_node(), reserved, claim, POD)

        assert done.now(claim)["spec"]["volumeName"] != "pv1"

    @pytest.mark.parametrize(
        "spec",
        [
            {"accessModes": ["ReadOnlyMany"]},
            {"volumeMode": "Block"},
            {"storageClassName": "other"},
            {"capacity": {"storage": "1Mi"}},
        ],
    )
    def test_a_volume_that_does_not_fit_is_left(self, spec: Object) -> None:
        claim = a_claim()

        done = run(a_class(), a_node(), a_made_volume("pv1", **spec), claim, POD)

        assert done.now(claim)["spec"]["volumeName"] != "pv1"

    def test_a_selector_chooses_among_made_volumes(self) -> None:
        claim = a_claim(spec={"selector": {"matchLabels": {"disk": "ssd"}}})
        plain, ssd = a_made_volume("a"), a_made_volume("b")
        ssd["metadata"]["labels"] = {"disk": "ssd"}

        done = run(a_class(), a_node(), plain, ssd, claim, POD)

        assert done.now(claim)["spec"]["volumeName"] == "b"


class TestEagerClaims:
    def test_a_claim_of_an_immediate_class_gets_a_volume_without_a_pod_where_most_room_is(self) -> None:
        claim = a_claim()

        done = run(a_class(mode="Immediate"), a_store("n1", "2Gi"), a_store("n2", "4Gi"), claim)

        assert host_of(volume_of(done, claim)) == "n2"
        assert done.now(claim)["status"]["phase"] == "Bound"

    def test_its_pod_goes_there_in_the_same_batch(self) -> None:
        done = run(a_class(mode="Immediate"), a_store("n1", "2Gi"), a_store("n2", "4Gi"), a_claim(), POD)

        assert node_of(done, POD) == "n2" and done.batches == 1

    def test_without_room_the_claim_says_so_and_is_tried_again(self) -> None:
        claim = a_claim(size="20Gi")
        cordoned = a_store("n2", unschedulable=True)
        done = run(a_class(mode="Immediate"), a_store(), cordoned, claim)

        [condition] = done.now(claim)["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == (
            "Bound",
            "False",
            "ProvisioningFailed",
        )
        assert condition["message"] == (
            f"0/2 nodes are available: 1 {NO_STORAGE}, 1 node(s) were unschedulable."
        )
        done.change(Create(a_store("n3", "30Gi"))).settle()
        assert host_of(volume_of(done, claim)) == "n3"
        assert "conditions" not in done.now(claim)["status"]

    def test_a_claim_that_a_made_volume_fits_is_left_to_the_controller_of_volumes(self) -> None:
        claim = a_claim(spec={"storageClassName": "local"})

        done = run(a_class(mode="Immediate"), a_node(), a_made_volume("pv1"), claim)

        assert done.now(claim) is claim


class TestGrowth:
    def grown(self, size: str, *objects: Object, **volume: Any) -> tuple[Settling, Object]:
        claim = a_claim(volume="pv1", spec={"storageClassName": "local"})
        made = a_volume(claim=claim, annotations={PROVISIONED_BY: PROVISIONER}, **volume)
        bound = with_fields(claim, status={**claim["status"], "capacity": {"storage": "1Gi"}})
        asked = {**bound["spec"], "resources": {"requests": {"storage": size}}}
        settled = Settling(scheduler(), a_state(*objects, made, bound))
        return settled.change(Replace(bound, with_fields(bound, spec=asked))).settle(), bound

    def test_a_claim_grows_where_its_class_allows_it_and_the_disk_has_room(self) -> None:
        done, claim = self.grown("8Gi", a_class(allowVolumeExpansion=True), a_store())

        assert done.now(claim)["status"]["capacity"] == {"storage": "8Gi"}
        assert volume_of(done, claim)["spec"]["capacity"] == {"storage": "8Gi"}

    @pytest.mark.parametrize(
        ("size", "objects", "problem"),
        [
            (
                "20Gi",
                [a_class(allowVolumeExpansion=True), a_store()],
                f"{NO_STORAGE}: 19Gi more are asked for, 9Gi are free",
            ),
            (
                "2Gi",
                [a_class(), a_store()],
                "the storageclass that provisions the pvc does not support resize",
            ),
            ("2Gi", [a_class(allowVolumeExpansion=True)], "node n1 is not there"),
        ],
    )
    def test_a_claim_that_cannot_grow_says_why(self, size: str, objects: list[Object], problem: str) -> None:
        done, claim = self.grown(size, *objects)

        [condition] = done.now(claim)["status"]["conditions"]
        assert (condition["type"], condition["message"]) == ("ControllerResizeError", problem)
        assert done.now(claim)["status"]["capacity"] == {"storage": "1Gi"}

    def test_it_is_tried_again_when_there_is_room(self) -> None:
        node = a_store()
        done, claim = self.grown("20Gi", a_class(allowVolumeExpansion=True), node)

        done.edit(node, lambda old: with_fields(old, status=a_store(room="30Gi")["status"])).settle()

        assert done.now(claim)["status"] == {"phase": "Bound", "capacity": {"storage": "20Gi"}}


def test_the_scheduler_sleeps_while_only_claims_that_wait_for_their_consumer_are_there() -> None:
    state = a_state(a_class(), a_node(), a_claim())

    assert scheduler().view_of(state, KEY) is None
    assert list(scheduler().triggers(state, None, a_claim())) == []
