"""Commands on a log: once, atomically, again after a conflict; and the way back through revisions."""

from __future__ import annotations

import pytest

from schemas.errors import BadRequest, CommandReused, Invalid, NotFound
from schemas.objects import Object, key_of
from services.commands.commands import Delete, Patch, Restart, Scale, Undo
from tests.services.commands.worlds import ALICE, DB, World, a_manifest


def a_world_with(*images: str) -> World:
    """A world in which `db` was applied with each of these images."""
    world = World()
    for image in images:
        world.run_manifest(a_manifest(image))
    return world


def image_of(world: World) -> str:
    return str(world.object()["spec"]["template"]["spec"]["containers"][0]["image"])


def test_an_applied_set_comes_with_its_revision_and_names_who_did_it() -> None:
    world = World()
    events = world.run_manifest(a_manifest()).committed.events
    assert [event.type for event in events] == ["StatefulSetCreated", "ControllerRevisionCreated"]
    assert str(events[0].actor) == "user:alice (socket:0@host)"


def test_applying_the_same_again_appends_nothing() -> None:
    world = a_world_with("mysql:5.7.2")
    before = world.log.last()
    assert world.run_manifest(a_manifest()).committed.events == ()
    assert world.log.last() == before


def test_a_repeated_command_id_gives_the_first_result_though_the_world_has_moved() -> None:
    world = a_world_with("mysql:5.7.2")
    first = world.run(Scale(DB, 5), "once").committed
    world.run(Scale(DB, 7))
    again = world.run(Scale(DB, 5), "once").committed
    assert again.appended.last == first.appended.last
    assert [event.body for event in again.events] == [event.body for event in first.events]
    assert again.appended.repeated
    assert world.object()["spec"]["replicas"] == 7


def test_a_repeated_deletion_is_no_error() -> None:
    world = a_world_with("mysql:5.7.2")
    world.run(Delete(DB), "once")
    assert world.run(Delete(DB), "once").committed.appended.repeated
    world.executor.check(Delete(DB), ALICE, "once")
    with pytest.raises(NotFound):
        world.run(Delete(DB), "twice")


def test_a_command_id_with_another_wish_is_refused() -> None:
    world = a_world_with("mysql:5.7.2")
    world.run(Scale(DB, 5), "once")
    with pytest.raises(CommandReused, match="once"):
        world.run(Scale(DB, 6), "once")


def test_a_write_that_lost_a_race_is_decided_again_on_what_is_there_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first look is at a set that another writer has changed meanwhile; both changes stay."""
    world = a_world_with("mysql:5.7.2")
    raced = []

    def read_while_another_writes(key: str) -> Object | None:
        found = world.known.state.get(key)
        if key == DB and not raced:
            raced.append(world.another_executor().execute(Scale(DB, 9), ALICE, "other"))
        return found

    monkeypatch.setattr(world.known, "get", read_while_another_writes)
    world.run(Restart(DB))
    assert world.object()["spec"]["replicas"] == 9
    assert "annotations" in world.object()["spec"]["template"]["metadata"]


def test_bad_input_appends_nothing() -> None:
    world = a_world_with("mysql:5.7.2")
    before = world.log.last()
    for command in (Scale(DB, -1), Patch(DB, "merge", {"spec": {"replica": 1}}), Undo(DB), Undo(DB, 7)):
        with pytest.raises((Invalid, BadRequest)):
            world.run(command)
    assert world.log.last() == before


def test_undo_returns_to_the_revision_before_and_renumbers_it() -> None:
    world = a_world_with("mysql:1", "mysql:2")
    events = world.run(Undo(DB)).committed.events
    assert [event.type for event in events] == ["StatefulSetTemplateChanged", "ControllerRevisionRenumbered"]
    assert image_of(world) == "mysql:1"
    assert world.revisions() == {2: "mysql:2", 3: "mysql:1"}


def test_undo_returns_to_the_latest_of_several_earlier_revisions() -> None:
    world = a_world_with("mysql:1", "mysql:2", "mysql:3")
    world.run(Undo(DB))
    assert image_of(world) == "mysql:2"


def test_undo_twice_returns_to_where_it_began() -> None:
    world = a_world_with("mysql:1", "mysql:2")
    world.run(Undo(DB))
    world.run(Undo(DB))
    assert image_of(world) == "mysql:2"


def test_undo_to_a_number_returns_to_that_revision() -> None:
    world = a_world_with("mysql:1", "mysql:2", "mysql:3")
    world.run(Undo(DB, 1))
    assert image_of(world) == "mysql:1"
    assert world.revisions() == {2: "mysql:2", 3: "mysql:3", 4: "mysql:1"}


def test_undo_to_the_present_revision_changes_nothing() -> None:
    world = a_world_with("mysql:1", "mysql:2")
    assert world.run(Undo(DB, 2)).committed.events == ()


def test_undo_reaches_a_revision_that_the_limit_has_truncated() -> None:
    """The revision is derived again, with the same name and data."""
    world = a_world_with("mysql:1", "mysql:2", "mysql:3")
    first = min(world.known.kept_revisions(world.uid()), key=lambda each: int(each["revision"]))
    world.run(Delete(key_of("apps/controllerrevisions", "default", first["metadata"]["name"])))
    world.known._truncated.append(first)
    events = world.run(Undo(DB, 1)).committed.events
    assert [event.type for event in events] == ["StatefulSetTemplateChanged", "ControllerRevisionCreated"]
    assert events[1].body is not None
    assert events[1].body["metadata"]["name"] == first["metadata"]["name"]
    assert events[1].body["data"] == first["data"]


def test_undo_of_a_set_that_never_changed_says_so() -> None:
    world = a_world_with("mysql:1")
    with pytest.raises(BadRequest, match=r'statefulsets.apps "db": there is no earlier revision'):
        world.run(Undo(DB))


def test_undo_to_a_number_that_never_was_names_those_that_are() -> None:
    world = a_world_with("mysql:1", "mysql:2")
    with pytest.raises(BadRequest, match="--to-revision: 7 was never its revision; known are 1, 2"):
        world.run(Undo(DB, 7))
