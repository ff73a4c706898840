"""Carrying a command out: decide, commit, and decide again when another writer was faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from events.commit import Committed, Committer, Edges, Intent, Proposal, digest_of
from events.log import Log
from schemas.envelopes import Actor
from schemas.positions import Position
from services.commands.commands import Command, digest
from services.commands.deciding import decide
from services.commands.sources import Sources


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command: its commit, and what its author should know."""

    committed: Committed
    warnings: tuple[str, ...]


class Executor:
    """Carries commands out on a log, reading what `sources` say. `catch_up(position)` makes them see a position.

    `of_values` digests commands that carry a Secret's values (services.commands.commands.digest).
    """

    def __init__(
        self,
        log: Log,
        sources: Sources,
        catch_up: Callable[[Position], None],
        edges: Edges | None = None,
        of_values: Callable[[bytes], str] = digest_of,
    ) -> None:
        self._log = log
        self._sources = sources
        self._catch_up = catch_up
        self._edges = edges or Edges()
        self._of_values = of_values
        self._committer = Committer(log, sources, catch_up, self._edges)

    def check(self, command: Command, actor: Actor, command_id: str) -> None:
        """Raise what deciding a command now would raise; nothing for one that was carried out before."""
        if self._committer.earlier(Intent(actor, command_id, digest(command, self._of_values))) is None:
            self._catch_up(self._log.last())
            decide(command, self._sources, self._edges.clock())

    def execute(self, command: Command, actor: Actor, command_id: str) -> Outcome:
        """Carry a command out once: a repeated `command_id` returns what it came to the first time.

        What is read is at least as new as the log was on entry, so a writer sees its own earlier writes. Raises what
        `decide` and Committer.commit raise; CommandReused where the id stood for another command.
        """
        intent = Intent(actor, command_id, digest(command, self._of_values))
        earlier = self._committer.earlier(intent)
        if earlier is not None:
            return Outcome(earlier, ())
        self._catch_up(self._log.last())
        warnings: tuple[str, ...] = ()

        def proposal() -> Proposal:
            nonlocal warnings
            decided = decide(command, self._sources, self._edges.clock())
            warnings = decided.warnings
            return Proposal(decided.changes, decided.rests_on)

        committed = self._committer.commit(proposal, intent)
        return Outcome(committed, warnings)
