"""The worker: takes a dirty key, looks at the log's present state of it, decides, commits.

A message says only which key to look at. Everything else is read from the replica once it has reached the log's end,
so a lost, late or repeated message changes nothing but the time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

import structlog

from events.commit import (
    REMEMBER_CONTROLLER,
    Committed,
    Committer,
    Edges,
    Intent,
    Proposal,
    Wish,
)
from events.ids import random_id
from events.log import Log
from events.replica import Applied, Replica
from events.state import State
from schemas.changes import Create, Decision
from schemas.envelopes import Actor
from schemas.errors import ChronosetError, LostHistory, Unavailable
from schemas.objects import Key, Object, version_of
from schemas.positions import Position, stream_id_of
from services.breakers import Breaker
from services.broker.hints import Hint, Hints, Run, Sentence
from services.controllers.controller import Controller, dirty_keys
from services.controllers.switches import is_paused
from services.metrics import measures

CATCH_UP_SECONDS = 10.0
RETRY_FIRST_MS = 100
RETRY_MOST_MS = 60_000
TOGETHER = 8
"""Keys that are taken, looked at on one state, appended for and released at once, each with a guard of its own."""
FOLLOWED_AT_MOST = 8
"""Looks in a row that one hint may lead to, each at what the one before has changed; beyond that they are marked."""
EVENTS_REMEMBERED = 300
"""Among which the cause of a decision is looked for: a worker looks at most keys some events later."""

_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Look:
    """A look at a key: what was decided last, upon or at which position of the log, and how much came of it."""

    controller: Controller[Any]
    hint: Hint
    decision: Decision = field(default_factory=Decision)
    position: Position = 0
    appended: int = 0


class Causes:
    """The newest event that concerned a key: what a decision for it is because of.

    An event that a controller does not look at made nothing necessary, however new it is; a deleted object leads to
    decisions and can be seen in no state. Asked only where something was decided, and each controller once about an
    event: to ask all of them about every event would cost more than folding it.
    """

    def __init__(self, replica: Replica) -> None:
        self._recent: tuple[Applied, ...] = ()
        self._newest: dict[str, dict[Key, Position]] = {}
        self._asked: dict[str, Position] = {}
        replica.tell(self._note)

    def of(self, controller: Controller[Any], key: Key, state: State) -> Position:
        """Return the position of the newest event that makes a controller look at a key; 0 where it was long ago."""
        recent, name = self._recent, controller.name
        if not recent:
            return 0
        oldest, asked = recent[0].event.position, self._asked.get(name, 0)
        newest = self._newest.setdefault(name, {})
        fresh = list(takewhile(lambda each: each.event.position > asked, reversed(recent)))
        for each in reversed(fresh):
            newest.update(dict.fromkeys(controller.triggers(state, each.old, each.new), each.event.position))
        self._asked[name] = recent[-1].event.position
        if len(newest) > 2 * EVENTS_REMEMBERED:
            newest = self._newest[name] = {each: at for each, at in newest.items() if at >= oldest}
        found = newest.get(key, 0)
        return found if found >= oldest else 0

    def _note(self, applied: Sequence[Applied]) -> None:
        fresh = (each for each in applied if each.old is not None or each.new is not None)
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
        self._replica = replica
        self._hints = hints
        self._controllers: Mapping[str, Controller[Any]] = {each.name: each for each in controllers}
        self._causes = Causes(replica)
        self._edges = edges
        self._committer = Committer(log, replica, self._catch_up, edges)
        self._breaker = Breaker()
        self._failures: dict[Hint, int] = {}
        self._done: list[Look] = []
        self._log = _log.bind()

    @property
    def conflicts(self) -> int:
        """How often another writer was faster."""
        return self._committer.conflicts

    def look(self, *names_and_keys: str) -> None:
        """Reconcile some keys, each after its controller's name, and then what the commits made dirty.

        That is looked at right away where it is little, and else marked.
        """
        waiting = deque(dict.fromkeys(zip(names_and_keys[::2], names_and_keys[1::2], strict=True)))
        left = FOLLOWED_AT_MOST * len(waiting)
        said: dict[Run, Sentence | None] = {}
        try:
            while waiting:
                together = [waiting.popleft() for _ in range(min(len(waiting), TOGETHER))]
                dirty = self._look_at(together, said)
                left -= len(together)
                if len(waiting) + len(dirty) > left:
                    self._hints.mark_many(dirty)
                else:
                    waiting.extend(each for each in dirty if each not in waiting)
        finally:
            if said:
                self._hints.release(said)
            self._report()

    def _look_at(
        self, keys: Sequence[tuple[str, Key]], said: dict[Run, Sentence | None]
    ) -> list[tuple[str, Key]]:
        """Reconcile keys, but those that run elsewhere (they run once more after that); return what is dirty now.

        `said` are the runs before, which end with it; after it, what is said of these, to be released.
        """
        unknown = [each for each in keys if each[0] not in self._controllers]
        if unknown:
            _log.error("hints for controllers that this worker does not have", keys=unknown)
        seen: Position = -1

        def read_ahead() -> None:
            nonlocal seen
            with suppress(ChronosetError):  # a log that cannot be read is told when it must be
                self._replica.catch_up()
                seen = self._replica.position

        runs = self._hints.take([each for each in keys if each not in unknown], read_ahead, said)
        said.clear()
        said |= dict.fromkeys(runs)
        dirty: dict[tuple[str, Key], None] = {}
        begun = time.perf_counter()
        self.looks += len(runs)
        try:
            if any(run.position is None or run.position > seen for run in runs):
                self._replica.catch_up()
            looks = [Look(self._controllers[run.hint.controller], run.hint) for run in runs]
            for run, look, outcome in zip(runs, looks, self._commit(looks), strict=True):
                said[run], concerned = self._conclude(look, outcome, begun)
                dirty |= dict.fromkeys(concerned)
        except LostHistory as error:
            self.failure = error
            self._on_failure()
            raise
        except ChronosetError as error:
            said |= {run: self._try_later(run.hint, str(error)) for run in runs}
        return list(dirty)

    def _commit(self, looks: Sequence[Look]) -> list[Committed | Exception]:
        """Take a decision for each key, on one state of the replica, and append them together."""
        return self._committer.commit_all(
            [
                Wish(
                    partial(self._decide, look),
                    Intent(
                        Actor(f"controller:{look.controller.name}", "socket"),
                        random_id(),
                        remember=REMEMBER_CONTROLLER,
                    ),
                )
                for look in looks
            ]
        )

    def _conclude(
        self, look: Look, outcome: Committed | Exception, begun: float
    ) -> tuple[Sentence, list[tuple[str, Key]]]:
        """Return what a key waits for, and what is dirty now. What went wrong is tried again later."""
        name, key = look.hint
        dirty: list[tuple[str, Key]] = []
        match outcome:
            case LostHistory():
                raise outcome
            case ChronosetError():
                came_to, sentence = "failed", self._try_later(look.hint, str(outcome))
            case Exception():
                _log.error("a reconcile failed", controller=name, key=key, exc_info=outcome)
                came_to = "failed"
                sentence = self._try_later(look.hint, f"its reconcile failed: {outcome!r}")
            case Committed(appended, changed=changed):
                self._failures.pop(look.hint, None)
                self._breaker.count(name, key, appended.count, self._edges.clock())
                if appended.count:
                    look.position, look.appended = appended.last, appended.count
                self._done.append(look)
                came_to = (
                    "appended" if appended.count else "waiting" if look.decision.waiting_for else "nothing"
                )
                sentence = Sentence(look.decision.waiting_for, look.position, look.decision.requeue_at)
                with self._replica.reading() as state:
                    dirty = dirty_keys(self._controllers.values(), state, changed)
        measures.RECONCILES.labels(name, came_to).observe(time.perf_counter() - begun)
        return sentence, dirty

    def _decide(self, look: Look) -> Proposal:
        """Decide under the replica's lock: view, guard, cause and position are of one moment."""
        controller, key = look.controller, look.hint.key
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
            look.decision, look.position = decision, state.position
            return Proposal(
                decision.changes, decision.rests_on, (guard, guarded), cause or _cause_of(decision, obj)
            )

    def _report(self) -> None:
        """Log what was done, when nobody waits for it any more."""
        done, self._done = self._done, []
        for look in done:
            (name, key), decision = look.hint, look.decision
            if look.appended or decision.waiting_for:
                self._log.info(
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

    def _try_later(self, hint: Hint, why: str) -> Sentence:
        """Look again after a pause that doubles with each failure in a row, and say why."""
        name, key = hint
        failures = self._failures[hint] = self._failures.get(hint, 0) + 1
        pause = min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_MOST_MS)
        _log.warning("will look again", controller=name, key=key, why=why, in_ms=pause, failures=failures)
        due = self._edges.clock() + pause
        return Sentence(f"{why} (tried {failures} times)", self._replica.position, due)

    def _catch_up(self, position: Position) -> None:
        if not self._replica.wait_for(position, CATCH_UP_SECONDS):
            at, wanted = stream_id_of(self._replica.position), stream_id_of(position)
            raise Unavailable(f"this worker's replica is at {at}, not yet at {wanted}")


def _cause_of(decision: Decision, obj: Object | None) -> Position:
    """Return the latest change among what was decided for and upon, where no event of late led to it (a timer did)."""
    read = [change.old for change in decision.changes if not isinstance(change, Create)]
    return max(
        (version_of(each) for each in (*read, *decision.rests_on, *((obj,) if obj else ()))), default=0
    )
