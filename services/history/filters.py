"""Which events of the log somebody asks for: by whom, of what, of which type."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from schemas.envelopes import Event
from schemas.objects import split_key


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
        if not (self.resources or self.namespace or self.name):
            return True
        if event.key.count("/") < 2:
            return False
        resource, namespace, name = split_key(event.key)
        return (
            (not self.resources or resource in self.resources)
            and (not self.namespace or namespace == self.namespace)
            and (not self.name or fnmatchcase(name, self.name))
        )


def is_by(event: Event, who: str) -> bool:
    """Say whether an event is by an actor: by its name or what it calls itself, with `user:` or without."""
    known = {event.actor.name, event.actor.claim}
    known |= {name.removeprefix("user:") for name in known}
    return any(fnmatchcase(name, who) for name in known if name)


def is_by_a_person(event: Event) -> bool:
    """Say whether a person, or a program of theirs, wished for an event: no controller, no node."""
    return not event.actor.name.startswith(("controller:", "node:", "system:")) and not event.derivation
