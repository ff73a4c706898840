"""The worker: takes a dirty key, looks at the log's present state of it, decides, commits.

A message says only which key to look at. Everything else is read from the replica once it has reached the log's end,
so a lost, late or repeated message changes nothing but the time.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from events.commit import REMEMBER_CONTROLLER, Committer, Edges, Intent, Proposal
from events.log import Log
from events.replica import Applied, Replica
from events.state import State
from schemas.changes import Create, Decision
from schemas.envelopes import Actor
from schemas.errors import ChronosetError, LostHistory, Unavailable
from schemas.objects import Key, Object, version_of
from schemas.positions import Position, stream_id_of
from services.breakers import Breaker
from services.broker.hints import Hints, Sentence
from services.controllers.controller import Controller, dirty_keys
from services.controllers.switches import is_paused
from services.metrics import measures

CATCH_UP_SECONDS = 10.0
RETRY_FIRST_MS = 100
RETRY_MOST_MS = 60_000
FOLLOWED_AT_MOST = 8
"""Looks in a row that one hint may lead to, each at what the one before has changed; beyond that they are marked."""
EVENTS_REMEMBERED = 300
"""Among which the cause of a decision is looked for: a worker looks at most keys some events later."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a key came to."""

    decision: Decision
    position: Position
    appended: int


class Causes:
    """The newest event that concerned a key: what a decision for it is because of.

    An event that a controller does not look at made nothing necessary, however new it is; a deleted object leads to
    decisions and can be seen in no state. Asked only where something was decided, and each controller once about an
    event: to ask all of them about every event would cost more than folding it.
    """

    def __init__(self, replica: Replica) -> None:
        self._recent: tuple[tuple[Applied, dict[str, frozenset[Key]]], ...] = ()
        replica.tell(self._note)

    def of(self, controller: Controller[Any], key: Key, state: State) -> Position:
        """Return the position of the newest event that makes a controller look at a key; 0 where it was long ago."""
        for each, answers in reversed(self._recent):
            keys = answers.get(controller.name)
            if keys is None:
                keys = answers[controller.name] = frozenset(controller.triggers(state, each.old, each.new))
            if key in keys:
                return each.event.position
        return 0

    def _note(self, applied: Sequence[Applied]) -> None:
        concerning = (each for each in applied if each.old is not None or each.new is not None)
        fresh: list[tuple[Applied, dict[str, frozenset[Key]]]] = [(each, {}) for each in concerning]
        self._recent = (*self._recent, *fresh)[-EVENTS_REMEMBERED:]


class Reconciler:
    """Looks at keys. One per process, used by one thread at a time."""

    def __init__(
        self,
        log: Log,
        replica: Replica,
        hints: Hints,
        controllers: Iterable[Controller[Any]],
        edges: Edges,
        on_failure: Callable[[], object],
    ) -> None:
        self.failure: LostHistory | None = None
        self.looks = 0
        self._on_failure = on_failure
        self._log = log
        self._replica = replica
        self._hints = hints
        self._controllers: Mapping[str, Controller[Any]] = {each.name: each for each in controllers}
        self._causes = Causes(replica)
        self._edges = edges
        self._committer = Committer(log, replica, self._catch_up, edges)
        self._breaker = Breaker()
        self._failures: dict[tuple[str, Key], int] = {}
        self._is_ahead = False

    @property
    def conflicts(self) -> int:
        """How often another writer was faster."""
        return self._committer.conflicts

    def look(self, name: str, key: Key) -> None:
        """Reconcile one key, and then, right away, the few keys that the commit made dirty; many are marked."""
        waiting = deque([(name, key)])
        looks = 0
        while waiting:
            dirty = self._look_at(*waiting.popleft())
            looks += 1
            if looks + len(waiting) + len(dirty) > FOLLOWED_AT_MOST:
                self._hints.mark_many(dirty)
            else:
                waiting.extend(each for each in dirty if each not in waiting)

    def _look_at(self, name: str, key: Key) -> list[tuple[str, Key]]:
        """Reconcile one key, unless it runs elsewhere (then it runs once more after that); return what is dirty now."""
        controller = self._controllers.get(name)
        if controller is None:
            _log.error("a hint for a controller that this worker does not have", controller=name, key=key)
            return []
        self._is_ahead = False
        run = self._hints.take(name, key, meanwhile=self._read_ahead)
        if run is None:
            return []
        self.looks += 1
        dirty: list[tuple[str, Key]] = []
        sentence: Sentence | None = None
        try:
            with measures.reconciling(name) as timed:
                look, dirty = self._look(controller, key, run.position)
                timed.outcome = _outcome(look)
            sentence = Sentence(look.decision.waiting_for, look.position)
        except LostHistory as error:
            self.failure = error
            self._on_failure()
            raise
        except ChronosetError as error:
            sentence = self._try_later(name, key, str(error))
        except Exception as error:  # noqa: BLE001 - the boundary of a message: said, and tried again
            _log.exception("a reconcile failed", controller=name, key=key)
            sentence = self._try_later(name, key, f"its reconcile failed: {error!r}")
        finally:
            self._hints.release(run, sentence)
        return dirty

    def _read_ahead(self) -> None:
        with suppress(ChronosetError):  # a log that cannot be read is told when it must be
            self._replica.catch_up()
            self._is_ahead = True

    def _look(
        self, controller: Controller[Any], key: Key, position: Position | None
    ) -> tuple[Look, list[tuple[str, Key]]]:
        """Decide and commit; return what came of it, and the keys that the commit made dirty."""
        if not self._is_ahead or position is None or self._replica.position < position:
            self._replica.catch_up()
        decision, decided_at = Decision(), 0

        def decide() -> Proposal:
            nonlocal decision, decided_at
            decision, proposal, decided_at = self._decide(controller, key)
            return proposal

        intent = Intent(
            Actor(f"controller:{controller.name}", "socket"), uuid.uuid4().hex, remember=REMEMBER_CONTROLLER
        )
        committed = self._committer.commit(decide, intent)
        self._failures.pop((controller.name, key), None)
        appended = committed.appended
        look = Look(decision, appended.last if appended.count else decided_at, appended.count)
        self._breaker.count(controller.name, key, look.appended, self._edges.clock())
        self._report(controller.name, key, look)
        with self._replica.reading() as state:
            dirty = dirty_keys(self._controllers.values(), state, committed.changed)
        return look, dirty

    def _decide(self, controller: Controller[Any], key: Key) -> tuple[Decision, Proposal, Position]:
        """Decide under the replica's lock: view, guard, cause and position are of one moment."""
        with self._replica.reading() as state:
            now = self._edges.clock()
            obj = state.get(key)
            if is_paused(state, controller.name):
                decision = Decision(waiting_for=f"controller {controller.name} is paused (chronoset resume)")
            elif parked := self._breaker.parked(controller.name, key, obj, state, now):
                decision = parked
            else:
                view = controller.view_of(state, key)
                decision = controller.reconcile(view, now) if view is not None else Decision()
            cause = self._causes.of(controller, key, state) if decision.changes else 0
            guard = f"guard/{controller.name}/{key}"
            guarded = state.guards.get(guard, 0)
            if cause > guarded:
                measures.HOPS.labels(controller.name).observe(max(0, now - (cause >> 20)) / 1000)
            proposal = Proposal(
                decision.changes, decision.rests_on, (guard, guarded), cause or _cause_of(decision, obj)
            )
            return decision, proposal, state.position

    def _report(self, name: str, key: Key, look: Look) -> None:
        decision = look.decision
        if decision.requeue_at is not None:
            self._hints.at(name, key, decision.requeue_at)
        if look.appended or decision.waiting_for:
            _log.info(
                "reconciled",
                controller=name,
                key=key,
                position=stream_id_of(look.position),
                decision=[f"{type(change).__name__} {change.key}" for change in decision.changes[:10]],
                changes=len(decision.changes),
                appended=look.appended,
                waiting_for=decision.waiting_for,
                requeue_at=decision.requeue_at,
            )

    def _try_later(self, name: str, key: Key, why: str) -> Sentence:
        """Look again after a pause that doubles with each failure in a row, and say why."""
        failures = self._failures[name, key] = self._failures.get((name, key), 0) + 1
        pause = min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_MOST_MS)
        _log.warning("will look again", controller=name, key=key, why=why, in_ms=pause, failures=failures)
        self._hints.at(name, key, self._edges.clock() + pause)
        return Sentence(f"{why} (tried {failures} times)", self._replica.position)

    def _catch_up(self, position: Position) -> None:
        if not self._replica.wait_for(position, CATCH_UP_SECONDS):
            at, wanted = stream_id_of(self._replica.position), stream_id_of(position)
            raise Unavailable(f"this worker's replica is at {at}, not yet at {wanted}")


def _outcome(look: Look) -> str:
    """Return what a look came to, for chronoset_reconcile_seconds."""
    return "appended" if look.appended else "waiting" if look.decision.waiting_for else "nothing"


def _cause_of(decision: Decision, obj: Object | None) -> Position:
    """Return the latest change among what was decided for and upon, where no event of late led to it (a timer did)."""
    read = [change.old for change in decision.changes if not isinstance(change, Create)]
    return max(
        (version_of(each) for each in (*read, *decision.rests_on, *((obj,) if obj else ()))), default=0
    )
