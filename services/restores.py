"""A cluster's data directory, made from a backup: its log's server, the log on it, its archive and its keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from events.archive import Archive
from events.redis_log import RedisLog
from schemas.errors import AlreadyExists
from schemas.positions import Position, stream_id_of
from services.archives import remember_place, store_of
from services.backups import Restored, restore, restore_keys, state_in
from services.bootstrap import remember_log, start_epoch
from services.clusters import remember_cluster
from services.connections import connect
from services.data_dirs import lock_data_dir
from services.servers import ServerPlan, default_max_memory, find_server, launch, stop, wait_until_loaded
from services.settings import Settings, shown_path
from services.sockets import make_socket_dir, remove_socket_dir


def begin_again(
    archive: Archive, settings: Settings, position: Position, progress: Callable[[str], None]
) -> Restored:
    """Make the data directory of the settings from a backup, up to a position.

    The log goes to the server that the settings name, else into files that `up` will find. Raises AlreadyExists where
    the directory has a log, BadRequest where the backup does not reach so far, LostHistory where it is damaged. What
    was written until then stays, and holds no cluster.
    """
    state = state_in(archive, position)
    progress(f"the backup holds {len(state.objects)} objects at {stream_id_of(state.position)}")
    if (settings.data_dir / "log.json").exists():
        raise AlreadyExists(
            f"{shown_path(settings.data_dir)} has a log already: restore into another data directory"
        )
    lock = lock_data_dir(settings.data_dir)
    with _log_server(settings, lock, progress) as client:
        restored = restore(archive, state, store_of(settings), client, settings.cluster)
        remember_place(settings)
        restore_keys(archive.store, settings.keys_dir)
        log = RedisLog(client, settings.cluster)
        last = start_epoch(log, state.log_id, archive.manifest.end, archive.manifest.cluster)
        remember_log(settings.data_dir, state.log_id, last)
        remember_cluster(settings.data_dir, settings.cluster)
    return restored


@contextmanager
def _log_server(settings: Settings, lock: int, progress: Callable[[str], None]) -> Iterator[redis.Redis]:
    """Give a client of the log's server: of the one that is named, or of one that runs until the end of the block."""
    if settings.log_url:
        with connect(settings.log_url, "restore") as client:
            yield client
        return
    data_dir = settings.data_dir.absolute()
    make_socket_dir(settings.socket_dir)
    plan = ServerPlan(
        "log",
        data_dir / "log",
        settings.socket_dir / "log.sock",
        data_dir / "logs" / "log-server.log",
        settings.durability,
        default_max_memory(),
    )
    binary = find_server()
    (data_dir / "log-server").write_text(f"{binary.path}\n")
    process = launch(plan, binary, (lock,))
    try:
        wait_until_loaded(plan, process.poll, progress)
        with connect(plan.url, "restore") as client:
            yield client
    finally:
        stop(plan, process)
        remove_socket_dir(settings.socket_dir)
