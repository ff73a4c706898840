"""What a State tells of those that an object owns: which there are, and which have changed since somebody looked."""

from __future__ import annotations

import random

import pytest

from events.state import State
from schemas.objects import Key, Object

OWNERS = ("a", "b")


def a_pod(name: str, owners: tuple[str, ...], version: int) -> Object:
    references = [{"uid": uid, "kind": "StatefulSet", "name": uid} for uid in owners]
    metadata = {"name": name, "namespace": "default", "ownerReferences": references}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "version": version}


class Walk:
    """Pods come, change, get other owners and go; a follower keeps what each owner has by asking what has changed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.state = State()
        self.marks = dict.fromkeys(OWNERS, 0)
        self.followed: dict[str, dict[Key, Object]] = {uid: {} for uid in OWNERS}
        self.told: list[int] = []

    def step(self, number: int) -> None:
        name = f"p{self.dice.randrange(8)}"
        key = f"core/pods/default/{name}"
        old = self.state.get(key)
        if old is not None and self.dice.random() < 0.4:
            self.state.remove(key, old)
            return
        owners = tuple(uid for uid in OWNERS if self.dice.random() < 0.6)
        self.state.put(key, old, a_pod(name, owners, number))

    def begin_again(self) -> None:
        """Go on with a State whose indexes were made at once, as that of a snapshot."""
        self.state = State.of(self.state.facts())
        self.marks = dict.fromkeys(OWNERS, 0)

    def follow(self, uid: str) -> None:
        self.marks[uid], changed = self.state.owned_since(uid, self.marks[uid])
        if changed is None:
            self.followed[uid] = self.present(uid)
            return
        self.told.append(len(changed))
        for key in changed:
            obj = self.state.get(key)
            if obj is not None and key in self.present(uid):
                self.followed[uid][key] = obj
            else:
                self.followed[uid].pop(key, None)

    def present(self, uid: str) -> dict[Key, Object]:
        return {
            key: obj
            for key, obj in self.state.objects.items()
            if any(each["uid"] == uid for each in obj["metadata"]["ownerReferences"])
        }


@pytest.mark.parametrize("most", [0, 3, 1000])
@pytest.mark.parametrize("seed", range(6))
def test_who_asks_what_has_changed_knows_what_there_is(
    seed: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.state._GONE_REMEMBERED", most)
    walk = Walk(seed)
    for number in range(400):
        walk.step(number)
        if number == 200:
            walk.begin_again()
        for uid in OWNERS:
            if walk.dice.random() < 0.3:
                walk.follow(uid)
                present = walk.present(uid)
                assert walk.followed[uid] == present
                assert sorted(obj["metadata"]["name"] for obj in walk.state.owned_by(uid)) == sorted(
                    obj["metadata"]["name"] for obj in present.values()
                )
                assert walk.state.count_owned(uid) == len(present)
    assert walk.told


def test_nothing_is_told_where_nothing_has_changed() -> None:
    state = State()
    for number in range(3):
        state.put(f"core/pods/default/p{number}", None, a_pod(f"p{number}", ("a",), 0))
    mark, everything = state.owned_since("a", 0)
    assert everything is None
    assert state.owned_since("a", mark) == (mark, ())
    state.put("core/pods/default/p1", state.get("core/pods/default/p1"), a_pod("p1", ("a",), 1))
    later, changed = state.owned_since("a", mark)
    assert later > mark and changed == ("core/pods/default/p1",)


def test_of_a_state_made_of_facts_nothing_is_told_but_what_changes_from_then_on() -> None:
    first = State()
    for number in range(3):
        first.put(f"core/pods/default/p{number}", None, a_pod(f"p{number}", ("a",), 0))
    state = State.of(first.facts())
    mark, everything = state.owned_since("a", 0)
    assert everything is None and state.owned_since("a", mark) == (mark, ())
    state.put("core/pods/default/p1", state.get("core/pods/default/p1"), a_pod("p1", ("a",), 1))
    assert state.owned_since("a", mark)[1] == ("core/pods/default/p1",)
    assert first.get("core/pods/default/p1") != state.get("core/pods/default/p1")


def test_a_copy_goes_its_own_way() -> None:
    state = State()
    state.put("core/pods/default/p0", None, a_pod("p0", ("a",), 0))
    copy = state.copy()
    mark, _ = state.owned_since("a", 0)
    copy.remove("core/pods/default/p0", a_pod("p0", ("a",), 0))
    assert state.owned_since("a", mark) == (mark, ()) and state.count_owned("a") == 1
    assert copy.count_owned("a") == 0
