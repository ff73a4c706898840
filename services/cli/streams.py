"""What goes beside the result, to stderr, and results for programs. Apart, since every command needs no more."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

import orjson

_DIM, _RESET = "\x1b[2m", "\x1b[0m"


def can_be_drawn_on(stream: TextIO) -> bool:
    """Say whether a stream is a terminal that takes more than lines: colours, a cursor that moves."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def aside(text: str) -> None:
    """Print what is not the result (where it stands, warnings) to stderr, dim on a terminal."""
    coloured = can_be_drawn_on(sys.stderr) and not os.environ.get("NO_COLOR")
    print(f"{_DIM}{text}{_RESET}" if coloured else text, file=sys.stderr)


def show_json(value: Any) -> None:
    """Print a JSON value on one line, at once: programs read a stream of them."""
    print(orjson.dumps(value).decode(), flush=True)
