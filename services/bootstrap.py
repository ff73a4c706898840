"""What must be there before the first program runs: the log this data directory knows, and the first namespaces.

Only here is a log created, and only where there never was one: a log that is gone where this data directory remembers
one is lost history, not a fresh start.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import orjson
import structlog
from schemas.canonical import canonical

from events.commit import Committer, Edges, Intent, Proposal
from events.log import Log
from events.state import State
from schemas.changes import Create
from schemas.envelopes import Actor
from schemas.errors import AlreadyExists, LostHistory, NotFound
from schemas.kinds import NAMESPACE
from schemas.objects import Object, key_of
from schemas.positions import Position, position_of, stream_id_of

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
"""The namespaces every cluster begins with (kubernetes.io, "Initial namespaces")."""
_MEMORY = "log.json"

_log = structlog.get_logger()


def prepare_log(log: Log, data_dir: Path, edges: Edges | None = None) -> str:
    """Make sure that the log is the one this data directory knows, or create it; return its id.

    Raises LostHistory where the log is gone, another one, or ends before what was seen of it.
    """
    remembered = _remembered(data_dir)
    try:
        log_id = log.log_id()
    except NotFound:
        if remembered:
            raise LostHistory(
                f"the log {remembered[0]} that {data_dir} remembers is gone from its server: restore it, "
                f"or delete {data_dir / _MEMORY} to begin a new history"
            ) from None
        log_id = _created(log)
    last = log.last()
    if remembered and remembered[0] != log_id:
        raise LostHistory(
            f"the log's server holds log {log_id}, but {data_dir} remembers {remembered[0]}: "
            f"point it at the right server, or delete {data_dir / _MEMORY} to follow this one"
        )
    if remembered and last < remembered[1]:
        raise LostHistory(
            f"the log ends at {stream_id_of(last)}, but {data_dir} saw it at {stream_id_of(remembered[1])}: "
            f"acknowledged events are missing; restore them, or delete {data_dir / _MEMORY} to go on without",
            last,
        )
    _create_namespaces(log, edges or Edges())
    remember_log(data_dir, log_id, last)
    return log_id


def remember_log(data_dir: Path, log_id: str, last: Position) -> None:
    """Write down which log this data directory follows, and how far it was seen; whole or not at all."""
    data_dir.mkdir(parents=True, exist_ok=True)
    draft = data_dir / f".{_MEMORY}"
    draft.write_bytes(orjson.dumps({"log": log_id, "seen": stream_id_of(last)}))
    draft.replace(data_dir / _MEMORY)


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


def _create_namespaces(log: Log, edges: Edges) -> None:
    keys = {key_of(NAMESPACE.resource, "", name): name for name in NAMESPACES}
    missing = [keys[key] for key, head in log.heads(list(keys)).items() if head == 0]
    if not missing:
        return
    committer = Committer(log, State(), lambda _: None, edges)
    proposal = Proposal([Create(_namespace(name)) for name in missing])
    committer.commit(lambda: proposal, Intent(Actor("system:init"), uuid.uuid4().hex))


def _namespace(name: str) -> Object:
    return canonical({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).object
