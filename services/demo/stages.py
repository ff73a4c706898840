"""How the demo tells its story: steps, the commands with kubectl's beside them, and observations that are checked.

On a terminal with colours and a spinner, else as plain lines. What is printed of an observation is what was found; a
finding that is not the expected one ends the step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.counts import counted
from schemas.errors import ChronosetError

_MOST_LINES = 14
_PLAIN_WIDTH = 120


class WrongObservation(ChronosetError):
    """What was observed is not what should have been."""

    reason = "WrongObservation"


OK, WRONG, STOPPED = "ok", "wrong", "stopped"


@dataclass(frozen=True, slots=True)
class Played:
    """How a step went: its result is `ok`, `wrong` or `stopped` (by Ctrl-C, or a fault of the demo)."""

    result: str
    seconds: float


class Stage:
    """Prints, and compares what was found with what was expected."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _console()
        self._checks = 0
        self.played: list[Played] = []

    @contextmanager
    def step(self, number: int, title: str) -> Iterator[None]:
        """Head a step, and note its result and how long it took."""
        begun, result = time.monotonic(), STOPPED
        self._print()
        self._print(f"{number}. {title}", "bold cyan")
        try:
            yield
            result = OK
        except ChronosetError:
            result = WRONG
            raise
        finally:
            self.played.append(Played(result, time.monotonic() - begun))

    def command(self, ours: str, kubectl: str) -> None:
        """Print a command and the one of kubectl (or the shell) that does the same."""
        self._print(f"   $ {ours}", "bold")
        self._print(f"   # {kubectl}", "dim")

    def output(self, text: str) -> None:
        """Print what a command printed, shortened where it is long."""
        lines = text.splitlines()
        for line in lines[:_MOST_LINES]:
            self._print(f"     {line}" if line else "", "dim")
        if len(lines) > _MOST_LINES:
            self._print(f"     ... and {counted(len(lines) - _MOST_LINES, 'line')} more", "dim")

    def note(self, text: str) -> None:
        """Print a remark."""
        self._print(f"   {text}")

    def check(self, what: str, found: Any, expected: Any, shown: str = "") -> None:
        """Print what was found (`shown`, where that reads better). Raises WrongObservation unless it is `expected`."""
        self._checks += 1
        if found == expected:
            self._print(f"   ✓ {what}: {shown or _shown(found)}", "green")
            return
        self._print(f"   ✗ {what}", "bold red")
        self._print(f"     expected: {_shown(expected)}", "red")
        self._print(f"     found:    {_shown(found)}", "red")
        raise WrongObservation(f"{what}: expected {_shown(expected)}; found {_shown(found)}")

    def busy(self, what: str) -> AbstractContextManager[Any]:
        """On a terminal, turn a spinner while something takes its time."""
        return self._console.status(what) if self._console.is_terminal else nullcontext()

    def summary(self, steps: Sequence[str], seconds: float) -> None:
        """Print the result and duration of each of the steps, played or not, and of the whole."""
        table = Table("", "step", "result", "seconds", box=None, header_style="bold", pad_edge=False)
        table.columns[3].justify = "right"
        for number, title in enumerate(steps, 1):
            played = self.played[number - 1] if number <= len(self.played) else None
            result = (
                Text(played.result, "green" if played.result == OK else "red") if played else "not played"
            )
            table.add_row(str(number), title, result, f"{played.seconds:.1f}" if played else "")
        self._print()
        self._console.print(table)
        self._print()
        right = sum(each.result == OK for each in self.played)
        self._print(
            f"{right} of {len(steps)} steps as expected, {self._checks} observations, {seconds:.1f} s", "bold"
        )

    def _print(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def _shown(value: Any) -> str:
    """Return a finding on one line: `db-0 5.7.2, db-1 5.7.2`."""
    match value:
        case Mapping():
            return ", ".join(f"{name} {_shown(each)}" for name, each in value.items()) or "none"
        case list() | set() | frozenset():
            return ", ".join(map(_shown, value)) or "none"
        case tuple():
            return " ".join(map(_shown, value))
        case bool():
            return "yes" if value else "no"
    return str(value)
