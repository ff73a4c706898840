"""One command's connections to its cluster, each made when it is first used."""

from __future__ import annotations

import os
import pwd
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.envelopes import Actor
from schemas.errors import BadRequest, LostHistory, Unavailable
from schemas.kinds import SECRET
from schemas.objects import Key, Object
from schemas.positions import Position, stream_id_of
from schemas.times import Milliseconds
from services.settings import Settings, joined, settings_from, socket_of

if TYPE_CHECKING:
    from events.archived_log import ArchivedLog
    from events.history import History
    from events.redis_log import RedisLog
    from events.secrets import Keyring
    from services.commands.execution import Executor
    from services.projections.reader import Views

PATIENCE = 10.0
"""Seconds that a command waits for a server that is away, and for the projections to catch up."""
NO_PATIENCE = 0.5
_SOON = 0.3
_LONGEST_NAME = 253
_WORKLOAD_CONTROLLERS = ("statefulset", "daemonset")


class Session:
    """What a command of a person reads from and writes to.

    What it needs is imported when it is used: on Tab and for --help nobody wants to wait for that. One without patience
    says soon that a server is away.
    """

    def __init__(self, settings: Settings, patient: bool = True) -> None:
        self.settings = settings
        self._patience = PATIENCE if patient else NO_PATIENCE
        self._retries = {} if patient else {"retries": 0}

    @cached_property
    def stream(self) -> RedisLog:
        """What the log's server holds of the log."""
        from events.redis_log import RedisLog
        from services.connections import connect

        client = connect(self.settings.log_url, "cli", retries=0)
        return RedisLog(client, self.settings.cluster, self._patience)

    @cached_property
    def log(self) -> ArchivedLog:
        """The whole log, wherever its older part is by now."""
        from services.archives import archived

        return archived(self.stream, self.settings)

    @cached_property
    def history(self) -> History:
        """What reads the past."""
        from services.archives import history_of

        return history_of(self.log, self.settings)

    @cached_property
    def views(self) -> Views:
        from services.connections import connect
        from services.projections.reader import Views

        queue = connect(self.settings.queue_url, "cli", **self._retries)
        apart = self.settings.views_url != self.settings.queue_url
        client = connect(self.settings.views_url, "cli", **self._retries) if apart else queue
        return Views(client, self.settings.cluster, queue)

    @cached_property
    def keyring(self) -> Keyring:
        from events.secrets import Keyring

        return Keyring(self.settings.keys_dir)

    @cached_property
    def sources(self) -> ViewsAndKeys:
        return ViewsAndKeys(self)

    @cached_property
    def executor(self) -> Executor:
        """Who carries this session's commands out."""
        from services.cli.executors import executor_of

        return executor_of(self.settings, self._on_log)

    def _on_log(self) -> Executor:
        from events.commit import Edges
        from services.commands.execution import LogExecutor

        return LogExecutor(self.log, self.sources, self.catch_up, Edges(seal=self._seal), self._digest)

    def catch_up(self, position: Position) -> None:
        """Wait until the projections show `position`; also while they are being built for the first time.

        Raises Unavailable, which says where they stand; LostHistory where they are of another log.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self.views.wait_for(position, _SOON):
                    return
                self._check_history()
                if self.views.wait_for(position, max(0.0, deadline - time.monotonic())):
                    return
                stand = stream_id_of(self.views.position())
                raise Unavailable(
                    f"the projections stand at {stand}, {stream_id_of(position)} was awaited for {PATIENCE:.0f} s: "
                    "is the projector running? chronoset doctor tells"
                )
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _check_history(self) -> None:
        projected, found = self.views.log_id(), self.log.log_id()
        if projected not in ("", found):
            raise LostHistory(
                f"the server holds log {found}, the projections are of log {projected}: name the right server, put the "
                "right files back, or give the projections up (chronoset projections rebuild)"
            )

    def waiting(self) -> Mapping[Key, str]:
        """Return what each StatefulSet and DaemonSet waits for, by its key."""
        found = self.views.waiting()
        return {
            key: each.text for (controller, key), each in found.items() if controller in _WORKLOAD_CONTROLLERS
        }

    def actor(self, claim: str) -> Actor:
        """Return who writes: this process' user on this host; what it calls itself is kept as a claim."""
        name = claim or os.environ.get("USER") or _user_name()
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise BadRequest(f"--actor: {name[:40]!r} is no name; write at most 253 printable characters")
        local = bool(socket_of(self.settings.log_url))
        return Actor(
            f"socket:{os.getuid()}@{socket.gethostname()}",
            "socket" if local else "none",
            f"user:{name.removeprefix('user:')}",
        )

    def _digest(self, content: bytes) -> str:
        return self.keyring.digest(content)

    def _seal(self, new: Object, old: Object | None) -> Object:
        return self.keyring.seal(new, old) if new["kind"] == SECRET.kind else new


class ViewsAndKeys:
    """The projections, and the keys that open Secrets, as services.commands.sources.Sources."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, key: Key) -> Object | None:
        return self._session.views.get(key)

    def list(self, resource: str, namespace: str = "") -> Sequence[Object]:
        return self._session.views.list(resource, namespace)

    def kept_revisions(self, uid: str) -> Sequence[Object]:
        return self._session.views.kept_revisions(uid)

    def kept_revision(self, uid: str, number: int) -> Object | None:
        return self._session.views.kept_revision(uid, number)

    def unseal(self, obj: Object) -> Object:
        return self._session.keyring.unseal(obj) if obj["kind"] == SECRET.kind else obj


def open_session(data_dir: Path | None) -> Session:
    """Return a session with the cluster that the environment or the data directory names.

    Raises NotFound where there is none, BadRequest where a variable is wrong.
    """
    return Session(joined(settings_from(os.environ, data_dir)))


def _user_name() -> str:
    """Return the name of this process' user; the number where the system knows none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def new_command_id() -> str:
    """Return an id for a command whose author gave none."""
    return uuid.uuid4().hex


def now_ms() -> Milliseconds:
    """Return the milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000
