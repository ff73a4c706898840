"""Ending a cluster from another terminal: `chronoset down`. Nothing stays behind: no process, no socket, no record."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from pathlib import Path

import structlog

from schemas.errors import BadRequest, Unavailable
from services.clusters import read_record, remove_record
from services.data_dirs import LOCK, lock_data_dir
from services.processes import is_alive, send_signal, wait_until
from services.runtimes import end_pods
from services.settings import Settings, shown_path
from services.sockets import remove_socket_dir

PODS_GRACE = 8.0
"""Seconds the pods of a cluster that is stopped have to end."""
_log = structlog.get_logger()


def finish(settings: Settings) -> None:
    """End the pods that no agent has ended, since it had stopped or was killed, and what holds their networks."""
    try:
        if ended := end_pods(settings.data_dir, PODS_GRACE):
            _log.warning("ended pods that no agent had ended", containers=ended)
    except (Unavailable, OSError) as error:
        _log.error("containers may be left", error=str(error))


def end_cluster(settings: Settings, delete_data: bool = False, patience: float = 60.0) -> bool:
    """End what runs on the data directory and return whether anything did; `delete_data` deletes the directory too.

    The supervisor gets `patience` seconds to stop all in order, then SIGKILL, which ends its children. Pods that
    nobody ended, since a supervisor or an agent was killed, are ended here. Raises
    BadRequest where the directory to delete is not one of ours, Unavailable where a process does not end.
    """
    data_dir = settings.data_dir
    if delete_data and data_dir.exists() and not (data_dir / LOCK).is_file():
        raise BadRequest(f"--data-dir: {shown_path(data_dir)} holds no cluster's data, so it is not deleted")
    if not (data_dir / LOCK).is_file():
        return False
    was_running = _end_processes(data_dir, patience)
    lock = lock_data_dir(data_dir)
    try:
        was_running = bool(end_pods(data_dir, PODS_GRACE, deletes=delete_data)) or was_running
        _remove_sockets(settings.socket_dir)
        remove_record(data_dir)
        if delete_data:
            shutil.rmtree(data_dir)
    finally:
        os.close(lock)
    return was_running


def _end_processes(data_dir: Path, patience: float) -> bool:
    record = read_record(data_dir)
    if record is None:
        return False
    everybody = [record.supervisor, *(member.process for member in record.members if member.process)]
    running = [process for process in everybody if is_alive(process)]
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        if send_signal(record.supervisor, number):
            wait_until(lambda: not is_alive(record.supervisor), seconds)
    if not wait_until(lambda: not any(map(is_alive, running)), 10.0):
        left = ", ".join(str(process.pid) for process in running if is_alive(process))
        raise Unavailable(f"these processes do not end: {left}")
    return bool(running)


def _remove_sockets(directory: Path) -> None:
    if directory.is_dir() and not directory.is_symlink():
        for path in directory.iterdir():
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
    remove_socket_dir(directory)
