"""Carrying a command out: decide, commit, and decide again when another writer was faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from events.commit import Committed, Committer, Edges, Intent, Proposal, digest_of
from events.log import Log
from schemas.envelopes import NOWHERE, Actor, Origin
from schemas.positions import Position
from schemas.times import Milliseconds
from services.commands.commands import Command, digest
from services.commands.deciding import Decided, decide
from services.commands.sources import Sources

Decide = Callable[[Command, Sources, Milliseconds], Decided]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command: its commit, and what its author should know."""

    committed: Committed
    warnings: tuple[str, ...]


class Executor(Protocol):
    """Carries commands out: on the log, or by asking an API that has one. Raises the same errors either way."""

    def check(self, command: Command, actor: Actor, command_id: str) -> None:
        """Raise what deciding a command now would raise; nothing for one that was carried out before."""

    def execute(self, command: Command, actor: Actor, command_id: str) -> Outcome:
        """Carry a command out once: a repeated `command_id` returns what it came to the first time.

        Raises what `decide` and Committer.commit raise; CommandReused where the id stood for another command.
        """


@dataclass(frozen=True, slots=True)
class LogExecutor:
    """Carries commands out on a log, reading what `sources` say.

    catch_up     makes them see a position: what is read is at least as new as the log was on entry, so a writer sees
                 its own earlier writes
    of_values    digests commands that carry a Secret's values (services.commands.commands.digest)
    decide       concludes what a command comes to, and whether its author may have that
    origin       where the wishes came from, for those that came over a wire
    """

    log: Log
    sources: Sources
    catch_up: Callable[[Position], None]
    edges: Edges = field(default_factory=Edges)
    of_values: Callable[[bytes], str] = digest_of
    decide: Decide = decide
    origin: Origin = NOWHERE

    def check(self, command: Command, actor: Actor, command_id: str) -> None:
        """See Executor."""
        if self._committer().earlier(self._intent(command, actor, command_id)) is None:
            self.catch_up(self.log.last())
            self.decide(command, self.sources, self.edges.clock())

    def execute(self, command: Command, actor: Actor, command_id: str) -> Outcome:
        """See Executor."""
        intent, committer = self._intent(command, actor, command_id), self._committer()
        earlier = committer.earlier(intent)
        if earlier is not None:
            return Outcome(earlier, ())
        self.catch_up(self.log.last())
        warnings: tuple[str, ...] = ()

        def proposal() -> Proposal:
            nonlocal warnings
            decided = self.decide(command, self.sources, self.edges.clock())
            warnings = decided.warnings
            return Proposal(decided.changes, decided.rests_on)

        return Outcome(committer.commit(proposal, intent), warnings)

    def _intent(self, command: Command, actor: Actor, command_id: str) -> Intent:
        return Intent(actor, command_id, digest(command, self.of_values), origin=self.origin)

    def _committer(self) -> Committer:
        return Committer(self.log, self.sources, self.catch_up, self.edges)
