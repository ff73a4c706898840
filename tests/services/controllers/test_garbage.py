"""What goes with its owner, what stays, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.changes import Create, Delete
from schemas.deletion import BACKGROUND, FOREGROUND, ORPHAN, deletion_of
from schemas.objects import Object, is_terminating, with_metadata
from services.controllers.garbage import GARBAGE, MOST_CHANGES
from services.controllers.leftovers import PAUSE, SETTLING
from tests.builders import a_claim, a_controller, a_pod, a_reference, a_state, an_object
from tests.services.controllers.settling import NOW, Settling


def owned(
    *owners: Object, name: str = "cm", metadata: dict[str, Any] | None = None, **reference: Any
) -> Object:
    """A ConfigMap, the plainest of dependents."""
    references = [a_reference(owner, controller=False, **reference) for owner in owners]
    return an_object(
        "ConfigMap", name, "default", metadata={"ownerReferences": references, **(metadata or {})}
    )


def garbage(*objects: Object) -> Settling:
    return Settling(GARBAGE, a_state(*objects))


def test_when_an_owner_is_gone_so_are_its_dependents() -> None:
    web, db = a_controller("web"), a_controller("db")
    run = garbage(web, db, cm := owned(web), other := owned(db, name="other"))

    run.change(deletion_of(web, NOW)).settle()

    assert not run.has(cm)
    assert run.has(other)


def test_a_running_dependent_gets_its_grace_period() -> None:
    web = a_controller()
    run = garbage(web, pod := a_pod(node="n1", owner=web, phase="Running", terminationGracePeriodSeconds=10))

    run.change(Delete(web)).settle()

    assert run.now(pod)["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:10Z"
    assert run.now(pod)["metadata"]["deletionGracePeriodSeconds"] == 10


def test_dependents_of_dependents_follow() -> None:
    web = a_controller()
    pod = a_pod(owner=web)
    run = garbage(web, pod, cm := owned(pod))

    run.change(Delete(web)).settle()

    assert not run.has(pod) and not run.has(cm)


def test_a_dependent_with_another_owner_stays_and_forgets_the_one_that_is_gone() -> None:
    web, db = a_controller("web"), a_controller("db")
    run = garbage(web, db, cm := owned(web, db))

    run.change(Delete(web)).settle()

    assert [each["name"] for each in run.now(cm)["metadata"]["ownerReferences"]] == ["db"]


def test_another_owner_of_the_same_name_is_no_owner() -> None:
    """The uid says who the owner was: a set that was deleted and made again does not get the old one's objects."""
    web = a_controller()
    run = garbage(web, old := owned(web, name="old"))

    run.change(Delete(web))
    again = a_controller()
    run.change(Create(again), Create(new := owned(again, name="new"))).settle()

    assert not run.has(old)
    assert run.has(again) and run.has(new)


def test_a_dependent_made_after_its_owner_went_goes_too() -> None:
    run = garbage()

    run.change(Create(cm := owned(a_controller()))).settle()

    assert not run.has(cm)


def test_a_reference_given_later_to_an_owner_that_is_gone_ends_the_object() -> None:
    run = garbage(pod := a_pod())

    run.edit(pod, lambda pod: with_metadata(pod, ownerReferences=[a_reference(a_controller())])).settle()

    assert not run.has(pod)


def test_owners_of_unknown_kinds_are_believed_to_be_there() -> None:
    tenant = an_object("Tenant", "t", "default", "example.com/v1")

    run = garbage(cm := owned(tenant)).resync()

    assert run.has(cm) and run.batches == 0


def test_a_cluster_scoped_object_cannot_have_an_owner_in_a_namespace() -> None:
    node = an_object("Node", "n1", metadata={"ownerReferences": [a_reference(a_controller())]})

    assert garbage(node).resync().has(node)


def test_foreground_keeps_the_owner_until_those_that_block_it_are_gone() -> None:
    web = a_controller()
    pod = a_pod(node="n1", owner=web, phase="Running")
    run = garbage(web, pod, cm := owned(web))

    run.change(deletion_of(web, NOW, propagation=FOREGROUND)).settle()
    assert run.has(web) and not run.has(cm) and is_terminating(run.now(pod))
    [waits] = run.waiting_for.values()
    assert waits == "1 dependents to be gone before apps/statefulsets/default/web: default/web-0"

    run.change(deletion_of(run.now(pod), NOW, grace_seconds=0)).settle()
    assert not run.has(pod) and not run.has(web)


def test_foreground_does_not_wait_for_dependents_that_do_not_block() -> None:
    web = a_controller()
    pod = a_pod(node="n1", metadata={"ownerReferences": [a_reference(web, blocking=False)]})
    run = garbage(web, pod)

    run.change(deletion_of(web, NOW, propagation=FOREGROUND)).settle()

    assert not run.has(web)
    assert is_terminating(run.now(pod))


def test_foreground_without_dependents_ends_at_once() -> None:
    run = garbage(web := a_controller())

    assert not run.change(deletion_of(web, NOW, propagation=FOREGROUND)).settle().has(web)


def test_foreground_goes_down_the_tree_leaves_first() -> None:
    web = a_controller()
    pod = a_pod(owner=web)
    leaf = owned(pod, metadata={"finalizers": ["example.com/hold"]})
    run = garbage(web, pod, leaf)

    run.change(deletion_of(web, NOW, propagation=FOREGROUND)).settle()
    assert run.has(web) and run.has(pod) and is_terminating(run.now(pod)) and is_terminating(run.now(leaf))

    run.change(Delete(run.now(leaf))).settle()
    assert not run.has(pod) and not run.has(web)


def test_foreground_leaves_a_dependent_to_its_other_owner() -> None:
    web, db = a_controller("web"), a_controller("db")
    run = garbage(web, db, cm := owned(web, db))

    run.change(deletion_of(web, NOW, propagation=FOREGROUND)).settle()

    assert not run.has(web)
    assert [each["name"] for each in run.now(cm)["metadata"]["ownerReferences"]] == ["db"]


def test_owners_that_own_each_other_do_not_wait_for_ever() -> None:
    a, b = an_object("ConfigMap", "a", "default"), an_object("ConfigMap", "b", "default")
    a = with_metadata(a, ownerReferences=[a_reference(b)])
    b = with_metadata(b, ownerReferences=[a_reference(a)])
    run = garbage(a, b)

    run.change(deletion_of(a, NOW, propagation=FOREGROUND)).settle()

    assert not run.has(a) and not run.has(b)


def test_orphans_stay_without_owner() -> None:
    web = a_controller()
    run = garbage(web, pod := a_pod(node="n1", owner=web), cm := owned(web))

    run.change(deletion_of(web, NOW, propagation=ORPHAN)).settle()

    assert not run.has(web)
    assert all("ownerReferences" not in run.now(obj)["metadata"] for obj in (pod, cm))
    assert not is_terminating(run.now(pod))
    assert run.batches == 1


@pytest.mark.parametrize("propagation", [BACKGROUND, FOREGROUND, ORPHAN])
def test_a_finalizer_of_someone_else_still_holds_the_owner(propagation: str) -> None:
    web = with_metadata(a_controller(), finalizers=["example.com/hold"])
    run = garbage(web, cm := owned(web))

    run.change(deletion_of(web, NOW, propagation=propagation)).settle()

    assert run.now(web)["metadata"]["finalizers"] == ["example.com/hold"]
    assert run.has(cm) == (propagation != FOREGROUND)


@pytest.mark.parametrize("propagation", [BACKGROUND, FOREGROUND, ORPHAN])
def test_large_deletes_take_few_batches(propagation: str) -> None:
    web = a_controller()
    pods = [a_pod(f"web-{n}", owner=web) for n in range(2 * MOST_CHANGES + 1)]
    run = garbage(web, *pods)

    run.change(deletion_of(web, NOW, propagation=propagation)).settle()

    assert not run.has(web)
    assert run.batches <= 4
    assert all(run.has(pod) == (propagation == ORPHAN) for pod in pods)


def test_a_restart_finds_all_that_was_left_to_do() -> None:
    web, db = a_controller("web"), deletion_of(a_controller("db"), NOW, propagation=FOREGROUND)
    orphaning = deletion_of(a_controller("cache"), NOW, propagation=ORPHAN)
    left = [owned(web, name="a"), owned(db.new, name="b"), owned(orphaning.new, name="c")]

    run = garbage(db.new, orphaning.new, *left).resync()

    assert [run.has(obj) for obj in (*left, db.new, orphaning.new)] == [False, False, True, False, False]
    assert "ownerReferences" not in run.now(left[2])["metadata"]


def test_status_events_trigger_nothing() -> None:
    web = a_controller()
    pod = a_pod(node="n1", owner=web)
    state = a_state(web, pod)

    assert list(GARBAGE.triggers(state, pod, {**pod, "status": {"phase": "Running"}})) == []


class TestNamespaces:
    def a_namespace(self, **metadata: Any) -> Object:
        return an_object(
            "Namespace",
            "default",
            metadata=metadata,
            spec={"finalizers": ["kubernetes"]},
            status={"phase": "Active"},
        )

    def test_a_namespace_goes_with_all_that_is_in_it_pods_first(self) -> None:
        web, space = a_controller(), self.a_namespace()
        pod = a_pod(node="n1", owner=web, phase="Running")
        elsewhere = an_object("ConfigMap", "cm", "other")
        run = garbage(space, web, pod, claim := with_metadata(a_claim(), finalizers=None), elsewhere)

        run.change(deletion_of(space, NOW)).settle()
        assert run.now(space)["status"]["phase"] == "Terminating"
        assert not run.has(web) and is_terminating(run.now(pod)) and not is_terminating(run.now(claim))
        assert (
            "namespace default to be empty: 1 core/persistentvolumeclaims, 1 core/pods (default/web-0)"
            in run.waiting_for.values()
        )

        run.change(Delete(run.now(pod))).settle()
        assert not run.has(claim) and not run.has(space)
        assert run.has(elsewhere)

    def test_a_namespace_waits_for_finalizers_in_it_and_of_its_own(self) -> None:
        space = self.a_namespace(finalizers=["example.com/hold"])
        run = garbage(space, cm := owned(metadata={"finalizers": ["example.com/hold"]}))

        run.change(deletion_of(space, NOW)).settle()
        assert run.has(cm) and run.now(space)["spec"]["finalizers"] == ["kubernetes"]

        run.change(Delete(run.now(cm))).settle()
        assert "finalizers" not in run.now(space)["spec"]

        run.edit(space, lambda space: with_metadata(space, finalizers=None)).settle()
        assert not run.has(space)

    def test_a_namespace_that_takes_long_says_what_is_still_in_it(self) -> None:
        space = self.a_namespace()
        kept = owned(metadata={"finalizers": ["example.com/hold"]})
        run = garbage(
            space, kept, other := owned(name="other", metadata={"finalizers": ["example.com/hold"]})
        )

        def told() -> dict[str, str]:
            conditions = run.now(space)["status"].get("conditions", ())
            return {each["type"]: each["message"] for each in conditions if each["status"] == "True"}

        run.change(deletion_of(space, NOW)).settle()
        assert told() == {}
        run.pass_time(SETTLING).settle()
        assert told() == {
            "NamespaceContentRemaining": "Some resources are remaining: configmaps. has 2 resource instances",
            "NamespaceFinalizersRemaining": "Some content in the namespace has finalizers remaining: "
            "example.com/hold in 2 resource instances",
        }
        run.change(Delete(run.now(other))).settle()
        assert "2 resource instances" in told()["NamespaceContentRemaining"]
        run.pass_time(PAUSE).settle()
        assert "1 resource instances" in told()["NamespaceContentRemaining"]

    def test_a_large_namespace_takes_few_batches(self) -> None:
        space = self.a_namespace()
        run = garbage(space, *(owned(name=f"cm-{n}") for n in range(3 * MOST_CHANGES)))

        run.change(deletion_of(space, NOW)).settle()

        assert not run.has(space) and run.batches <= 6


@pytest.mark.parametrize("propagation", [BACKGROUND, FOREGROUND])
def test_dependents_that_take_their_time_are_asked_once(propagation: str) -> None:
    web = a_controller()
    pods = [a_pod(f"web-{n}", "n1", owner=web, phase="Running") for n in range(2 * MOST_CHANGES + 1)]
    run = garbage(web, *pods)

    run.change(deletion_of(web, NOW, propagation=propagation)).settle()

    assert all(is_terminating(run.now(pod)) for pod in pods)
    assert run.batches == 3
