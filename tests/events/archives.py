"""Histories long enough to be sealed, archives in folders, and writers that die at a chosen step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from events.archive import Archive
from events.archive_index import ArchiveIndex
from events.archived_log import ArchivedLog
from events.codec import Entry
from events.history import History
from events.log import Log, Sealable
from events.sealing import Limits, Sealer
from events.state import Facts, State
from events.stores import Folder
from schemas.changes import Create, Delete, Replace
from schemas.objects import with_fields
from tests.events.worlds import World, a_bare_pod, a_statefulset, with_image

LATER = 1 << 45
"""A time at which every entry is old."""
SMALL = Limits(segment_events=20, segment_age=0, stream_events=10)
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
WEB = "apps/statefulsets/default/web"


def pod_key(number: int) -> str:
    return f"core/pods/default/web-{number}"


def a_long_history(log: Log | None = None, rounds: int = 20) -> World:
    """Return a world with some 5 events a round: batches of several, updates, deletes, objects that come back."""
    world = World(log)
    world.commit(Create(a_statefulset()))
    for number in range(rounds):
        world.commit(*(Create(a_bare_pod(f"web-{number}-{each}")) for each in range(2)))
        pod = world.the(pod_key_of(number))
        world.commit(Replace(pod, with_fields(pod, status=READY)))
        world.commit(Delete(world.the(pod_key_of(number))))
        old = world.the(WEB)
        world.commit(Replace(old, with_image(old, f"web:{number + 2}")))
    return world


def pod_key_of(number: int) -> str:
    return pod_key(number) + "-0"


def all_entries(log: Log) -> list[Entry]:
    found: list[Entry] = []
    while chunk := log.read(found[-1].position if found else 0, 7):
        found += chunk
    return found


def archived(log: Sealable, folder: Path) -> ArchivedLog:
    return ArchivedLog(log, Archive(Folder(folder), lambda: log.sealed().manifest))


def a_history(log: Sealable, folder: Path) -> History:
    return History(archived(log, folder), ArchiveIndex(folder / "index.sqlite"))


def a_sealer(log: Sealable, folder: Path, limits: Limits = SMALL) -> Sealer:
    sealer = Sealer(log, Folder(folder), limits, ArchiveIndex(folder / "index.sqlite"))
    sealer.open()
    return sealer


def facts_of(state: State) -> dict[str, Any]:
    """Return all that a state holds, its indexes too; not what it says to those who follow this very one."""
    own = ("_moved", "_moves", "_by_owner")
    names = (*Facts.__slots__, *State.__slots__)
    facts = {name: getattr(state, name) for name in names if name not in own}
    return {**facts, "_by_owner": {uid: set(owned) for uid, owned in state._by_owner.items()}}


class Death(BaseException):
    """The writer's process ends here."""


class Doom:
    """Lets so many steps happen; the one after dies, before or after it has had its effect."""

    def __init__(self, steps: int, after: bool) -> None:
        self.left = steps
        self.after = after
        self.struck = False

    def bind(self, thing: Any, *names: str) -> Any:
        """Return `thing`, each of whose methods `names` is a step."""
        for name in names:
            setattr(thing, name, self._wrapped(getattr(thing, name)))
        return thing

    def _wrapped(self, method: Any) -> Any:
        def step(*args: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                self.struck = True
                if self.after:
                    method(*args)
                raise Death
            return method(*args)

        return step
