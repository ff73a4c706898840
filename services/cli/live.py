"""The live view on a terminal, of a cluster in the foreground (`up`) or of any other (`watch`).

It is drawn anew when something has changed, at most four times a second, and rests in between as long as ten drawings
take: a busy cluster costs its viewer a tenth of a core, an idle one next to nothing.
"""

from __future__ import annotations

import os
import signal
import termios
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console

from events.codec import decode
from events.replica import Applied
from schemas.errors import LostHistory, Unavailable
from schemas.objects import Key
from services.cli.following import Following, last_entries
from services.cli.live_models import RESOURCES, Events, Model, model_of
from services.cli.live_views import view
from services.cli.session import Session
from services.clusters import RECORD, read_record
from services.processes import die_with_parent
from services.settings import Settings, shown_path

FIRST_EVENTS = 50
"""Events of before that are shown at the beginning."""
LOOK_SECONDS = 0.5
"""How long what is not in the log may go unnoticed: what a set waits for, the terminal's size."""
REST_SECONDS = 0.25
_REST_PER_DRAWING = 10.0
_DISABLED = b"\0"
_WELL = ("running", "finished")


class Screen:
    """A terminal whose other screen is ours while the block lasts: no cursor, no echo, no Ctrl-Z. It is given back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._file = os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="replace")
        self._console = Console(file=self._file, force_terminal=True, highlight=False)
        self._attributes: list[Any] = []
        self._drawn: tuple[Model, os.terminal_size] | None = None

    def __enter__(self) -> Screen:
        self._attributes = termios.tcgetattr(self._descriptor)
        silent = [*self._attributes[:6], [*self._attributes[6]]]
        silent[3] &= ~termios.ECHO
        silent[6][termios.VSUSP] = _DISABLED
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, silent)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, termios.error):
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)
            termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, self._attributes)

    def draw(self, model: Model) -> None:
        """Draw the model, unless just that stands there already. Raises OSError where the terminal is gone."""
        size = os.get_terminal_size(self._descriptor)
        if self._drawn == (model, size):
            return
        self._drawn = (model, size)
        width, height = max(size.columns, 20), max(size.lines, 4)
        self._console.size = (width, height)
        self._console.update_screen(view(model, width, height))

    def say(self, text: str) -> None:
        """Print a line where the block has ended."""
        with suppress(OSError):
            self._file.write(f"{text}\n")
            self._file.flush()


@dataclass(slots=True)
class Watched:
    """A cluster under the eyes: `look` waits for what comes and returns the model of how it is then."""

    settings: Settings
    hint: str = ""
    _model: Model = field(default_factory=lambda: Model(""))
    _following: Following | None = None
    _events: Events = field(default_factory=Events)
    _waiting: Mapping[Key, str] = field(default_factory=dict)
    _members: tuple[str, ...] = ()
    _record_read: int = 0
    _session: Session | None = None

    def look(self, timeout: float) -> Model:
        """Return the model, the same one where nothing has changed. Never raises because a server is away."""
        began = time.monotonic()
        troubles: list[str] = []
        applied: list[Applied] = []
        try:
            if self._following is None:
                self._begin()
            assert self._following is not None
            applied = self._following.next(timeout)
            self._ask()
        except Unavailable as error:
            troubles = [str(error)]
        except LostHistory as error:
            self._following, troubles = None, [f"{error}: reading the projections anew"]
        if troubles:
            time.sleep(max(0.0, timeout - (time.monotonic() - began)))
        self._events.add(applied)
        self._look_at_members()
        return self._renewed(bool(applied), (*troubles, *self._members))

    def _begin(self) -> None:
        session = self._session = self._session or Session(self.settings, patient=False)
        following = Following(session.log, session.views, RESOURCES)
        past = last_entries(session.log, FIRST_EVENTS, following.state.position)
        self._events = Events()
        self._events.add(Applied(decode(entry), None, None) for entry in past)
        self._following = following
        self._model = replace(self._model, title="")

    def _ask(self) -> None:
        assert self._session is not None
        waiting = self._session.waiting()
        if waiting != self._waiting:
            self._waiting, self._model = waiting, replace(self._model, title="")

    def _look_at_members(self) -> None:
        """Read the record of an `up` on this machine when it was written anew."""
        try:
            written = (self.settings.data_dir / RECORD).stat().st_mtime_ns
        except OSError:
            self._members, self._record_read = (), 0
            return
        if written == self._record_read:
            return
        record = read_record(self.settings.data_dir)
        if record is not None:
            self._record_read = written
            self._members = tuple(
                f"{each.name} is {each.state}{f': {each.note}' if each.note else ''}"
                for each in record.members
                if each.state not in _WELL
            )

    def _renewed(self, moved: bool, troubles: tuple[str, ...]) -> Model:
        if self._following is not None and (moved or not self._model.title):
            made = model_of(self.settings.cluster, self._following.state, self._waiting, self._events)
            self._model = replace(made, place=shown_path(self.settings.data_dir), hint=self.hint)
        if self._model.troubles != troubles:
            self._model = replace(self._model, troubles=troubles)
        return self._model


def watch_on(screen: Screen, watched: Watched) -> None:
    """Show a cluster until it is interrupted. Raises OSError where the terminal is gone."""
    with screen:
        while True:
            model = watched.look(LOOK_SECONDS)
            began = time.monotonic()
            screen.draw(model)
            took = time.monotonic() - began
            time.sleep(max(REST_SECONDS, took * _REST_PER_DRAWING))


def run_view(terminal: int, settings: Settings) -> None:
    """Show the cluster whose supervisor forked us on a terminal, until SIGTERM.

    No Ctrl-C reaches us, since we are not the terminal's foreground; whoever is not, and sets it up, would be stopped
    (SIGTTOU). Where the supervisor is killed we are told by SIGTERM, not SIGKILL, to give the terminal back.
    """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    die_with_parent(os.getppid(), signal.SIGTERM)
    screen = Screen(terminal)
    with suppress(OSError):
        try:
            watch_on(screen, Watched(settings, "Ctrl-C stops the cluster"))
        except SystemExit:
            screen.say(f"stopping the cluster in {shown_path(settings.data_dir)}")
            raise
