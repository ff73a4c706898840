"""Watches under churn: what each is told, across its reconnects, is what the log says, once and in order."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from events.fold import apply, whole_batches
from events.replay import events_between, replay
from schemas.envelopes import Event
from schemas.objects import Object
from tests.services.api.apis import DEADLINE, AnApi, a_config_map, an_api

WRITERS = 3
WRITES = 60
"""Writes of each writer, of a seed."""
SPACES = ("default", "kube-public")
PATHS = {space: f"/api/v1/namespaces/{space}/configmaps" for space in SPACES}
EVERYWHERE = "/api/v1/configmaps"
Told = tuple[str, str, int, str]
"""Type, namespace and name, version, and what was in it."""


@dataclass
class Watching:
    """A client that follows one selection, and begins again where it was whenever its connection is gone.

    `complete` is the version up to which it has seen everything: that of the last batch but the one it stands in.
    """

    space: str
    label: str
    since: int
    chance: random.Random
    complete: int = 0
    told: list[Told] = field(default_factory=list)

    @property
    def path(self) -> str:
        path = PATHS[self.space] if self.space else EVERYWHERE
        selector = f"&labelSelector=side%3D{self.label}" if self.label else ""
        return f"{path}?watch=true{selector}&allowWatchBookmarks=true"

    def selects(self, obj: Object | None) -> bool:
        if obj is None or (self.space and obj["metadata"]["namespace"] != self.space):
            return False
        return not self.label or (obj["metadata"].get("labels") or {}).get("side") == self.label

    def follow(self, base: str, until: threading.Event) -> None:
        """Follow until the end is there and has been reached."""
        self.complete = self.since
        with httpx.Client(base_url=base, timeout=DEADLINE) as client:
            while not until.is_set():
                self._connect(client, self.chance.randrange(1, 25))
            self._connect(client, 1_000_000)

    def _connect(self, client: httpx.Client, most: int) -> None:
        begun: list[Told] = []
        url = f"{self.path}&resourceVersion={self.complete}&timeoutSeconds=1"
        with client.stream("GET", url) as response:
            for line in response.iter_lines():
                event = httpx.Response(200, content=line).json()
                assert event["type"] in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"), event
                version = int(event["object"]["metadata"]["resourceVersion"])
                if begun and version != begun[-1][2]:
                    self._settle(begun)
                if event["type"] != "BOOKMARK":
                    begun.append(_told(event["type"], event["object"], version))
                most -= 1
                if most <= 0:
                    return
        self._settle(begun)

    def _settle(self, begun: list[Told]) -> None:
        if begun:
            self.told += begun
            self.complete = begun[-1][2]
            begun.clear()


def _told(type_: str, obj: Object, version: int) -> Told:
    metadata = obj["metadata"]
    return type_, f"{metadata['namespace']}/{metadata['name']}", version, (obj.get("data") or {}).get("n", "")


def _expected(api: AnApi, watching: Watching) -> list[Told]:
    """Return what the log says that a watch should have been told."""
    found: list[Told] = []
    state = replay(api.log, watching.since)
    pending: list[Event] = []
    for event in events_between(api.log, watching.since, api.log.last()):
        pending.append(event)
        if not whole_batches(pending):
            continue
        end = pending[-1].position
        for each in pending:
            old = state.objects.get(each.key)
            apply(state, each)
            new = state.objects.get(each.key)
            if each.key.startswith("core/configmaps/"):
                found += _transition(watching, old, new, end)
        pending = []
    return found


def _transition(watching: Watching, old: Object | None, new: Object | None, version: int) -> Iterator[Told]:
    was, now = watching.selects(old), watching.selects(new)
    if now and new is not None:
        yield _told("MODIFIED" if was else "ADDED", new, version)
    elif was and old is not None:
        yield _told("DELETED", old, version)


def _write(base: str, seed: int) -> None:
    """Create, change, label and delete at random, one at a time and many at once."""
    chance = random.Random(seed)
    with httpx.Client(base_url=base, timeout=DEADLINE) as client:
        for number in range(WRITES):
            path = PATHS[chance.choice(SPACES)]
            name, side = f"c-{chance.randrange(8)}", chance.choice(("left", "right"))
            made: dict[str, Any] = a_config_map(name, n=f"{seed}-{number}")
            made["metadata"]["labels"] = {"side": side}
            match chance.randrange(10):
                case 0:
                    client.request("DELETE", f"{path}?labelSelector=side%3D{side}")
                case 1 | 2:
                    client.delete(f"{path}/{name}")
                case 3 | 4 | 5:
                    patch = {"metadata": {"labels": {"side": side}}}
                    headers = {"content-type": "application/merge-patch+json"}
                    client.patch(f"{path}/{name}", json=patch, headers=headers)
                case 6:
                    client.post(path, json=made)
                case _:
                    client.put(f"{path}/{name}", json=made)


@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))]
)
def test_every_watch_is_told_what_the_log_says(seed: int) -> None:
    chance = random.Random(seed)
    with an_api() as api:
        base, since, until = str(api.client.base_url), api.log.last(), threading.Event()
        watchings = [
            Watching(space, label, since, random.Random(chance.random()))
            for space in ("", *SPACES)
            for label in ("", "left", "right")
        ]
        following = [threading.Thread(target=each.follow, args=(base, until)) for each in watchings]
        writing = [threading.Thread(target=_write, args=(base, seed * 10 + each)) for each in range(WRITERS)]
        for thread in (*following, *writing):
            thread.start()
        for thread in writing:
            thread.join()
        until.set()
        for thread in following:
            thread.join(6 * DEADLINE)
            assert not thread.is_alive()
        for watching in watchings:
            expected = _expected(api, watching)
            assert expected
            assert watching.told == expected, (watching.space, watching.label)
