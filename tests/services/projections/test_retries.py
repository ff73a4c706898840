"""A parked object is taken up again with all that it missed, beside a projector that runs."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
import redis

from events.history import History as Past
from schemas.changes import Create, Replace
from schemas.errors import NotFound
from schemas.objects import with_metadata
from services.projections import projector as projector_module
from services.projections.projector import Projector
from services.projections.reader import Views
from services.projections.retries import StillParked, retry
from tests.services.projections.histories import History, a_bare_pod, actual_views, expected_views
from tests.services.projections.test_projector import catch_up, history, project  # noqa: F401 - a fixture

KEY = "core/pods/default/odd"


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The projector cannot project what happens to one pod, until `undo`."""
    real = projector_module.effects_of

    def effects_of(event: Any, old: Any, new: Any) -> Any:
        if event.key == KEY:
            raise ValueError("a defect")
        return real(event, old, new)

    monkeypatch.setattr(projector_module, "effects_of", effects_of)
    return monkeypatch


def views_but_retries(client: redis.Redis) -> dict[str, Any]:
    client.hdel("{demo}:views", "retried")
    return actual_views(client)


def change(history: History, label: str) -> None:  # noqa: F811
    pod = history.get(KEY)
    history.commit(Replace(pod, with_metadata(pod, labels={"label": label})))


@pytest.mark.parametrize(
    "is_open", [True, False], ids=["of a projector that runs", "of one that starts anew"]
)
def test_what_was_missed_is_projected_and_what_follows_too(
    client: redis.Redis,
    history: History,  # noqa: F811
    defect: pytest.MonkeyPatch,
    is_open: bool,
) -> None:
    projector = Projector(history.log, client, threading.Event())
    projector.open()
    history.commit(Create(a_bare_pod("odd", history.get("apps/statefulsets/default/db"))))
    change(history, "one")
    history.scribble(random.Random(3), 20)
    catch_up(projector)
    assert list(Views(client, "demo").parked()) == [KEY]
    defect.undo()
    assert retry(Past(history.log), client, KEY).events == 2
    assert Views(client, "demo").parked() == {}
    change(history, "two")
    if is_open:
        catch_up(projector)
    else:
        project(history.log, client)
    assert views_but_retries(client) == expected_views(history.log)


def test_what_still_cannot_be_projected_stays_parked(client: redis.Redis, history: History) -> None:  # noqa: F811
    metadata = a_bare_pod("odd", history.get("apps/statefulsets/default/db"))["metadata"]
    odd = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "data": {}}
    history.commit(Create(odd))
    project(history.log, client)
    before, key = actual_views(client), "apps/controllerrevisions/default/odd"
    with pytest.raises(StillParked, match="is still parked: KeyError: 'revision'"):
        retry(Past(history.log), client, key)
    assert actual_views(client) == before and list(Views(client, "demo").parked()) == [key]


def test_what_is_not_parked_is_refused_with_what_is(
    client: redis.Redis,
    history: History,  # noqa: F811
    defect: pytest.MonkeyPatch,
) -> None:
    project(history.log, client)
    with pytest.raises(NotFound, match=r"KEY: 'core/pods/default/p' is not parked; nothing is"):
        retry(Past(history.log), client, "core/pods/default/p")
    history.commit(Create(a_bare_pod("odd")))
    project(history.log, client)
    with pytest.raises(NotFound, match=f"parked are {KEY}"):
        retry(Past(history.log), client, "core/pods/default/p")
    defect.undo()


def test_a_retry_that_a_projector_overtakes_begins_anew(
    client: redis.Redis,
    history: History,  # noqa: F811
    defect: pytest.MonkeyPatch,
) -> None:
    projector = Projector(history.log, client, threading.Event())
    projector.open()
    history.commit(Create(a_bare_pod("odd")))
    catch_up(projector)

    class Overtaken(Past):
        def versions_of(self, key: str, limit: int, until: int | None = None) -> Any:
            found = super().versions_of(key, limit, until)
            if not overtaken:
                overtaken.append(True)
                change(history, "meanwhile")
                catch_up(projector)
            return found

    overtaken: list[bool] = []
    assert retry(Overtaken(history.log), client, KEY).events == 2
    defect.undo()
    catch_up(projector)
    assert views_but_retries(client) == expected_views(history.log)
