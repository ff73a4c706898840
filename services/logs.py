"""Where programs log: JSON lines, into a file of bounded size or to stdout.

Set up once per process, at the edge; the standard library's loggers (redis, dramatiq) end in the same place.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import structlog

MAX_LOG_BYTES = 10 << 20


class BoundedFile:
    """A log file that is set aside as `<name>.1` when it would exceed `limit` bytes; at most twice that is kept.

    Where `takes_over` holds, it also stands in for stdout and stderr, so that no traceback or crash in C is lost.
    """

    def __init__(self, path: Path, limit: int = MAX_LOG_BYTES, takes_over: bool = False) -> None:
        self._path = path
        self._limit = limit
        self._takes_over = takes_over
        self._descriptor = -1
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def write(self, text: str) -> int:
        """Append; a write is one system call, so lines of a process and its children do not mix.

        What does not fit a full disk is dropped: a program must not end because it cannot log.
        """
        data = text.encode("utf-8", "backslashreplace")
        with suppress(OSError):
            if os.fstat(self._descriptor).st_size + len(data) > self._limit:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._open()
            os.write(self._descriptor, data)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> None:
        before = self._descriptor
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if before >= 0:
            os.close(before)
        if self._takes_over:
            os.dup2(self._descriptor, 1)
            os.dup2(self._descriptor, 2)


def log_to_file(path: Path, program: str, level: int = logging.INFO, takes_over: bool = True) -> None:
    """Send all that this process logs to a file, as JSON lines that name the program.

    Where `takes_over` holds, all that it prints or complains about goes there as well.
    """
    _configure(BoundedFile(path, takes_over=takes_over), program, level)


def log_to_stdout(program: str, level: int = logging.INFO) -> None:
    """Send all that this process logs to stdout, as JSON lines that name the program: whoever runs it keeps them."""
    _configure(sys.stdout, program, level)


def _configure(stream: Any, program: str, level: int) -> None:
    steps: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _naming(program),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]
    structlog.configure(
        processors=[*steps, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*steps, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.captureWarnings(True)


def _naming(program: str) -> Any:
    pid = os.getpid()

    def add_program(_logger: Any, _method: str, event: Any) -> Any:
        return {"program": program, "pid": pid, **event}

    return add_program


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=repr).decode()
