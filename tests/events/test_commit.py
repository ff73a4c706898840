"""What a commit writes, and what it expects."""

from __future__ import annotations

from typing import Any

import pytest

from events.commit import (
    ATTEMPTS,
    Committed,
    Decide,
    Edges,
    Indexed,
    Intent,
    Proposal,
    Wish,
    batch_of,
    prepare,
)
from events.memory import wall_clock
from events.replay import replay
from schemas.changes import Change, Create, Delete, Replace
from schemas.errors import BadRequest, CommandReused, Conflict, Forbidden, NotFound
from schemas.objects import Object, version_of, with_fields, with_metadata
from tests.events.worlds import ALICE, World, a_bare_pod, a_namespace, a_statefulset, with_image

NOW = 1_795_401_564_000
INTENT = Intent(ALICE, "command")
WEB = "apps/statefulsets/default/web"
POD = "core/pods/default/web-0"


def revisions_of(world: World) -> dict[str, int]:
    return {each["metadata"]["name"]: each["revision"] for each in world.list("apps/controllerrevisions")}


def test_a_created_object_gets_uid_creation_time_and_generation() -> None:
    world = World(edges=Edges(new_uid=lambda: "uid-1", clock=wall_clock))
    world.commit(Create(a_bare_pod()))
    metadata = world.the(POD)["metadata"]
    assert metadata["uid"] == "uid-1"
    assert metadata["creationTimestamp"].endswith("Z")
    assert metadata["generation"] == 1
    assert metadata["resourceVersion"] == str(world.log.last())


def test_an_update_is_written_as_a_merge_patch_of_what_changed() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    old = world.the(POD)
    running = {**old["status"], "phase": "Running"}
    (event,) = world.commit(Replace(old, with_fields(old, status=running))).events
    assert (event.op, event.type, event.body) == (
        "update",
        "PodStatusChanged",
        {"status": {"phase": "Running"}},
    )
    assert event.previous == version_of(old)


def test_what_a_merge_patch_cannot_say_is_written_whole() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    old = world.the(POD)
    new = with_fields(old, status={"phase": "Pending", "odd": {"null": None}})
    (event,) = world.commit(Replace(old, new)).events
    assert event.op == "replace"
    assert world.the(POD)["status"] == {"phase": "Pending", "odd": {"null": None}}


def test_a_merge_patch_is_not_believed_but_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the patch between two objects ever wrong, the log would still hold what was meant."""
    world = World()
    world.commit(Create(a_bare_pod()))
    old = world.the(POD)
    monkeypatch.setattr("events.commit.merge_patch_between", lambda old, new: {"status": {"phase": "Wrong"}})
    (event,) = world.commit(Replace(old, with_fields(old, status={"phase": "Running"}))).events
    assert event.op == "replace"
    assert world.the(POD)["status"] == {"phase": "Running"}


@pytest.mark.parametrize("value", [1, 1.0, True, "1", -0.0, 0.0, 2**63 - 1, -(2**63)])
def test_values_keep_their_type_through_the_log(value: Any) -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    for new in (value, 7, value):
        old = world.the(POD)
        world.commit(Replace(old, with_fields(old, status={"value": new})))
    found = world.the(POD)["status"]["value"]
    assert (type(found), repr(found)) == (type(value), repr(value))


@pytest.mark.parametrize(
    "value", [2**64, {1: "x"}, "\ud800", object(), b"x", (1,), float("nan"), [float("inf")]]
)
def test_what_cannot_be_written_is_refused_and_nothing_is_appended(value: Any) -> None:
    world = World()
    end = world.log.last()
    with pytest.raises(BadRequest):
        world.commit(Create(with_fields(a_bare_pod(), status={"value": value})))
    assert world.log.last() == end


def test_a_change_that_changes_nothing_appends_nothing() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    old, end = world.the(POD), world.log.last()
    committed = world.commit(Replace(old, {**old, "status": {**old["status"], "phase": "Pending"}}))
    assert (committed.events, world.log.last()) == ((), end)


def test_all_objects_of_a_batch_carry_the_version_of_its_last_entry() -> None:
    world = World()
    done = world.commit(*(Create(a_bare_pod(f"web-{n}")) for n in range(3))).appended
    versions = {version_of(world.the(f"core/pods/default/web-{n}")) for n in range(3)}
    assert versions == {done.last} and done.last == done.first + 2


def test_an_object_that_moved_since_it_was_read_refuses_the_batch() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    old = world.the(POD)
    world.commit(Replace(old, with_fields(old, status={"phase": "Running"})))
    with pytest.raises(Conflict):
        world.commit(Replace(old, with_fields(old, status={"phase": "Failed"})))
    with pytest.raises(Conflict):
        world.commit(Create(a_bare_pod()))
    with pytest.raises(Conflict):
        world.commit(Create(a_bare_pod("web-1")), rests_on=[old])


def test_of_two_decisions_on_one_view_the_guard_lets_one_through() -> None:
    world = World()
    world.commit(Create(a_statefulset()))
    guard = (f"guard/statefulset/{WEB}", 0)
    world.decide(lambda: Proposal([Create(a_bare_pod("web-0"))], guard=guard), attempts=1)
    assert world.state.guards[guard[0]] == world.log.last()
    with pytest.raises(Conflict):
        world.decide(lambda: Proposal([Create(a_bare_pod("web-1"))], guard=guard), attempts=1)


def test_a_decision_is_taken_again_after_a_conflict_and_gives_up_after_five() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    seen: list[int] = []

    def meddled() -> Proposal:
        old = world.the(POD)
        seen.append(version_of(old))
        if len(seen) < 3:
            world.commit(Replace(old, with_fields(old, status={"phase": f"{len(seen)}"})))
        return Proposal([Replace(old, with_fields(old, status={"phase": "Running"}))])

    world.decide(meddled)
    assert len(seen) == 3 == len(set(seen)) and world.the(POD)["status"] == {"phase": "Running"}
    with pytest.raises(Conflict):
        world.decide(lambda: Proposal([Create(a_bare_pod())]))


def test_an_object_needs_a_namespace_that_is_there_and_not_terminating() -> None:
    world = World()
    pod = a_bare_pod()
    with pytest.raises(NotFound, match='namespaces "other" not found'):
        world.commit(Create({**pod, "metadata": {"name": "x", "namespace": "other"}}))
    default = world.the("core/namespaces/default")
    world.commit(
        Replace(default, with_metadata(default, deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x"]))
    )
    with pytest.raises(Forbidden, match="being terminated"):
        world.commit(Create(pod))


def test_a_namespace_that_ends_while_something_is_created_in_it_wins() -> None:
    world = World()
    default = world.the("core/namespaces/default")
    proposal = Proposal([Create(a_bare_pod())])
    intent = Intent(ALICE, "slow")
    prepared = prepare(proposal, world, intent, Edges())
    world.commit(Delete(default))
    with pytest.raises(Conflict, match="core/namespaces/default"):
        world.log.append(batch_of(prepared, intent, wall_clock()))


def test_generation_moves_with_the_spec_only() -> None:
    world = World()
    world.commit(Create(a_statefulset()))
    old = world.the(WEB)
    world.commit(Replace(old, with_fields(old, status={"replicas": 1})))
    assert world.the(WEB)["metadata"]["generation"] == 1
    old = world.the(WEB)
    world.commit(Replace(old, with_fields(old, spec={**old["spec"], "replicas": 5})))
    assert world.the(WEB)["metadata"]["generation"] == 2


def test_that_a_pod_is_bound_is_no_change_of_its_generation() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    (old,) = world.list("core/pods", "default")
    world.commit(Replace(old, with_fields(old, spec={**old["spec"], "nodeName": "n1"})))
    (bound,) = world.list("core/pods", "default")
    assert (bound["spec"]["nodeName"], bound["metadata"]["generation"]) == ("n1", 1)
    world.commit(Replace(bound, with_fields(bound, spec={**bound["spec"], "activeDeadlineSeconds": 9})))
    (changed,) = world.list("core/pods", "default")
    assert changed["metadata"]["generation"] == 2


def test_what_a_writer_says_of_uid_version_and_generation_is_not_believed() -> None:
    world = World()
    world.commit(Create(a_statefulset()))
    old = world.the(WEB)
    world.commit(
        Replace(old, with_metadata(old, uid="mine", generation=99, creationTimestamp="x", labels={"a": "b"}))
    )
    metadata = world.the(WEB)["metadata"]
    assert metadata == {**old["metadata"], "labels": {"a": "b"}, "resourceVersion": str(world.log.last())}


def test_an_object_made_of_an_old_one_is_another_one() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    old = world.the(POD)
    world.commit(Delete(old))
    world.commit(Create(old))
    metadata = world.the(POD)["metadata"]
    assert metadata["uid"] != old["metadata"]["uid"]
    assert metadata["resourceVersion"] == str(world.log.last())


def test_the_last_finalizer_of_a_terminating_object_ends_it() -> None:
    world = World()
    world.commit(Create(with_metadata(a_statefulset(), finalizers=["hold"])))
    old = world.the(WEB)
    world.commit(Replace(old, with_metadata(old, deletionTimestamp="2026-01-01T00:00:00Z")))
    old = world.the(WEB)
    (event,) = world.commit(Replace(old, with_metadata(old, finalizers=None))).events
    assert (event.type, world.get(WEB)) == ("StatefulSetDeleted", None)


def test_a_pod_with_grace_waits_for_its_agent() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    old = world.the(POD)
    leaving = with_metadata(old, deletionTimestamp="2026-01-01T00:00:30Z", deletionGracePeriodSeconds=30)
    (event,) = world.commit(Replace(old, leaving)).events
    assert event.type == "PodDeletionRequested" and world.get(POD) is not None
    world.commit(Delete(world.the(POD)))
    assert world.get(POD) is None


def test_a_new_template_brings_its_revision_in_the_same_batch() -> None:
    world = World()
    created = world.commit(Create(a_statefulset()))
    assert [event.type for event in created.events] == ["StatefulSetCreated", "ControllerRevisionCreated"]
    revision = created.events[1]
    assert revision.actor.name == "controller:statefulset"
    assert revision.cause == created.events[0].position
    assert revision.derivation == 1
    replayed = world.committer.events_of(created.appended)
    assert replayed[1].cause == replayed[0].position


def test_a_status_or_a_scale_brings_no_revision() -> None:
    world = World()
    world.commit(Create(a_statefulset()))
    old = world.the(WEB)
    changed = with_fields(old, spec={**old["spec"], "replicas": 9}, status={"replicas": 3})
    assert len(world.commit(Replace(old, changed)).events) == 1


def test_two_templates_close_together_leave_two_revisions() -> None:
    world = World()
    world.commit(Create(a_statefulset(image="web:1")))
    for image in ("web:2", "web:3"):
        old = world.the(WEB)
        world.commit(Replace(old, with_image(old, image)))
    assert sorted(revisions_of(world).values()) == [1, 2, 3]


def test_an_earlier_template_renumbers_its_revision() -> None:
    world = World()
    world.commit(Create(a_statefulset(image="web:1")))
    for image in ("web:2", "web:1"):
        old = world.the(WEB)
        committed = world.commit(Replace(old, with_image(old, image)))
    assert [event.type for event in committed.events] == [
        "StatefulSetTemplateChanged",
        "ControllerRevisionRenumbered",
    ]
    assert sorted(revisions_of(world).values()) == [2, 3]


def test_a_revision_that_moved_meanwhile_refuses_the_derivation() -> None:
    world = World()
    world.commit(Create(a_statefulset(image="web:1")))
    old = world.the(WEB)
    (revision,) = world.list("apps/controllerrevisions")
    stale: list[Object] = [revision]

    class Stale:
        get = staticmethod(world.get)

        @staticmethod
        def list(resource: str, namespace: str = "") -> list[Object]:
            return stale if resource == "apps/controllerrevisions" else world.list(resource, namespace)

    world.commit(Replace(revision, with_metadata(revision, annotations={"a": "b"})))
    intent = Intent(ALICE, "slow")
    prepared = prepare(Proposal([Replace(old, with_image(old, "web:2"))]), Stale(), intent, Edges())
    with pytest.raises(Conflict, match="controllerrevisions"):
        world.log.append(batch_of(prepared, intent, wall_clock()))


@pytest.mark.parametrize("known", ["none", "its own", "an orphan", "its name, taken by another"])
def test_a_reader_with_indexes_leads_to_the_same_batch(known: str) -> None:
    world, edges = World(), Edges(clock=lambda: NOW, new_uid=lambda: "uid-of-web")
    world.commit(Create(a_statefulset("other")))
    change: Change = Create(a_statefulset())
    (made,) = (step for step in prepare(Proposal([change]), world, INTENT, edges).events[1:])
    assert made.body is not None
    revision = made.body
    if known == "its own":
        world.commit(change)
        web = world.the(WEB)
        change = Replace(web, with_image(web, "web:2"))
    elif known == "an orphan":
        world.commit(Create(with_metadata(revision, ownerReferences=None)))
    elif known == "its name, taken by another":
        world.commit(Create({**with_metadata(revision, labels={"app": "x"}), "data": {"other": True}}))
    scanned = prepare(Proposal([change]), world, INTENT, edges)
    assert isinstance(world.state, Indexed)
    assert not isinstance(world, Indexed)
    assert prepare(Proposal([change]), world.state, INTENT, edges) == scanned
    assert len(scanned.events) == 2


def test_a_command_id_is_idempotent_and_bound_to_its_content() -> None:
    world = World()
    first = world.commit(Create(a_bare_pod()), command="mine", digest="apply pod")
    end = world.log.last()
    again = world.commit(Create(a_bare_pod("web-9")), command="mine", digest="apply pod")
    assert again.appended.repeated and again.events[0].key == POD and world.log.last() == end
    assert again.events[0].body == first.events[0].body
    with pytest.raises(CommandReused):
        world.commit(Create(a_bare_pod("web-9")), command="mine", digest="something else")


def test_two_changes_of_one_object_in_a_batch_are_refused() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    with pytest.raises(BadRequest, match="twice"):
        world.commit(Delete(world.the(POD)), Create(a_bare_pod()))


def test_more_than_a_thousand_changes_are_refused() -> None:
    world = World()
    with pytest.raises(BadRequest, match="at most 1000"):
        world.commit(*(Create(a_namespace(f"n{number}")) for number in range(1001)))


def test_a_batch_is_one_step_of_the_past() -> None:
    world = World()
    done = world.commit(*(Create(a_bare_pod(f"web-{n}")) for n in range(3))).appended
    assert len(replay(world.log, done.last).list("core/pods")) == 3
    assert replay(world.log, done.first + 1).list("core/pods") == []


def test_decisions_that_are_committed_together_succeed_and_fail_each_by_itself() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    pod = world.the(POD)
    tries: list[int] = []

    def outrun() -> Proposal:
        """Rest on a pod that moves after the decision, and decide again on what is there then."""
        tries.append(version_of(world.the(POD)))
        return Proposal([Create(a_bare_pod(f"web-{len(tries)}"))], rests_on=[world.the(POD)])

    def broken() -> Proposal:
        raise ZeroDivisionError

    decisions: list[Decide] = [
        lambda: Proposal([Replace(pod, with_fields(pod, status={"phase": "Running"}))]),
        outrun,
        broken,
        lambda: Proposal([Replace(pod, with_fields(pod, status={"phase": "Failed"}))]),
        lambda: Proposal([]),
        lambda: Proposal([Create(a_bare_pod("web-9", namespace="nowhere"))]),
    ]
    wishes = [Wish(each, Intent(ALICE, f"c{n}", remember=600)) for n, each in enumerate(decisions)]
    done, again, failed, stale, nothing, refused = world.committer.commit_all(wishes)
    world.catch_up()
    assert isinstance(done, Committed) and world.the(POD)["status"]["phase"] == "Running"
    assert isinstance(again, Committed) and tries == [version_of(pod), done.appended.last]
    assert [event.key for event in again.events] == ["core/pods/default/web-2"]
    assert isinstance(failed, ZeroDivisionError)
    assert isinstance(stale, Conflict), "decided on the past for ever"
    assert isinstance(nothing, Committed) and nothing.events == ()
    assert isinstance(refused, NotFound)
    assert world.committer.conflicts == 1 + ATTEMPTS
