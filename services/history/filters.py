"""Which events of the log somebody asks for: by whom, of what, of which type."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from schemas.envelopes import Event
from schemas.objects import Key, split_key


@dataclass(frozen=True, slots=True)
class Filter:
    """What events must be like; an empty part asks for nothing. Types and names may hold `*`.

    actor     `alice`, `user:alice`, `controller:statefulset`, `node:n1`, `node:*`: as it was known, or calls itself
    """

    actor: str = ""
    resources: frozenset[str] = frozenset()
    type: str = ""
    namespace: str = ""
    name: str = ""
    people_only: bool = False

    def matches(self, event: Event) -> bool:
        """Say whether an event is asked for."""
        if self.people_only and not is_by_a_person(event):
            return False
        if self.actor and not is_by(event, self.actor):
            return False
        if self.type and not fnmatchcase(event.type, self.type):
            return False
        return self.has_key(event.key)

    def has_key(self, key: Key) -> bool:
        """Say whether the events of an object may be asked for."""
        if not (self.resources or self.namespace or self.name):
            return True
        if key.count("/") < 2:
            return False
        resource, namespace, name = split_key(key)
        return (
            (not self.resources or resource in self.resources)
            and (not self.namespace or namespace == self.namespace)
            and (not self.name or fnmatchcase(name, self.name))
        )

    def has_actor(self, name: str) -> bool:
        """Say whether events of an actor, by its name, may be asked for: people may call themselves otherwise."""
        if _is_a_program(name):
            return not self.people_only and (not self.actor or _is_called(name, self.actor))
        return True


def is_by(event: Event, who: str) -> bool:
    """Say whether an event is by an actor: by its name or what it calls itself, with `user:` or without."""
    return any(_is_called(name, who) for name in (event.actor.name, event.actor.claim) if name)


def is_by_a_person(event: Event) -> bool:
    """Say whether a person, or a program of theirs, wished for an event: no controller, no node."""
    return not _is_a_program(event.actor.name) and not event.derivation


def _is_called(name: str, who: str) -> bool:
    return fnmatchcase(name, who) or fnmatchcase(name.removeprefix("user:"), who)


def _is_a_program(name: str) -> bool:
    """Say whether an actor is a controller, a node or the system itself; these have no claims."""
    return name.startswith(("controller:", "node:", "system:"))
