"""Programs: what the supervisor forks, and what a forked child does before and after it runs one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import orjson
import structlog
from setproctitle import setproctitle

from schemas.errors import ChronosetError
from schemas.times import Milliseconds
from services.logs import log_to_file, log_to_stdout
from services.metrics import measures
from services.metrics.serving import serve_on_port, serve_on_socket, socket_of
from services.processes import Forked, die_with_parent
from services.settings import Settings

FAILED = "program failed"
"""What a program that ends with an error logs last."""
LAST_WORDS = 64 << 10
"""Bytes at the end of a log file among which that is looked for."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run `count` times, each in a process forked from the supervisor.

    run     blocks until it is told to stop; SIGTERM raises SystemExit in it unless it sets a handler of its own
    once    it does one thing: ending with 0 it is not started again
    grace   seconds from SIGTERM to SIGKILL
    nice    how far it steps back for the cluster's other programs where all want a processor (nice(2), 0 to 19)
    is_ready  whether an instance that was started at that millisecond does its work; None: all do from the beginning
    """

    name: str
    run: Callable[[Settings], None]
    count: int = 1
    once: bool = False
    grace: float = 10.0
    nice: int = 0
    is_ready: Callable[[Settings, Milliseconds], bool] | None = None


def fork(body: Callable[[], int], close: int) -> Forked:
    """Run `body` in a child that dies with us; its result is the exit code.

    It is a process group of its own, so that no Ctrl-C reaches it, but no session: Linux shares processors out by
    session first (sched(7), autogroup), and `Program.nice` counts within one only. `close` is the descriptor of the
    data directory's lock, which is not for programs. The child leaves without the parent's exit handlers.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Forked(pid)
    code = 1
    try:
        die_with_parent(parent)
        os.close(close)
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, _leave)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        code = body()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    finally:
        os._exit(code)


def run_program(program: Program, name: str, log_file: Path, settings: Settings) -> int:
    """Run a program with its output in its log file and return its exit code; what it raises is logged."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.nice(program.nice)
    log_to_file(log_file, name)
    if settings.metrics_port and not program.once:
        measures.begin()
        serve_on_socket(socket_of(settings.socket_dir, name))
    return _carry_out(program.run, name, settings)


def run_in_foreground(run: Callable[[Settings], None], name: str, settings: Settings) -> int:
    """Run a program as all that this process does, with its log on stdout, and return its exit code.

    SIGTERM and SIGINT end it in good order; before it has begun to run, at once.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, lambda *_: signal.raise_signal(signal.SIGTERM))
    log_to_stdout(name)
    if settings.metrics_port:
        serve_on_port(settings.metrics_address, settings.metrics_port)
    try:
        return _carry_out(run, name, settings)
    except SystemExit:
        return 0


def _carry_out(run: Callable[[Settings], None], name: str, settings: Settings) -> int:
    setproctitle(f"chronoset: {name} ({settings.cluster})")
    log = structlog.get_logger()
    log.info("program started")
    try:
        run(settings)
    except ChronosetError as error:
        log.error(FAILED, error=str(error), exit_code=error.exit_code)
        return error.exit_code
    except Exception as error:
        log.exception(FAILED, error=f"{type(error).__name__}: {error}")
        return 1
    return 0


def failure_in(log_file: Path, begin: int) -> str:
    """Return why a program failed, as its log file says behind the byte `begin`; "" where it does not say."""
    try:
        with log_file.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(begin if begin <= size else 0, size - LAST_WORDS))
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        with suppress(orjson.JSONDecodeError):
            said = orjson.loads(line)
            if isinstance(said, dict) and said.get("event") == FAILED:
                return str(said.get("error", ""))
    return ""


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
