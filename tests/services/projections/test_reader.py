"""Views: what a commit and the command line read, and what they are told where there is nothing to read."""

from __future__ import annotations

import random
import threading
import time

import pytest
import redis

from schemas.changes import Create, Replace
from schemas.errors import Unavailable
from schemas.kinds import KINDS
from services.broker.keys import Keys
from services.projections.projector import Projector
from services.projections.reader import Views, Waiting
from tests.services.projections.histories import History, a_bare_pod, with_image


@pytest.fixture
def history(client: redis.Redis) -> History:
    """A projected history."""
    history = History()
    history.begin()
    history.scribble(random.Random(9), 20)
    Projector(history.log, client, threading.Event()).open()
    return history


def in_order(objects: list[dict]) -> list[dict]:
    return sorted(objects, key=lambda obj: (obj["kind"], obj["metadata"]["name"]))


def test_objects_are_those_of_the_state(client: redis.Redis, history: History):
    views, state = Views(client, "demo"), history.state
    assert views.position() == state.position
    for kind in KINDS:
        for namespace in ("", "default", "other"):
            assert in_order(views.list(kind.resource, namespace)) == in_order(
                state.list(kind.resource, namespace)
            )
    for key, obj in state.objects.items():
        assert views.get(key) == obj
        assert in_order(views.owned_by(obj["metadata"]["uid"])) == in_order(
            state.owned_by(obj["metadata"]["uid"])
        )
    for node in ("", "n1", "n2", "n3"):
        assert in_order(views.pods_on(node)) == in_order(state.pods_on(node))
    assert views.get("core/pods/default/none") is None


def test_a_commit_can_be_decided_on_the_views(client: redis.Redis, history: History):
    """They are a commit's Reader: derivation reads the revisions there, and the heads expected are right."""
    history._committer._reader = Views(client, "demo")
    old = next(iter(Views(client, "demo").list("apps/statefulsets", "default")))
    committed = history.commit(Replace(old, with_image(old, "db:77")))
    assert [event.type for event in committed.events] == [
        "StatefulSetTemplateChanged",
        "ControllerRevisionCreated",
    ]


def test_waiting_for_a_position_ends_when_it_is_there_or_the_time_is_over(
    client: redis.Redis, history: History
):
    views = Views(client, "demo")
    assert views.wait_for(history.state.position, 0)
    begun = time.monotonic()
    assert not views.wait_for(history.state.position + 1, 0.05)
    assert time.monotonic() - begun < 1
    committed = history.commit(Create(a_bare_pod("late")))
    projecting = threading.Thread(target=Projector(history.log, client, threading.Event()).open)
    projecting.start()
    assert views.wait_for(committed.appended.last, 10)
    assert views.get("core/pods/default/late") is not None
    projecting.join()


def test_what_keys_wait_for_comes_from_the_queue(client: redis.Redis, history: History):
    sentence = "1700000000000-1 pod db-1 to be Ready"
    client.hset(Keys("demo").sentences, "statefulset/apps/statefulsets/default/db", sentence)
    waiting = Views(client, "demo", queue=client).waiting()
    assert waiting == {
        ("statefulset", "apps/statefulsets/default/db"): Waiting(
            "pod db-1 to be Ready", 1700000000000 << 20 | 1
        )
    }
    assert Views(client, "demo").waiting() == {}


def test_where_nothing_was_projected_the_reader_is_told_what_is_missing(client: redis.Redis):
    views = Views(client, "demo")
    for read in (views.position, lambda: views.get("core/nodes/n1"), lambda: views.list("core/nodes")):
        with pytest.raises(Unavailable, match="not built yet: is the projector running"):
            read()


def test_another_format_is_refused(client: redis.Redis, history: History):
    client.hset("{demo}:views", "format", "99")
    with pytest.raises(Unavailable, match="have format 99, this program reads 1"):
        Views(client, "demo").get("core/nodes/n1")


def test_a_server_that_is_away_is_unavailable():
    with (
        redis.Redis(unix_socket_path="/nonexistent/socket") as away,
        pytest.raises(Unavailable, match="cannot be used"),
    ):
        Views(away, "demo").position()
