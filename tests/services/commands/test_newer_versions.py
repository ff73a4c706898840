"""A newer version fills in more; what was stored by an older one stays as it is until somebody changes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemas import defaults
from schemas.objects import Object, with_metadata
from schemas.patching import strictly_equal
from services.commands.commands import Apply, Patch
from services.commands.deciding import decide
from services.commands.objects import SCALE, STATUS, PatchObject, UpdateObject, decide_write
from tests.builders import a_pod, a_state
from tests.services.commands.worlds import DB, NOON, Known, World, a_manifest

LABEL = {"metadata": {"labels": {"team": "a"}}}
Write = Callable[[Object], Object]


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def begin() -> None:
        monkeypatch.setitem(defaults._POD_SPEC, "hostUsers", True)
        monkeypatch.setitem(defaults._CONTAINER, "tty", True)

    return begin


def over_api(write: PatchObject | UpdateObject, stored: Object) -> Object:
    (change,) = decide_write(write, Known(a_state(stored))).changes
    return change.new


WRITES: dict[str, Write] = {
    "PUT": lambda old: over_api(UpdateObject(DB, with_metadata(old, labels={"team": "a"})), old),
    "PUT of the manifest": lambda old: over_api(UpdateObject(DB, a_manifest(minReadySeconds=5)), old),
    "PUT of status": lambda old: over_api(UpdateObject(DB, {**old, "status": {"replicas": 1}}, STATUS), old),
    "merge patch": lambda old: over_api(PatchObject(DB, "merge", LABEL), old),
    "strategic patch": lambda old: over_api(PatchObject(DB, "strategic", LABEL), old),
    "scale": lambda old: over_api(PatchObject(DB, "merge", {"spec": {"replicas": 7}}, SCALE), old),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_request_over_the_api_leaves_a_template_alone_that_it_does_not_change(
    write: Write, upgrade: Callable[[], None]
) -> None:
    world = World()
    world.run_manifest(a_manifest())
    stored = world.object()
    upgrade()
    new = write(stored)
    assert not strictly_equal(new, stored)
    assert strictly_equal(new["spec"]["template"], stored["spec"]["template"])


@pytest.mark.parametrize(
    "command",
    [Apply(a_manifest(minReadySeconds=5)), Patch(DB, "merge", LABEL), Patch(DB, "strategic", LABEL)],
)
def test_a_command_that_does_not_change_the_template_starts_no_rollout(
    command: Apply | Patch, upgrade: Callable[[], None]
) -> None:
    world = World()
    world.run_manifest(a_manifest())
    template = world.object()["spec"]["template"]
    upgrade()
    (event,) = world.run(command).committed.events
    assert event.key == DB
    assert strictly_equal(world.object()["spec"]["template"], template)
    assert list(world.revisions()) == [1]


def test_applying_a_manifest_again_appends_nothing(upgrade: Callable[[], None]) -> None:
    world = World()
    world.run_manifest(a_manifest())
    upgrade()
    assert world.run_manifest(a_manifest()).committed.events == ()


def test_a_new_image_is_rolled_out_with_nothing_else(upgrade: Callable[[], None]) -> None:
    world = World()
    world.run_manifest(a_manifest())
    template = world.object()["spec"]["template"]
    upgrade()
    world.run_manifest(a_manifest("mysql:8"))
    (container,) = template["spec"]["containers"]
    spec = {**template["spec"], "containers": [{**container, "image": "mysql:8"}]}
    assert strictly_equal(world.object()["spec"]["template"], {**template, "spec": spec})


def test_a_pods_spec_does_not_change_so_that_it_can_still_be_labelled(upgrade: Callable[[], None]) -> None:
    """Most of it may not change, whoever it is that would change it."""
    pod = a_pod("db-0")
    upgrade()
    (change,) = decide(Patch("core/pods/default/db-0", "merge", LABEL), Known(a_state(pod)), NOON).changes
    assert strictly_equal(change.new["spec"], pod["spec"])
    assert change.new["metadata"]["labels"]["team"] == "a"
