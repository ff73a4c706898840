"""Following: what the projections show and what the log adds are one history, wherever the one ends."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest

from events.memory import MemoryLog
from events.replay import replay
from events.state import Objects
from schemas.changes import Create, Delete, Replace
from schemas.errors import LostHistory, Unavailable
from schemas.objects import Object, with_metadata
from schemas.positions import Position
from services.cli.following import Following, last_entries
from tests.services.projections.histories import History

CONFIG_MAPS, SECRETS = "core/configmaps", "core/secrets"
KEY = "core/configmaps/default/a"


def a_map(name: str, kind: str = "ConfigMap") -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}}


def labelled(obj: Object, value: str) -> Object:
    return with_metadata(obj, labels={"at": value})


@pytest.fixture
def history() -> History:
    """A config map `a` that was made, changed, deleted, made anew and changed; `b` that was deleted; a secret."""
    made = History()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    made.commit(Create(namespace))
    made.commit(Create(a_map("a")), Create(a_map("b")))
    made.commit(Replace(made.get(KEY), labelled(made.get(KEY), "1")))
    made.commit(Delete(made.get(KEY)), Delete(made.get("core/configmaps/default/b")))
    made.commit(Create(a_map("a")), Create(a_map("c", "Secret")))
    made.commit(Replace(made.get(KEY), labelled(made.get(KEY), "2")))
    return made


class Projected:
    """Projections that are at `before`, then at `read` when the objects are read, and at `after` after that."""

    def __init__(self, history: History, before: Position, read: Position, after: Position) -> None:
        self._positions = [before, after]
        self._state = replay(history.log, read)

    def position(self) -> Position:
        return self._positions.pop(0)

    def list(self, resource: str) -> Objects:
        return self._state.list(resource)


def test_wherever_the_projections_end_the_objects_are_the_logs(history: History) -> None:
    """Also where they move on between the reading of their position and of the objects."""
    entries = [each.position for each in history.log.read(0, 1000)]
    batch_ends = sorted({replay(history.log, position).position for position in entries})
    assert len(batch_ends) > 5
    for before, read, after in combinations_with_replacement(batch_ends, 3):
        following = Following(history.log, Projected(history, before, read, after), [CONFIG_MAPS])
        applied = following.next(0)
        assert [each.event.position for each in applied] == [one for one in entries if one > before]
        assert following.state.list(CONFIG_MAPS) == history.state.list(CONFIG_MAPS)


def test_each_event_comes_with_its_object_before_and_after(history: History) -> None:
    first = replay(history.log, history.log.read(0, 2)[-1].position).position
    following = Following(history.log, Projected(history, first, first, first), [CONFIG_MAPS])
    seen = [
        (each.event.type, each.old is not None, each.new is not None)
        for each in following.next(0)
        if each.event.key == KEY
    ]
    assert seen == [
        ("ConfigMapCreated", False, True),
        ("ConfigMapMetadataChanged", True, True),
        ("ConfigMapDeleted", True, False),
        ("ConfigMapCreated", False, True),
        ("ConfigMapMetadataChanged", True, True),
    ]
    others = [each for each in following.next(0) if each.event.key.startswith(SECRETS)]
    assert all(each.old is None and each.new is None for each in others)


def test_a_log_that_does_not_go_on_from_what_was_seen_is_lost_history(history: History) -> None:
    end = history.log.last()
    other = History()
    following = Following(other.log, Projected(history, end, end, end), [CONFIG_MAPS])
    following.state.position = 1
    with pytest.raises(LostHistory, match="goes on from 0-0, not from 0-1"):
        following.next(0)


def test_a_server_that_is_away_is_awaited_for_as_long_as_is_asked(history: History) -> None:
    class Away(MemoryLog):
        attempts = 0

        def follow(self, after: Position, limit: int, timeout: float) -> list[object]:  # type: ignore[override]
            self.attempts += 1
            if self.attempts < 3:
                raise Unavailable("the log's server is away")
            return []

    log, end = Away(), history.log.last()
    with pytest.raises(Unavailable):
        Following(log, Projected(history, end, end, end), [CONFIG_MAPS]).next(0)
    assert Following(log, Projected(history, end, end, end), [CONFIG_MAPS]).next(0, patience=5) == []


def test_the_last_entries_come_oldest_first_and_no_more_than_there_are(history: History) -> None:
    every = history.log.read(0, 1000)
    assert last_entries(history.log, 3, history.log.last()) == every[-3:]
    assert last_entries(history.log, 1000, history.log.last()) == every
    assert last_entries(history.log, 0, history.log.last()) == []
