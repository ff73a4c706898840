"""The fold never skips and never guesses."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest

from events.codec import Entry, decode
from events.commit import Proposal
from events.fold import apply, apply_entries
from events.log import Log
from events.replay import replay
from events.state import State
from schemas.changes import Create, Delete, Replace
from schemas.errors import LostHistory
from schemas.objects import Object, version_of, with_fields, with_metadata
from tests.events.oracle import naive_fold
from tests.events.worlds import World, a_bare_pod, a_statefulset, with_image

READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
OWNER = [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "set-1", "controller": True}]


def a_history() -> list[Entry]:
    world = World()
    world.commit(Create(a_statefulset()))
    world.commit(Create(a_bare_pod()), Create(a_bare_pod("web-1")))
    pod = world.the("core/pods/default/web-0")
    world.commit(Replace(pod, with_fields(pod, status=READY)))
    world.commit(Delete(world.the("core/pods/default/web-1")))
    return world.entries()


def folded(entries: list[Entry]) -> State:
    state = State()
    apply_entries(state, entries)
    return state


@pytest.mark.parametrize("missing", range(1, 6))
def test_a_missing_entry_is_noticed_where_it_is_missing(missing: int) -> None:
    entries = a_history()
    with pytest.raises(LostHistory) as caught:
        folded(entries[:missing] + entries[missing + 1 :])
    assert caught.value.position == entries[missing + 1].position


def test_entries_out_of_order_or_repeated_are_noticed() -> None:
    entries = a_history()
    with pytest.raises(LostHistory):
        folded([*entries[:3], entries[4], entries[3], *entries[5:]])
    with pytest.raises(LostHistory):
        folded([*entries[:3], entries[2]])
    with pytest.raises(LostHistory):
        folded(entries[1:])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"min_reader": 2}, "needs a reader of version 2"),
        ({"previous": 5}, "was last changed at"),
        ({"uid": "someone-else"}, "has uid"),
        ({"op": "create"}, "exists already"),
        ({"op": "explode"}, "op 'explode' is unknown"),
        ({"body": None}, "no body"),
        ({"op": "replace", "body": {"spec": {}}}, "KeyError"),
    ],
)
def test_an_event_that_does_not_follow_from_the_state_names_its_position(
    change: dict[str, Any], says: str
) -> None:
    entries = a_history()
    index = next(index for index, entry in enumerate(entries) if entry.type == "PodReady")
    state = folded(entries[:index])
    event = decode(entries[index])._replace(**change)
    with pytest.raises(LostHistory, match=says) as caught:
        apply(state, event)
    assert caught.value.position == entries[index].position


def test_an_entry_from_a_newer_version_or_of_garbage_names_its_position() -> None:
    entries = a_history()
    newer = msgpack.packb({**msgpack.unpackb(entries[2].data), "min": 99, "v": 99})
    for data, says in (
        (newer, "upgrade the readers"),
        (b"\xc1garbage", "cannot be decoded"),
        (b"", "cannot be decoded"),
    ):
        with pytest.raises(LostHistory, match=says) as caught:
            folded([*entries[:2], entries[2]._replace(data=data)])
        assert caught.value.position == entries[2].position


def test_an_object_once_read_never_changes() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    before = world.the("core/pods/default/web-0")
    copy = str(before)
    world.commit(Replace(before, with_fields(before, status=READY)))
    assert str(before) == copy
    assert world.the("core/pods/default/web-0")["spec"] is before["spec"]


def test_a_pod_counts_as_ever_ready_until_its_uid_is_gone() -> None:
    world = World()
    world.commit(Create(a_bare_pod()))
    pod = world.the("core/pods/default/web-0")
    uid = pod["metadata"]["uid"]
    assert uid not in world.state.ever_ready
    world.commit(Replace(pod, with_fields(pod, status=READY)))
    pod = world.the("core/pods/default/web-0")
    world.commit(Replace(pod, with_fields(pod, status={"phase": "Running"})))
    assert uid in world.state.ever_ready
    world.commit(Delete(world.the("core/pods/default/web-0")))
    assert uid not in world.state.ever_ready


def test_failures_of_a_name_are_counted_until_it_is_ready() -> None:
    world = World()
    key = "core/pods/default/web-0"
    for expected in (1, 2, 3):
        world.commit(Create(a_bare_pod(phase="Failed", ownerReferences=OWNER)))
        world.commit(Delete(world.the(key)))
        assert world.state.failures["set-1", "web-0"].count == expected
    world.commit(Create(a_bare_pod(ownerReferences=OWNER)))
    pod = world.the(key)
    world.commit(Replace(pod, with_fields(pod, status=READY)))
    assert world.state.failures == {}


def random_history(world: World, steps: int, seed: int) -> None:
    """Create, change, own, bind and delete pods and sets at random."""
    dice = random.Random(seed)
    for number in range(steps):
        pods = world.list("core/pods")
        sets = world.list("apps/statefulsets")
        match dice.randrange(7):
            case 0 | 1 if len(pods) < 20:
                owner = dice.choice([None, OWNER])
                metadata = {"ownerReferences": owner} if owner else {}
                world.commit(
                    *(Create(a_bare_pod(f"p{number}-{n}", **metadata)) for n in range(dice.randint(1, 4)))
                )
            case 2 if pods:
                world.commit(Delete(dice.choice(pods)))
            case 3 if pods:
                pod = dice.choice(pods)
                status = {
                    "phase": dice.choice(["Running", "Failed"]),
                    "n": dice.choice([None, 1, 1.0, True, {"a": []}]),
                }
                world.commit(Replace(pod, with_fields(pod, status=status)))
            case 4 if pods:
                pod = dice.choice(pods)
                world.commit(
                    Replace(pod, with_fields(pod, spec={**pod["spec"], "nodeName": f"n{dice.randrange(3)}"}))
                )
            case 5 if len(sets) < 3:
                world.commit(Create(a_statefulset(f"set{number}")))
            case 6 if sets:
                old = dice.choice(sets)
                if dice.random() < 0.2:
                    world.commit(Delete(old))
                else:
                    world.commit(Replace(old, with_image(old, f"web:{dice.randrange(4)}")))
            case _ if pods:
                pod = dice.choice(pods)
                world.commit(Replace(pod, with_metadata(pod, ownerReferences=dice.choice([None, OWNER]))))


def indexes_are_right(state: State) -> None:
    """Compare each index with a walk over all objects."""
    pods = state.list("core/pods")
    every = list(state.objects.values())
    listed = [
        obj
        for resource in {"/".join(key.split("/")[:2]) for key in state.objects}
        for obj in state.list(resource)
    ]
    assert sorted(map(id, listed)) == sorted(map(id, every))
    for node in {"", "n0", "n1", "n2"}:
        expected = {pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName", "") == node}
        assert {pod["metadata"]["name"] for pod in state.pods_on(node)} == expected
    owners = {ref["uid"] for obj in every for ref in obj["metadata"].get("ownerReferences", ())}
    for uid in owners | {"nobody"}:
        expected_keys = {
            obj["metadata"]["uid"]
            for obj in every
            if any(ref["uid"] == uid for ref in obj["metadata"].get("ownerReferences", ()))
        }
        assert {obj["metadata"]["uid"] for obj in state.owned_by(uid)} == expected_keys
    orphans = {pod["metadata"]["uid"] for pod in pods if not pod["metadata"].get("ownerReferences")}
    assert {pod["metadata"]["uid"] for pod in state.orphans("core/pods", "default")} == orphans


@pytest.mark.parametrize("seed", range(8))
def test_the_fold_equals_the_naive_fold_at_every_batch(seed: int) -> None:
    world = World()
    random_history(world, 120, seed)
    entries = world.entries()
    assert world.state.objects == naive_fold(entries)
    indexes_are_right(world.state)
    middle = entries[len(entries) // 2].position
    past = replay(world.log, middle)
    assert past.objects == naive_fold([entry for entry in entries if entry.position <= past.position])
    assert middle - past.position < 1000
    indexes_are_right(past)


def test_the_heads_of_the_log_can_be_rebuilt_from_the_state(log: Log) -> None:
    world = World(log)
    random_history(world, 60, seed=1)
    guarded = Proposal([Create(a_bare_pod("guarded-0"))], guard=("guard/statefulset/guarded", 0))
    end = world.decide(lambda: guarded, attempts=1).appended.last
    expected = dict(world.state.heads())
    assert expected["guard/statefulset/guarded"] == end
    assert log.heads(list(expected)) == expected
    gone: list[str] = [
        entry.key for entry in world.entries() if entry.key not in expected and "/default/" in entry.key
    ]
    assert gone and set(log.heads(gone).values()) == {0}


def test_a_copy_moves_without_the_original() -> None:
    world = World()
    random_history(world, 60, seed=2)
    copy = world.state.copy()
    before: dict[str, Object] = dict(copy.objects)
    random_history(world, 30, seed=3)
    assert copy.objects == before
    apply_entries(copy, world.log.read(copy.position, 1000))
    assert copy.objects == world.state.objects
    indexes_are_right(copy)
    assert version_of(copy.objects["core/namespaces/default"]) > 0
