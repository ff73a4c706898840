"""The projections equal a replay of the log, whatever happens to the projector and to the views' server."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import msgpack
import orjson
import pytest
import redis

from events.codec import decode
from events.fold import whole_batches
from events.memory import MemoryLog
from schemas.changes import Create, Delete, Replace
from schemas.errors import LostHistory
from schemas.objects import with_fields, with_metadata
from schemas.positions import stream_id_of
from services.projections import projector as projector_module
from services.projections.generations import Generations
from services.projections.projector import Outdated, Projector, Writer, rebuild, run
from services.projections.reader import Views
from tests.services.projections.histories import (
    History,
    a_bare_pod,
    a_set,
    actual_views,
    events_of,
    expected_views,
    with_image,
)


class Crash(BaseException):
    """The process ends here."""


def project(log: Any, client: redis.Redis) -> None:
    """Run a projector until it is at the log's end."""
    projector = Projector(log, client, threading.Event())
    projector.open()
    projector.close()


@contextmanager
def running(log: Any, client: redis.Redis, projectors: int = 1) -> Iterator[None]:
    """Projectors, each in a thread of its own."""
    stopping = threading.Event()
    threads = [threading.Thread(target=run, args=(log, client, stopping)) for _ in range(projectors)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def eventually(claim: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_visible(client: redis.Redis, history: History) -> bool:
    current = Generations(client, "demo").current()
    return current is not None and current.position == history.state.position


@pytest.fixture
def history() -> History:
    history = History()
    history.begin()
    return history


@pytest.mark.parametrize("seed", range(4))
def test_projections_equal_a_replay_after_a_random_history(client: redis.Redis, history: History, seed: int):
    dice = random.Random(seed)
    for _ in range(3):
        history.scribble(dice, 30)
        project(history.log, client)
        assert actual_views(client) == expected_views(history.log)


def test_a_projector_that_follows_shows_each_batch(client: redis.Redis, history: History):
    with running(history.log, client):
        for seed in range(20):
            history.scribble(random.Random(seed), 1)
            eventually(lambda: is_visible(client, history))
            assert actual_views(client) == expected_views(history.log)


def test_two_projectors_that_race_apply_nothing_twice(client: redis.Redis, history: History):
    with running(history.log, client, projectors=2):
        eventually(lambda: is_visible(client, history))
        history.scribble(random.Random(1), 150)
        eventually(lambda: is_visible(client, history))
    assert actual_views(client) == expected_views(history.log)


def test_the_loser_of_a_race_carries_on_behind_what_was_done(client: redis.Redis, history: History):
    """Both have read the same events; the second finds them written and writes only what came later."""
    first, second = (Projector(history.log, client, threading.Event()) for _ in range(2))
    first.open()
    second.open()
    history.scribble(random.Random(2), 10)
    catch_up(first)
    history.scribble(random.Random(3), 10)
    catch_up(second)
    assert actual_views(client) == expected_views(history.log)


@contextmanager
def crashing_at(client: Any, step: int, *, after: bool) -> Iterator[None]:
    """Let the client end the process at its n-th request: before it is sent, or before its answer arrives."""
    requests = count()
    send, open_pipeline = client.execute_command, client.pipeline

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def request(*args: Any, **kwargs: Any) -> Any:
            crashes = next(requests) == step
            if crashes and not after:
                raise Crash
            answer = call(*args, **kwargs)
            if crashes:
                raise Crash
            return answer

        return request

    def pipeline(*args: Any, **kwargs: Any) -> Any:
        opened = open_pipeline(*args, **kwargs)
        opened.execute = guarded(opened.execute)
        return opened

    client.execute_command, client.pipeline = guarded(send), pipeline
    try:
        yield
    finally:
        del client.execute_command, client.pipeline


@pytest.mark.parametrize("after", [False, True], ids=["before it is sent", "before its answer"])
@pytest.mark.parametrize("how", ["first build", "carrying on", "rebuild"])
def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(
    client: redis.Redis, history: History, monkeypatch: pytest.MonkeyPatch, how: str, after: bool
):
    monkeypatch.setattr(projector_module, "EVENTS_AT_ONCE", 10)
    history.scribble(random.Random(5), 6)
    ends = {event.position for event in events_of(history.log) if event.offset == event.size - 1}
    halfway = len(history.log.read(0, 10_000)) // 2
    expected = expected_views(history.log)
    for step in count():
        client.flushall()
        if how != "first build":
            project(_Beginning(history.log, halfway if how == "carrying on" else 10_000), client)
        try:
            with crashing_at(client, step, after=after):
                rebuild(history.log, client) if how == "rebuild" else project(history.log, client)
        except Crash:
            left = Generations(client, "demo").current()
            assert left is None or left.position in ends
            project(history.log, client)
            assert actual_views(client) == expected
        else:
            break
    assert step > 5


class _Beginning:
    """A log as it was when it had some entries only, up to the end of a batch."""

    def __init__(self, log: Any, entries: int) -> None:
        self.cluster = log.cluster
        found = log.read(0, entries)
        self._entries = found[: whole_batches([decode(entry) for entry in found])]
        self._log = log

    def log_id(self) -> str:
        return str(self._log.log_id())

    def last(self) -> int:
        return int(self._entries[-1].position)

    def read(self, after: int, limit: int, until: int | None = None) -> list[Any]:
        return [entry for entry in self._entries if entry.position > after][:limit]

    def interrupt(self) -> None:
        """Nobody waits in here."""


def test_a_restart_carries_on_at_the_checkpoint_without_reading_the_log_before_it(
    client: redis.Redis, history: History
):
    project(history.log, client)
    checkpoint = Generations(client, "demo").current()
    assert checkpoint is not None
    history.scribble(random.Random(6), 5)
    read_from: list[int] = []

    class Watched(_Beginning):
        def read(self, after: int, limit: int, until: int | None = None) -> list[Any]:
            read_from.append(after)
            return super().read(after, limit, until)

    project(Watched(history.log, 10_000), client)
    assert min(read_from) == checkpoint.position
    assert actual_views(client) == expected_views(history.log)


@pytest.mark.parametrize("is_restarted", [True, False], ids=["then a restart", "no restart"])
def test_an_event_that_cannot_be_projected_parks_its_object_and_no_other(
    client: redis.Redis, history: History, is_restarted: bool
):
    owner = history.get("apps/statefulsets/default/db")["metadata"]
    reference = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": "db",
        "uid": owner["uid"],
        "controller": True,
    }
    metadata = {"name": "odd", "namespace": "default", "ownerReferences": [reference]}
    key = "apps/controllerrevisions/default/odd"
    numberless = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "data": {}}
    poisoned = history.commit(Create(numberless))
    if is_restarted:
        project(history.log, client)
    history.commit(Replace(history.get(key), {**history.get(key), "revision": 9}), Create(a_bare_pod("p")))
    project(history.log, client)

    views = Views(client, "demo")
    assert list(views.parked()) == [key]
    assert views.parked()[key].position == poisoned.events[0].position
    assert "KeyError: 'revision'" in views.parked()[key].error
    assert views.get(key) == history.get(key)
    assert views.kept_revision(owner["uid"], 9) is None
    assert views.changes_of(key) == []
    assert views.get("core/pods/default/p") == history.get("core/pods/default/p")


def test_an_object_that_is_no_json_stops_neither_the_others_nor_a_restart(
    client: redis.Redis, history: History
):
    """bytes survive msgpack: a commit refuses them, but a writer of raw entries can bring them into the log."""
    metadata = {"name": "odd", "namespace": "default"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"raw": "text"}}
    history.commit(Create(config))
    log = history.log
    assert isinstance(log, MemoryLog)
    packed = msgpack.packb({"raw": "text"}), msgpack.packb({"raw": b"\xff"})
    log._entries[-1] = log._entries[-1]._replace(data=log._entries[-1].data.replace(*packed))
    history.commit(Create(a_bare_pod("p")))
    for _ in range(2):
        project(history.log, client)
        assert list(Views(client, "demo").parked()) == ["core/configmaps/default/odd"]
        assert Views(client, "demo").get("core/pods/default/p") == history.get("core/pods/default/p")


def test_a_rebuild_while_others_write_and_project_loses_nothing(client: redis.Redis, history: History):
    with running(history.log, client):
        eventually(lambda: is_visible(client, history))
        writing = threading.Thread(target=history.scribble, args=(random.Random(7), 200))
        writing.start()
        positions = []
        while writing.is_alive():
            rebuild(history.log, client)
            positions.append(Views(client, "demo").position())
        writing.join()
        eventually(lambda: is_visible(client, history))
    assert positions == sorted(positions)
    assert actual_views(client) == expected_views(history.log)


def test_a_reader_sees_every_object_throughout_a_rebuild(client: redis.Redis, history: History):
    project(history.log, client)
    views, seen = Views(client, "demo"), set()
    for _ in range(5):
        rebuild(history.log, client)
        seen.add(views.get("apps/statefulsets/default/db") == history.get("apps/statefulsets/default/db"))
    assert seen == {True}


def test_a_rebuild_leaves_no_key_of_an_older_generation(client: redis.Redis, history: History):
    project(history.log, client)
    Generations(client, "demo").begin("abandoned")
    client.delete("{demo}:views:2:building")
    built = rebuild(history.log, client)
    assert {key.decode().split(":")[2] for key in client.keys("{demo}:views:*")} == {
        "generations",
        built.generation,
    }
    assert client.smembers("{demo}:views:generations") == {built.generation.encode()}


def test_views_that_were_emptied_are_built_again_without_a_new_event(client: redis.Redis, history: History):
    with running(history.log, client):
        eventually(lambda: is_visible(client, history))
        client.flushall()
        eventually(lambda: is_visible(client, history))
        eventually(lambda: actual_views(client) == expected_views(history.log))


def test_views_whose_first_key_was_deleted_are_built_without_their_remains(
    client: redis.Redis, history: History
):
    project(history.log, client)
    client.delete("{demo}:views")
    project(history.log, client)
    assert actual_views(client) == expected_views(history.log)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda client: client.hdel("{demo}:views:1:objects:core/nodes", "n1"), "objects"),
        (lambda client: client.hset("{demo}:views", "format", "0"), "format"),
    ],
    ids=["objects are missing", "another format"],
)
def test_projections_that_cannot_be_carried_on_are_built_anew(
    client: redis.Redis, history: History, damage: Callable[[Any], None], why: str
):
    project(history.log, client)
    damage(client)
    project(history.log, client)
    current = Generations(client, "demo").current()
    assert current is not None and current.generation == "2" and current.log == history.log.log_id()
    assert actual_views(client) == expected_views(history.log)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("log", "another", "are of log another, the server holds"),
        ("position", "9999999999999-0", "stand at 9999999999999-0, the log ends at"),
    ],
)
def test_projections_of_another_history_stay_until_somebody_asks_for_new_ones(
    client: redis.Redis, history: History, field: str, value: str, sentence: str
):
    project(history.log, client)
    client.hset("{demo}:views", field, value)
    before = actual_views(client)
    with pytest.raises(LostHistory, match=sentence):
        project(history.log, client)
    assert actual_views(client) == before
    rebuild(history.log, client)
    project(history.log, client)
    assert actual_views(client) == expected_views(history.log)


def test_a_log_that_is_replaced_while_it_is_followed_ends_the_projector_and_not_its_projections(
    client: redis.Redis, history: History
):
    project(history.log, client)
    before = actual_views(client)
    other = History()
    other.begin()
    other.commit(Create(a_bare_pod("other")))
    with pytest.raises(LostHistory, match="are of log"):
        project(other.log, client)
    assert actual_views(client) == before


def test_an_object_that_was_altered_in_the_views_is_noticed_at_its_next_event(
    client: redis.Redis, history: History
):
    project(history.log, client)
    stale = history.get("core/nodes/n1")
    stale = with_fields(stale, metadata={**stale["metadata"], "resourceVersion": "7"})
    client.hset("{demo}:views:1:objects:core/nodes", "n1", orjson.dumps(stale))
    history.commit(
        Replace(
            history.get("core/nodes/n1"), {**history.get("core/nodes/n1"), "spec": {"unschedulable": True}}
        )
    )
    project(history.log, client)
    assert actual_views(client) == expected_views(history.log)


def test_a_key_of_another_type_in_the_way_leads_to_a_rebuild(client: redis.Redis, history: History):
    with running(history.log, client):
        eventually(lambda: is_visible(client, history))
        client.set("{demo}:views:1:changes:core/pods/default/p", "in the way")
        history.commit(Create(a_bare_pod("p")))
        eventually(lambda: is_visible(client, history))
    assert actual_views(client) == expected_views(history.log)


def test_effects_that_broke_off_half_way_are_not_written_again_but_built_anew(
    client: redis.Redis, history: History
):
    """Something in the way is gone when the projector looks again: what had been written before it must not double."""
    projector = Projector(history.log, client, threading.Event())
    projector.open()
    in_the_way = "{demo}:views:1:changes:core/pods/default/q"
    client.set(in_the_way, "")
    history.commit(Create(a_bare_pod("p")), Create(a_bare_pod("q")))
    with pytest.raises(Outdated):
        projector.follow()
    client.delete(in_the_way)
    projector.open()
    projector.close()
    assert actual_views(client) == expected_views(history.log)


def test_views_that_were_put_back_to_an_earlier_position_are_opened_again(
    client: redis.Redis, history: History
):
    project(history.log, client)
    generations = Generations(client, "demo")
    current = generations.current()
    assert current is not None
    writer = Writer(generations, current, threading.Event(), building=False)
    writer.inspect()
    client.hset("{demo}:views", "position", stream_id_of(current.position - 1))
    with pytest.raises(Outdated, match="went back"):
        writer.inspect()


def test_the_loser_of_a_race_learns_what_the_winner_has_parked(
    client: redis.Redis, history: History, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(projector_module, "EVENTS_AT_ONCE", 1)
    first, second = (Projector(history.log, client, threading.Event()) for _ in range(2))
    first.open()
    second.open()
    odd = a_bare_pod("odd", history.get("apps/statefulsets/default/db"))
    key = "apps/controllerrevisions/default/odd"
    metadata = odd["metadata"]
    history.commit(Create(a_bare_pod("p")))
    history.commit(
        Create({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "data": {}})
    )
    for each in (first, second):
        catch_up(each)
    history.commit(Replace(history.get(key), {**history.get(key), "revision": 9}))
    catch_up(second)
    assert list(Views(client, "demo").parked()) == [key]
    assert Views(client, "demo").changes_of(key) == []


def catch_up(projector: Projector) -> None:
    """Let an open projector write what the log has brought since, in this thread."""
    assert projector._replica is not None and projector._writer is not None
    projector._replica.load()
    projector._writer.check()


def test_a_log_that_does_not_fold_leaves_the_projections_at_its_last_good_event(
    client: redis.Redis, history: History
):
    project(history.log, client)
    good = expected_views(history.log)
    log = history.log
    assert isinstance(log, MemoryLog)
    history.commit(Create(a_bare_pod("p")))
    log._entries[-1] = log._entries[-1]._replace(after=1)
    with pytest.raises(LostHistory) as lost:
        project(log, client)
    assert lost.value.position == history.state.position
    assert actual_views(client) == good


def test_changes_of_an_object_are_the_last_hundred_and_outlive_it(client: redis.Redis, history: History):
    history.commit(Create(a_bare_pod("p")))
    key = "core/pods/default/p"
    for number in range(120):
        history.commit(Replace(history.get(key), {**history.get(key), "status": {"phase": str(number)}}))
    history.commit(Delete(history.get(key)))
    project(history.log, client)
    changes = Views(client, "demo").changes_of(key)
    assert [change.type for change in changes[:2]] == ["PodDeleted", "PodStatusChanged"] and len(
        changes
    ) == 100
    assert changes[0].claim == "alice" and changes[0].position == history.state.position
    name = f"{{demo}}:views:1:changes:{key}"
    assert 6 * 86_400_000 < client.pttl(name) <= 7 * 86_400_000
    history.commit(Create(a_bare_pod("p")))
    project(history.log, client)
    assert client.pttl(name) == -1


def test_revisions_are_kept_after_their_deletion_and_found_by_number(client: redis.Redis, history: History):
    key = "apps/statefulsets/default/db"
    history.commit(Replace(history.get(key), with_image(history.get(key), "db:2")))
    uid = history.get(key)["metadata"]["uid"]
    first, second = sorted(history.state.list("apps/controllerrevisions"), key=lambda each: each["revision"])
    history.commit(Delete(first))
    project(history.log, client)
    views = Views(client, "demo")
    assert views.list("apps/controllerrevisions", "default") == [second]
    assert views.kept_revisions(uid) == [first, second]
    assert views.kept_revision(uid, 1) == first
    assert views.kept_revision(uid, 3) is None


def test_a_rollout_is_done_when_its_status_says_so_and_starts_with_its_template(
    client: redis.Redis, history: History
):
    key = "apps/statefulsets/default/db"
    changed = history.commit(Replace(history.get(key), with_image(history.get(key), "db:2")))
    project(history.log, client)
    rollout = Views(client, "demo").rollout_of(key)
    assert rollout is not None and not rollout.done and rollout.started == changed.events[0].position
    status = {
        "replicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 2,
        "currentRevision": "b",
        "updateRevision": "b",
    }
    done = history.commit(
        Replace(history.get(key), {**history.get(key), "status": {**status, "observedGeneration": 2}})
    )
    project(history.log, client)
    rollout = Views(client, "demo").rollout_of(key)
    assert rollout is not None and rollout.done and rollout.done_since == done.events[0].position
    assert rollout.started == changed.events[0].position and rollout.updated == rollout.desired == 2
    history.commit(Replace(history.get(key), with_metadata(history.get(key), labels={"a": "b"})))
    project(history.log, client)
    assert Views(client, "demo").rollout_of(key) == rollout
    history.commit(Delete(history.get(key)))
    project(history.log, client)
    assert Views(client, "demo").rollout_of(key) is None


def test_a_standby_takes_over_when_the_rival_pauses(client: redis.Redis, history: History):
    project(history.log, client)
    history.commit(Create(a_set("more")))
    project(history.log, client)
    with running(history.log, client):
        history.commit(Create(a_bare_pod("p")))
        eventually(lambda: is_visible(client, history))
    assert actual_views(client) == expected_views(history.log)
