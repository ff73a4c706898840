"""An API that knows its users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from events.commit import Committer, Edges, Intent, Proposal
from events.replay import replay
from schemas.canonical import canonical
from schemas.changes import Create
from schemas.envelopes import Actor
from services.api.identity.tokens import new_token, secret_of
from services.cli.kubeconfigs import Wish, binding_of
from tests.services.api.apis import DEADLINE, AnApi


@dataclass
class World:
    """An API whose users have tokens."""

    api: AnApi
    tokens: dict[str, str] = field(default_factory=dict)

    def token(self, user: str, groups: tuple[str, ...] = (), role: str = "", namespace: str = "") -> str:
        """Return a user's token, made with a role where there is none yet."""
        if user not in self.tokens:
            self.tokens[user] = token = new_token()
            objects = [secret_of(token, user, groups, 0)]
            objects += [binding_of(Wish(user, groups, role, namespace, 0))] if role else []
            self.write(lambda: [Create(canonical(obj).object) for obj in objects])
            self.settle()
        return self.tokens[user]

    def write(self, changes: Callable[[], list[Any]]) -> None:
        """Commit changes beside the API."""
        log = self.api.log
        committer = Committer(log, replay(log, log.last()), lambda _: None, Edges())
        committer.commit(lambda: Proposal(changes()), Intent(Actor("socket:0@here"), f"c{log.last()}"))

    def settle(self) -> None:
        """Let the server be where the log is: what somebody may is decided by what it knows at the moment."""
        assert self.api.server.replica.wait_for(self.api.log.last(), DEADLINE)

    def ask(self, user: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Return code and body of the answer to a user."""
        response = self.api.ask(method, path, body, authorization=f"Bearer {self.token(user)}", **headers)
        return response.status_code, response.json()
