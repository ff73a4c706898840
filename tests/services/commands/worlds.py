"""What commands are decided upon, and carried out on: a State, and a log in memory."""

from __future__ import annotations

from collections.abc import Sequence

from events.commit import Edges
from events.memory import MemoryLog
from events.replay import replay
from events.state import State
from schemas.canonical import canonical
from schemas.envelopes import Actor
from schemas.kinds import STATEFUL_SET
from schemas.objects import Object, key_of, uid_of
from schemas.positions import Position
from services.bootstrap import NAMESPACES
from services.commands.commands import Apply, Command
from services.commands.execution import LogExecutor, Outcome

DB = key_of(STATEFUL_SET.resource, "default", "db")
ALICE = Actor("socket:0@host", "socket", "user:alice")
NOON = 1_795_435_200_000


def a_manifest(image: str = "mysql:5.7.2", name: str = "db", **spec: object) -> Object:
    """A StatefulSet as its author writes it."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "serviceName": name,
            "replicas": 3,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "db", "image": image}]},
            },
            **spec,
        },
    }


def a_stored_set(**spec: object) -> Object:
    """A StatefulSet as the log keeps it."""
    stored = canonical(a_manifest(**spec)).object  # type: ignore[arg-type]
    metadata = {**stored["metadata"], "uid": "u1", "resourceVersion": "7", "generation": 1}
    return {**stored, "metadata": {**metadata, "creationTimestamp": "2026-01-01T00:00:00Z"}}


class Known:
    """A State, and the revisions that were truncated, as Sources."""

    def __init__(self, state: State, truncated: Sequence[Object] = ()) -> None:
        self.state = state
        self._truncated = list(truncated)

    def get(self, key: str) -> Object | None:
        return self.state.get(key)

    def list(self, resource: str, namespace: str = "") -> Sequence[Object]:
        return self.state.list(resource, namespace)

    def kept_revisions(self, uid: str) -> Sequence[Object]:
        mine = [*self.state.list("apps/controllerrevisions"), *self._truncated]
        return sorted(
            (each for each in mine if each["metadata"]["ownerReferences"][0]["uid"] == uid),
            key=lambda each: int(each["revision"]),
        )

    def kept_revision(self, uid: str, number: int) -> Object | None:
        return next((each for each in self._truncated if each["revision"] == number), None)

    def unseal(self, obj: Object) -> Object:
        return obj


class World:
    """A log in memory with the first namespaces, and who carries commands out on it."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.log.create()
        self.known = Known(replay(self.log, self.log.last()))
        self.executor = LogExecutor(self.log, self.known, self._catch_up, Edges())
        for name in NAMESPACES:
            self.run_manifest({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def run(self, command: Command, command_id: str = "") -> Outcome:
        """Carry a command out as alice."""
        return self.executor.execute(command, ALICE, command_id or f"c{self.log.last()}")

    def another_executor(self) -> LogExecutor:
        """Return who carries out the commands of another program on the same log."""
        known = Known(replay(self.log, self.log.last()))
        return LogExecutor(
            self.log, known, lambda position: setattr(known, "state", replay(self.log, position))
        )

    def run_manifest(self, manifest: Object) -> Outcome:
        return self.run(Apply(manifest))

    def object(self, key: str = DB) -> Object:
        """Return what the log now says of an object."""
        found = replay(self.log, self.log.last()).get(key)
        assert found is not None
        return found

    def revisions(self) -> dict[int, str]:
        """Return the image of each ControllerRevision by its number."""
        found = replay(self.log, self.log.last()).list("apps/controllerrevisions")
        return {
            each["revision"]: each["data"]["spec"]["template"]["spec"]["containers"][0]["image"]
            for each in found
        }

    def uid(self) -> str:
        return uid_of(self.object())

    def _catch_up(self, position: Position) -> None:
        self.known.state = replay(self.log, position)
