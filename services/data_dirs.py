"""The data directory's lock: one `up` at a time, and no second server on an AOF that one still writes.

It is a flock, so it goes with its holders, however they end. The servers inherit it: after a supervisor was killed, the
next one waits until they have ended.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from schemas.errors import AlreadyExists, BadRequest

LOCK = "lock"


def lock_data_dir(data_dir: Path, patience: float = 3.0) -> int:
    """Make the directory (0700) and lock it; return the descriptor that holds the lock while it is open.

    Raises AlreadyExists with the pid of the holder where it is not free within `patience` seconds, and BadRequest where
    the directory cannot be made or written.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadRequest(
            f"--data-dir: {str(data_dir)!r} cannot be used: {error.strerror}; name a directory that you may write"
        ) from error
    deadline = time.monotonic() + patience
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyExists(
                f"a cluster runs on {data_dir} already (pid {holder}): join it, or end it with chronoset down"
            )
        time.sleep(0.05)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
