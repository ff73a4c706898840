"""A whole control plane in one thread, stepped by a seed: real log, commit, replicas, reconcilers and controllers.

What is not real is the world around: the clock, the kubelets, and the queue, which loses, repeats and reorders hints.
Faults happen between a decision and its append, where they hurt: the log calls `meddle` before each append.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from events.commit import Committer, Edges, Intent, Proposal
from events.log import Appended, Batch
from events.memory import MemoryLog
from events.replica import Applied, Replica
from events.state import State
from schemas.canonical import canonical
from schemas.changes import Change, Create, Delete, Replace
from schemas.deletion import deletion_of
from schemas.envelopes import Actor
from schemas.errors import Conflict
from schemas.event_types import condition_of
from schemas.objects import Object, is_terminating, key_of, name_of, uid_of, with_fields, with_metadata
from schemas.times import rfc3339
from services.bootstrap import first_objects
from services.broker.hints import Hint, Run, Sentence
from services.controllers.controller import Controller, all_keys, dirty_keys
from services.controllers.finalizers import has_finalizer, without_finalizer
from services.controllers.garbage import GARBAGE
from services.controllers.statefulset import STATEFULSET
from services.controllers.volumes import DATA, VOLUMES
from services.scheduler.controller import scheduler
from services.worker import Reconciler
from tests.builders import a_node

NOON = 1_800_000_000_000
BAD = "db:bad"
"""An image that no node can pull."""
WORKERS = 2


class MeddlingLog(MemoryLog):
    """Lets something else happen right before an append, where a decision has been taken on what was then true."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__(clock=clock)
        self.deciding: Callable[[], Any] = lambda: None
        self.meddle: Callable[[], None] = lambda: None
        self.appended: Callable[[Any], None] = lambda decided: None

    def append(self, batch: Batch) -> Appended:
        decided = self.deciding()
        self.meddle()
        result = super().append(batch)
        if result.count:
            self.appended(decided)
        return result


class SteppedReplica(Replica):
    """A replica that folds when it is asked to, in the thread that asks."""

    def wait_for(self, position: int, timeout: float) -> bool:
        self.load()
        return super().wait_for(position, 0)


class LossyQueue:
    """The hints of a cluster, in memory: coalesced like the real ones, and at the mercy of the dice."""

    def __init__(self, dice: random.Random, loss: float) -> None:
        self.waiting: dict[Hint, None] = {}
        self.marks: dict[Hint, int | None] = {}
        self.timers: dict[Hint, int] = {}
        self.sentences: dict[Hint, str] = {}
        self.loss = loss
        self._dice = dice

    def mark_many(self, hints: list[tuple[str, str]], position: int | None = None) -> None:
        for hint in hints:
            if self._dice.random() >= self.loss:
                self.waiting[Hint(*hint)] = None
                known = self.marks.get(Hint(*hint), 0)
                self.marks[Hint(*hint)] = None if position is None or known is None else max(known, position)

    def pick(self) -> Hint | None:
        if not self.waiting:
            return None
        hint = self._dice.choice(list(self.waiting))
        if self._dice.random() >= self.loss:
            del self.waiting[hint]
        return hint

    def take(
        self,
        hints: Sequence[tuple[str, str]],
        meanwhile: Callable[[], object],
        ended: Mapping[Run, Sentence | None],
    ) -> list[Run]:
        self.release(ended)
        meanwhile()
        return [Run(Hint(*hint), "", self.marks.pop(Hint(*hint), 0)) for hint in hints]

    def release(self, said: Mapping[Run, Sentence | None]) -> int:
        for run, sentence in said.items():
            if sentence is not None:
                self.sentences[run.hint] = sentence.text
                if sentence.due is not None:
                    self.ring(run.hint, sentence.due)
        return 0

    def ring(self, hint: Hint, ms: int) -> None:
        self.timers[hint] = min(ms, self.timers.get(hint, ms))

    def due(self, now: int) -> None:
        for hint in [hint for hint, at in self.timers.items() if at <= now]:
            del self.timers[hint]
            self.waiting[hint] = None


class Cluster:
    """A control plane of two workers and a few nodes, and a kubelet for each pod that acts when it is stepped."""

    def __init__(self, seed: int, nodes: int = 3, loss: float = 0.2) -> None:
        self.dice = random.Random(seed)
        self.now = NOON
        self.seen: list[Applied] = []
        clock = lambda: self.now  # noqa: E731
        self.log = MeddlingLog(clock)
        self.log.create()
        self.edges = Edges(clock, lambda: f"{self.dice.getrandbits(128):032x}")
        self.queue = LossyQueue(self.dice, loss)
        self.controllers: tuple[Controller[Any], ...] = (STATEFULSET, scheduler(), GARBAGE, VOLUMES)
        self.observer = SteppedReplica(self.log, on_applied=self._on_applied)
        self.observer.load()
        self.committer = Committer(self.log, self.observer, lambda _: self.observer.load(), self.edges)
        for each in first_objects().values():
            self.commit(Create(each))
        for number in range(nodes):
            self.commit(Create(_as_new(a_node(f"n{number}", cpu="2"))))
        self.workers = [self._worker() for _ in range(WORKERS)]

    @property
    def state(self) -> State:
        self.observer.load()
        with self.observer.reading() as state:
            return state

    def commit(self, *changes: Change, actor: str = "user:alice") -> None:
        intent = Intent(Actor(actor), f"{self.dice.getrandbits(64):x}")
        self.committer.commit(lambda: Proposal(changes), intent, attempts=1)
        self.observer.load()

    def try_commit(self, *changes: Change, actor: str = "user:alice") -> bool:
        """Commit, unless somebody was faster."""
        try:
            self.commit(*changes, actor=actor)
        except Conflict:
            return False
        return True

    def pods(self) -> list[Object]:
        return sorted(self.state.list("core/pods"), key=name_of)

    def get(self, key: str) -> Object | None:
        return self.state.get(key)

    # --- steps

    def step_worker(self) -> bool:
        """Let a worker look at a few keys that wait; sometimes it is another worker, just restarted."""
        picked = [self.queue.pick() for _ in range(self.dice.choice((1, 1, 2, 4)))]
        hints = [hint for hint in picked if hint is not None]
        if not hints:
            return False
        index = self.dice.randrange(WORKERS)
        if self.queue.loss and self.dice.random() < 0.02:
            self.workers[index] = self._worker()
        self.workers[index].look(*(part for hint in hints for part in hint))
        return True

    def step_kubelet(self, fails: float = 0.05) -> bool:
        """Let a kubelet do the next thing for a pod or for a disk to be emptied. Returns whether there was one."""
        busy = [pod for pod in self.pods() if self._has_work(pod)]
        volumes = sorted(self.state.list("core/persistentvolumes"), key=name_of)
        busy += [each for each in volumes if is_terminating(each) and has_finalizer(each, DATA)]
        if not busy:
            return False
        pod = self.dice.choice(busy)
        if pod["kind"] == "PersistentVolume":
            return self.try_commit(without_finalizer(pod, DATA), actor="node:n0")
        actor = f"node:{pod['spec'].get('nodeName', '')}"
        if is_terminating(pod):
            return self.try_commit(_ending(pod), actor=actor)
        if pod["spec"]["containers"][0]["image"] == BAD:
            return self.try_commit(Replace(pod, with_fields(pod, status=_stuck(self.now))), actor=actor)
        phase = "Failed" if self.dice.random() < fails else "Running"
        return self.try_commit(Replace(pod, with_fields(pod, status=_status(phase, self.now))), actor=actor)

    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.queue.due(self.now)

    def mark_all(self) -> None:
        self.queue.mark_many(all_keys(self.controllers, self.state))

    def delete(self, key: str, cascade: str = "Background") -> bool:
        found = self.get(key)
        return found is not None and self.try_commit(deletion_of(found, self.now, None, cascade))

    def wander(self, step: Callable[[], None], steps: int, dice: random.Random) -> None:
        """Take steps. Now and then one comes between a decision and its append; no other comes into that one."""
        is_within = False

        def meddle() -> None:
            nonlocal is_within
            if not is_within and dice.random() < 0.15:
                is_within = True
                try:
                    step()
                finally:
                    is_within = False

        self.log.meddle = meddle
        for _ in range(steps):
            step()
        self.log.meddle = lambda: None

    def settle(self, most: int = 4000) -> None:
        """No more faults: run until nothing happens any more, however far time must move for it."""
        self.queue.loss = 0.0
        self.log.meddle = lambda: None
        rested_at = -1
        for _ in range(most):
            if self.step_worker() or self.step_kubelet(fails=0.0):
                continue
            if self.queue.timers:
                self.pass_time(max(1, min(self.queue.timers.values()) - self.now))
            elif rested_at != self.log.last():
                rested_at = self.log.last()
                self.mark_all()
            else:
                return
        waits = {str(hint): text for hint, text in self.queue.sentences.items() if text}
        raise AssertionError(f"the cluster does not come to rest: {waits}")

    def _has_work(self, pod: Object) -> bool:
        if not pod["spec"].get("nodeName"):
            return False
        phase = pod.get("status", {}).get("phase", "Pending")
        if is_terminating(pod):
            return bool(pod["metadata"].get("deletionGracePeriodSeconds"))
        if pod["spec"]["containers"][0]["image"] == BAD:
            return not pod["status"].get("containerStatuses")
        return phase == "Pending"

    def _worker(self) -> Reconciler:
        replica = SteppedReplica(self.log, every=1.0)
        replica.load()
        controllers = (STATEFULSET, scheduler(), GARBAGE, VOLUMES)
        return Reconciler(self.log, replica, self.queue, controllers, self.edges, lambda: None)  # type: ignore[arg-type]

    def _on_applied(self, applied: Any) -> None:
        self.seen.extend(applied)
        with self.observer.reading() as state:
            changed = [(each.old, each.new) for each in applied]
            self.queue.mark_many(dirty_keys(self.controllers, state, changed), state.position)


def _ending(pod: Object) -> Change:
    """What removes a pod whose processes are gone: at once, or once its last finalizer goes."""
    if pod["metadata"].get("finalizers"):
        return Replace(pod, with_metadata(pod, deletionGracePeriodSeconds=0))
    return Delete(pod)


def is_ready(pod: Object) -> bool:
    return condition_of(pod, "Ready") == "True"


def replayed(log: MemoryLog) -> State:
    replica = SteppedReplica(log)
    replica.load()
    with replica.reading() as state:
        return state


def owned_pods(state: State, workload: Object) -> list[Object]:
    return [pod for pod in state.owned_by(uid_of(workload)) if pod["kind"] == "Pod"]


def set_key(name: str) -> str:
    return key_of("apps/statefulsets", "default", name)


def _stored(obj: Object) -> Object:
    return canonical(obj).object


def _as_new(obj: Object) -> Object:
    metadata = {
        name: value
        for name, value in obj["metadata"].items()
        if name not in ("uid", "resourceVersion", "creationTimestamp")
    }
    return {**obj, "metadata": metadata}


def _status(phase: str, now: int) -> Object:
    ready = "True" if phase == "Running" else "False"
    return {
        "phase": phase,
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": ready, "lastTransitionTime": rfc3339(now)},
        ],
    }


def _stuck(now: int) -> Object:
    waiting = {"waiting": {"reason": "ImagePullBackOff"}}
    return {
        **_status("Pending", now),
        "containerStatuses": [{"name": "web", "state": waiting, "restartCount": 0}],
    }
