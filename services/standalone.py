"""The programs without `up`: one in the foreground of a container or a unit, which somebody else starts again.

What the supervisor does for all of its programs is done here by each: the log is checked before it is followed, so that
a program that is started again on a log with a lost end does not take that for the whole; and the dispatcher, of
which there is always one, guards the log's room and remembers its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import redis

from schemas.errors import NotFound
from services.bootstrap import check_log, remember_end
from services.broker.repeaters import Repeater
from services.connections import connect
from services.health_files import clear_health_file
from services.settings import Settings
from services.storage import StorageGuard
from services.wiring import (
    open_log,
    run_api,
    run_dispatcher,
    run_historian,
    run_projector,
    run_worker,
)

GUARD_MS = 1_000
"""Milliseconds between two looks at the log's room and its end."""


def run_alone(name: str, settings: Settings) -> None:
    """Run one of ALONE without `up` over it, after the checks that `up` makes for all, until SIGTERM.

    Raises NotFound where there is no log yet (`init` makes it), LostHistory where it is not the one that the data
    directory knows.
    """
    if settings.health_file:
        clear_health_file(settings.health_file)
    log = open_log(settings, "start")
    try:
        check_log(log, settings.data_dir)
    except NotFound as error:
        raise NotFound(f"{error}: create it with `chronoset init`") from None
    finally:
        log.close()
    ALONE[name](settings)


def run_guarded_dispatcher(settings: Settings) -> None:
    """Run a dispatcher, and what `up` does beside its programs: guard the log's room, remember its end."""
    client = connect(settings.log_url, "guard", retries=0, timeout=1.0)
    guard = StorageGuard(client, settings.cluster, settings.log_dir)

    def look() -> None:
        with suppress(redis.RedisError, OSError):
            guard.inspect()
            if found := guard.end():
                remember_end(settings.data_dir, *found)

    looking = Repeater("guard", GUARD_MS, look)
    looking.start()
    try:
        run_dispatcher(settings)
    finally:
        looking.stop()
        client.close()


ALONE: Mapping[str, Callable[[Settings], None]] = {
    "dispatcher": run_guarded_dispatcher,
    "worker": run_worker,
    "projector": run_projector,
    "historian": run_historian,
    "api": run_api,
}
"""What `run` runs, in the foreground."""
