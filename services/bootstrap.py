"""What must be there before the first program runs: the log this data directory knows, and its first objects.

Only here is a log created, and only where there never was one: a log that is gone where this data directory remembers
one is lost history, not a fresh start.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import orjson
import structlog

from events.codec import encode
from events.commit import Committer, Edges, Intent, Proposal
from events.log import Batch, Draft, Log
from events.memory import wall_clock
from events.state import State
from schemas.canonical import canonical
from schemas.changes import Create
from schemas.envelopes import EPOCH, LOG_KEY, READER_VERSION, SCHEMA_VERSION, Actor, Event
from schemas.errors import AlreadyExists, LostHistory, NotFound
from schemas.kinds import NAMESPACE, PRIORITY_CLASS, STORAGE_CLASS
from schemas.objects import Key, Object, key_of_object
from schemas.positions import Position, position_of, stream_id_of
from schemas.storage import IS_DEFAULT, LOCAL_CLASS, PROVISIONER
from services.commands.admission import SYSTEM_PRIORITIES

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
"""The namespaces every cluster begins with (kubernetes.io, "Initial namespaces")."""
EPOCH_TYPE = "EpochStarted"
_MEMORY = "log.json"

_log = structlog.get_logger()


def prepare_log(log: Log, data_dir: Path, edges: Edges | None = None, accepts_loss: bool = False) -> str:
    """Make sure that the log is the one this data directory knows, or create it; return its id.

    `accepts_loss` goes on with a log that ends too early: an EpochStarted in it says from where to where events are
    missing. Raises LostHistory where the log is gone, another one, or ends before what was seen of it.
    """
    remembered = _remembered(data_dir)
    try:
        log_id, last = _identified(log, data_dir, remembered)
    except NotFound:
        log_id = _created(log)
        last = log.last()
    if remembered and not _holds(log, remembered[1]):
        if not accepts_loss:
            raise _too_short(data_dir, last, remembered[1])
        last = start_epoch(log, log_id, remembered[1])
    _create_first_objects(log, edges or Edges())
    remember_log(data_dir, log_id, last)
    return log_id


def check_log(log: Log, data_dir: Path) -> None:
    """Refuse a log that is not the one this data directory knows; where it knows none, any will do. Changes nothing.

    Raises NotFound where there never was a log, LostHistory as `prepare_log` does.
    """
    remembered = _remembered(data_dir)
    _, last = _identified(log, data_dir, remembered)
    if remembered and not _holds(log, remembered[1]):
        raise _too_short(data_dir, last, remembered[1])


def remember_log(data_dir: Path, log_id: str, last: Position) -> None:
    """Write down which log this data directory follows, and how far it was seen; whole or not at all."""
    data_dir.mkdir(parents=True, exist_ok=True)
    draft = data_dir / f".{_MEMORY}"
    with open(draft, "wb") as file:
        file.write(orjson.dumps({"log": log_id, "seen": stream_id_of(last)}))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(data_dir / _MEMORY)


def known_log(data_dir: Path) -> str:
    """Return the id of the log that this data directory follows; empty where it knows none. Raises LostHistory."""
    remembered = _remembered(data_dir)
    return remembered[0] if remembered else ""


def remember_end(data_dir: Path, log_id: str, last: Position) -> None:
    """Move what this data directory has seen of its log forward; another log, or an earlier end, changes nothing."""
    remembered = _remembered(data_dir)
    if remembered is not None and remembered[0] == log_id and remembered[1] < last:
        remember_log(data_dir, log_id, last)


def _identified(log: Log, data_dir: Path, remembered: tuple[str, Position] | None) -> tuple[str, Position]:
    """Return a log's id and end. Raises NotFound where there never was one, LostHistory where it is not the one."""
    try:
        log_id = log.log_id()
    except NotFound:
        if not remembered:
            raise
        raise LostHistory(
            f"the log {remembered[0]} that {data_dir} remembers is gone from its server: put its files back, "
            f"or begin a new history in another directory (--data-dir)"
        ) from None
    if remembered and remembered[0] != log_id:
        raise LostHistory(
            f"the log's server holds log {log_id}, but {data_dir} remembers {remembered[0]}: name the right server "
            f"or put the right files back, or follow that log from another directory (--data-dir)"
        )
    return log_id, log.last()


def _holds(log: Log, seen: Position) -> bool:
    """Say whether the entry that was seen last is in the log: that it ends later does not mean that nothing is missing.

    A program that had not noticed may have appended to a log that was cut. What was
    seen before the log began is no part of it.
    """
    return bool(log.read(seen - 1, 1, seen)) or not log.read(0, 1, seen)


def _too_short(data_dir: Path, last: Position, seen: Position) -> LostHistory:
    return LostHistory(
        f"the log ends at {stream_id_of(last)}, but {data_dir} saw {stream_id_of(seen)} in it: acknowledged events "
        f"are missing; put the files back, or go on without them (up --accept-loss, init --accept-loss)",
        last,
    )


def _remembered(data_dir: Path) -> tuple[str, Position] | None:
    try:
        raw = orjson.loads((data_dir / _MEMORY).read_bytes())
        return str(raw["log"]), position_of(str(raw["seen"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise LostHistory(f"{data_dir / _MEMORY} cannot be read: {error}") from error


def _created(log: Log) -> str:
    try:
        log_id = log.create()
    except AlreadyExists:
        return log.log_id()
    _log.info("created a log", log=log_id, cluster=log.cluster)
    return log_id


def start_epoch(log: Log, log_id: str, seen: Position, restored_from: str = "") -> Position:
    """Append that events behind the log's end, up to `seen`, are lost and given up; return its position.

    `restored_from` is the name of the cluster whose backup this log was begun with again.
    """
    last, command, now = log.last(), uuid.uuid4().hex, wall_clock()
    restored = {"restored": restored_from} if restored_from else {}
    event = Event(
        position=0,
        key=LOG_KEY,
        type=EPOCH_TYPE,
        after=0,
        version=SCHEMA_VERSION,
        min_reader=READER_VERSION,
        op=EPOCH,
        uid=log_id,
        body={"end": stream_id_of(last), "seen": stream_id_of(seen), **restored},
        previous=0,
        at=now,
        actor=Actor("system:init"),
        cause=0,
        command=command,
        offset=0,
        size=1,
        guard="",
        derivation=0,
    )
    if not restored_from:
        _log.warning("going on without lost events", end=stream_id_of(last), seen=stream_id_of(seen))
    draft = Draft(LOG_KEY, EPOCH_TYPE, encode(event), ends=False)
    return log.append(Batch((draft,), {}, (), command, "", now)).last


def first_objects() -> dict[Key, Object]:
    """Return what a cluster begins with, by key: its namespaces, the system's priority classes, and a default class of
    volumes on its nodes."""
    manifests: list[Object] = [
        {"apiVersion": "v1", "kind": NAMESPACE.kind, "metadata": {"name": name}} for name in NAMESPACES
    ]
    manifests += map(_priority_class, SYSTEM_PRIORITIES)
    objects = [canonical(each).object for each in (*manifests, _LOCAL_CLASS)]
    return {key_of_object(each): each for each in objects}


_PRIORITIES = {
    "system-node-critical": "must not be moved from their current node.",
    "system-cluster-critical": "must run in the cluster, but can be moved to another node if necessary.",
}


def _priority_class(name: str) -> Object:
    return {
        "apiVersion": PRIORITY_CLASS.api_version,
        "kind": PRIORITY_CLASS.kind,
        "metadata": {"name": name},
        "value": SYSTEM_PRIORITIES[name],
        "description": f"Used for system critical pods that {_PRIORITIES[name]}",
    }


_LOCAL_CLASS: Object = {
    "apiVersion": STORAGE_CLASS.api_version,
    "kind": STORAGE_CLASS.kind,
    "metadata": {"name": LOCAL_CLASS, "annotations": {IS_DEFAULT: "true"}},
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
    "allowVolumeExpansion": True,
}


def _create_first_objects(log: Log, edges: Edges) -> None:
    wanted = first_objects()
    missing = [wanted[key] for key, head in log.heads(list(wanted)).items() if head == 0]
    if not missing:
        return
    committer = Committer(log, State(), lambda _: None, edges)
    proposal = Proposal([Create(each) for each in missing])
    committer.commit(lambda: proposal, Intent(Actor("system:init"), uuid.uuid4().hex))
