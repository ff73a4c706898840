"""What a controller tries in vain, as an Event of its workload."""

from __future__ import annotations

import asyncio

import fakeredis
import pytest

from schemas.objects import Object, key_of_object
from schemas.positions import position_of
from services.api.notices import event_of
from services.api.troubles import troubles_of
from services.broker.keys import Keys
from services.broker.leases import Heartbeats
from tests.builders import an_object

REFUSED = 'pods "db-1" is forbidden: error looking up service account default/x: serviceaccount "x" not found'

SET = an_object("StatefulSet", "db", "default", "apps/v1")
DAEMONS = an_object("DaemonSet", "agent", "default", "apps/v1")


def told(obj: Object, text: str) -> list[Object]:
    controller = obj["kind"].lower()
    heartbeats = Heartbeats(fakeredis.FakeRedis(), Keys("shop"))
    heartbeats.client.hset(
        heartbeats.keys.sentences, f"{controller}/{key_of_object(obj)}", f"1700000000000-0 {text}"
    )
    return [event_of(each) for each in asyncio.run(troubles_of(heartbeats, key_of_object(obj), obj))]


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (SET, f"create Pod db-1 in StatefulSet db failed error: {REFUSED} (tried 3 times)"),
        (DAEMONS, f"Error creating: {REFUSED} (tried 3 times)"),
    ],
)
def test_a_pod_that_is_refused_is_told_as_kubernetes_tells_it(obj: Object, words: str) -> None:
    (event,) = told(obj, f"{REFUSED} (tried 3 times)")
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "FailedCreate", words)
    assert event["involvedObject"]["uid"] == obj["metadata"]["uid"]
    assert event["lastTimestamp"] == "2023-11-14T22:13:20Z"
    assert event["metadata"]["name"].startswith(
        f"{obj['metadata']['name']}.{position_of('1700000000000-0'):x}"
    )


def test_what_is_waited_for_without_failing_is_no_event() -> None:
    assert told(SET, "db-0 is not Ready: it was just created") == []
    (event,) = told(SET, "its reconcile failed: KeyError('x') (tried 1 times)")
    assert event["reason"] == "FailedReconcile"


def test_of_other_objects_nothing_is_asked() -> None:
    heartbeats = Heartbeats(fakeredis.FakeRedis(), Keys("shop"))
    assert asyncio.run(troubles_of(heartbeats, "", None)) == ()
    assert asyncio.run(troubles_of(heartbeats, "core/pods/default/p", {})) == ()
    assert asyncio.run(troubles_of(None, "apps/statefulsets/default/db", SET)) == ()
