"""`chronoset watch`: the live view of a cluster that runs elsewhere."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace

from rich.console import Console

from services.cli.live import LOOK_SECONDS, Screen, Watched, watch_on
from services.cli.live_views import view
from services.cli.options import DataDir
from services.cli.streams import can_be_drawn_on
from services.settings import joined, settings_from

_ONCE_WIDTH, _ONCE_HEIGHT, _ONCE_EVENTS = 120, 1000, 20


def watch(data_dir: DataDir = None) -> None:
    """Show workloads, their pods by ordinal, what each waits for and the last events, as they change.

    Ctrl-C leaves it. Where stdout is no terminal, or one that takes lines only, the view is printed once, plainly.

    \b
    Example:
      chronoset watch
      chronoset watch --data-dir /tmp/demo
    """
    settings = joined(settings_from(os.environ, data_dir))
    watched = Watched(settings, "Ctrl-C leaves")
    if not can_be_drawn_on(sys.stdout):
        model = watched.look(LOOK_SECONDS)
        shown = replace(model, hint="", happenings=model.happenings[-_ONCE_EVENTS:])
        Console(file=sys.stdout, width=_ONCE_WIDTH, no_color=True).print(
            view(shown, _ONCE_WIDTH, _ONCE_HEIGHT)
        )
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt, OSError):
        watch_on(Screen(sys.stdout.fileno()), watched)
