"""The user's terminal in the hands of a command elsewhere: raw meanwhile, afterwards as it was, whatever happens."""

from __future__ import annotations

import os
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal that ends this program has come: it is sent again when the terminal is as it was."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.strsignal(number))


@contextmanager
def lent(descriptor: int, raw: bool) -> Iterator[int]:
    """Lend the terminal of a descriptor, raw if wanted; yield a descriptor that is readable when a signal has come.

    SIGWINCH is among those signals; SIGTERM and SIGHUP end this program as ever, but only after the terminal was
    given back.
    """
    before = termios.tcgetattr(descriptor) if raw else None
    wake, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handlers = {number: signal.signal(number, _end) for number in _ENDINGS}
    handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: None)
    old_wake = signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    ended = 0
    try:
        if raw:
            tty.setraw(descriptor, termios.TCSADRAIN)
        yield wake
    except Ended as signalled:
        ended = signalled.number
    finally:
        signal.set_wakeup_fd(old_wake)
        if before is not None:
            with suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(end)
    if ended:
        signal.signal(ended, signal.SIG_DFL)
        os.kill(os.getpid(), ended)


def size_of(descriptor: int) -> tuple[int, int]:
    """Return columns and rows of a terminal."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24


def _end(number: int, _frame: FrameType | None) -> None:
    raise Ended(number)
