"""What terminals take, and what goes beside a result."""

from __future__ import annotations

import io
import sys

import pytest

from services.cli.streams import aside, can_be_drawn_on


class ATerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "can"), [("xterm", True), ("dumb", False), ("unknown", False), (None, False)]
)
def test_a_terminal_that_takes_lines_only_gets_no_colours(
    name: str | None, can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", name)
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = ATerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    aside("as of position 7-0")
    assert can_be_drawn_on(terminal) is can
    assert ("\x1b" in terminal.getvalue()) is can and "as of position 7-0" in terminal.getvalue()


def test_what_is_no_terminal_is_never_drawn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert not can_be_drawn_on(io.StringIO())
