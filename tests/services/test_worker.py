"""What a worker's look leaves behind besides its events: the guard, a timer, and another try."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from events.codec import decode
from events.log import Batch
from events.state import State
from schemas.changes import Create, Decision, Replace
from schemas.deletion import deletion_of
from schemas.errors import Unavailable
from schemas.objects import Key, Object, key_of, key_of_object, version_of, with_fields
from services.broker.hints import Hint, Run, Sentence
from services.controllers.controller import Controller
from services.worker import EVENTS_REMEMBERED, Causes
from tests.events.worlds import a_bare_pod, a_statefulset
from tests.walks.clusters import NOON, Cluster, owned_pods, set_key

WEB = set_key("web")
HINT = Hint("statefulset", WEB)


def a_cluster(**spec: object) -> Cluster:
    """A cluster that loses no hints, with a new set of one pod that no worker has looked at yet."""
    cluster = Cluster(seed=1, loss=0.0)
    cluster.settle()
    cluster.queue.timers.clear()
    cluster.commit(Create(a_statefulset("web", replicas=1, **spec)))
    return cluster


def test_a_commit_advances_the_guard_of_its_key() -> None:
    """So that of two workers with one view only one wins."""
    cluster = a_cluster()
    created = version_of(cluster.state.objects[WEB])
    cluster.workers[0].look(*HINT)
    assert cluster.state.guards[f"guard/{HINT}"] > created


def test_a_decision_that_time_will_change_is_looked_at_again_then() -> None:
    cluster = a_cluster(minReadySeconds=10)
    while cluster.step_worker() or cluster.step_kubelet(fails=0.0):
        pass
    assert cluster.queue.timers[HINT] == NOON + 10_000


def test_a_look_that_failed_is_repeated_after_longer_and_longer() -> None:
    cluster = a_cluster()
    worker, pauses = cluster.workers[0], []
    append = cluster.log.append

    def refuse(batch: Batch) -> None:
        raise Unavailable("the disk is slow")

    cluster.log.append = refuse  # type: ignore[method-assign, assignment]
    for _ in range(3):
        worker.look(*HINT)
        pauses.append(cluster.queue.timers.pop(HINT) - NOON)
    assert pauses == [100, 200, 400]
    assert cluster.queue.sentences[HINT] == "the disk is slow (tried 3 times)"

    cluster.log.append = append  # type: ignore[method-assign]
    worker.look(*HINT)
    assert len(owned_pods(cluster.state, cluster.state.objects[WEB])) == 1


def test_an_event_whose_mark_is_taken_is_seen_though_it_came_after_the_log_was_read_ahead() -> None:
    cluster = a_cluster()
    cluster.settle()
    take = cluster.queue.take

    def take_late(
        hints: Sequence[tuple[str, str]],
        meanwhile: Callable[[], object],
        ended: Mapping[Run, Sentence | None],
    ) -> list[Run]:
        (run,) = take(hints, meanwhile, ended)
        old = cluster.state.objects[WEB]
        cluster.commit(Replace(old, {**old, "spec": {**old["spec"], "replicas": 2}}))
        return [Run(run.hint, run.token, cluster.log.last())]

    cluster.queue.take = take_late  # type: ignore[method-assign]
    cluster.workers[0].look(*HINT)
    assert len(owned_pods(cluster.state, cluster.state.objects[WEB])) == 2


def test_a_commit_names_the_event_that_made_it_necessary() -> None:
    """A new set, and the end of the pod before: never the status that happened to be written last."""
    cluster = a_cluster()
    cluster.settle()
    pod = cluster.pods()[0]
    assert cluster.try_commit(deletion_of(pod, cluster.now, 0, "Background"))
    cluster.settle()
    events = [decode(entry) for entry in cluster.log.read(0, 1000)]
    at = {event.position: event for event in events}
    created = [
        event for event in events if event.type == "PodCreated" and event.actor.name.startswith("controller")
    ]
    assert [at[event.cause].type for event in created] == ["StatefulSetCreated", "PodDeleted"]
    bound = [event for event in events if event.type == "PodBound"]
    assert [at[event.cause].type for event in bound] == ["PodCreated", "PodCreated"]


def test_the_cause_of_a_look_is_the_newest_event_that_its_controller_looks_at_among_those_of_late() -> None:
    cluster = a_cluster()
    causes = Causes(cluster.observer)
    watched = controller_of_pods_named_after_themselves()
    web, db = key_of("core/pods", "default", "web"), key_of("core/pods", "default", "db")
    cluster.commit(Create(a_bare_pod("web")))
    first = cluster.log.last()
    cluster.commit(Create(a_bare_pod("db")))
    second = cluster.log.last()
    state = cluster.state
    assert (causes.of(watched, web, state), causes.of(watched, db, state)) == (first, second)
    assert causes.of(watched, set_key("web"), state) == 0
    for number in range(2 * EVENTS_REMEMBERED + 1):
        old = cluster.state.objects[db]
        cluster.commit(Replace(old, with_fields(old, status={"phase": str(number)})))
        assert causes.of(watched, db, cluster.state) == cluster.log.last()
        assert causes.of(watched, web, cluster.state) == (first if number < EVENTS_REMEMBERED - 2 else 0)


def controller_of_pods_named_after_themselves() -> Controller[Any]:
    def triggers(_state: State, old: Object | None, new: Object | None) -> list[Key]:
        return [key_of_object(each) for each in (new or old,) if each is not None]

    return Controller(
        "pods", triggers, lambda _: (), lambda _state, _key: None, lambda _view, _now: Decision()
    )
