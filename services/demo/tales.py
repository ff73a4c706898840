"""What the log tells of a set's pods, and what volumes tell of its processes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from schemas.envelopes import CREATE, DELETE, Event
from schemas.kinds import POD
from schemas.objects import Key, split_key

ASKED, CREATED, READY = "asked to end", "created", "Ready"
_TOLD = {"PodDeletionRequested": ASKED, "PodCreated": CREATED, "PodReady": READY}


def tale_of(events: Iterable[Event]) -> list[str]:
    """Return what happened to pods, in order: `db-2 asked to end`, `db-2 created`, `db-2 Ready`.

    A pod that is Ready again, having been NotReady for a while, is told of once.
    """
    told = {
        (event.uid, event.type): f"{_name_of(event)} {_TOLD[event.type]}"
        for event in reversed([event for event in events if event.type in _TOLD])
    }
    return list(told.values())[::-1]


def started(*pods: str) -> list[str]:
    """Return the tale of pods that start one after the other, each Ready before the next is created."""
    return [f"{pod} {what}" for pod in pods for what in (CREATED, READY)]


def replaced(*pods: str) -> list[str]:
    """Return the tale of pods that are replaced one after the other."""
    return [f"{pod} {what}" for pod in pods for what in (ASKED, CREATED, READY)]


def askers_of(events: Iterable[Event]) -> dict[str, str]:
    """Return who asked each pod to end."""
    return {_name_of(event): str(event.actor) for event in events if event.type == "PodDeletionRequested"}


def types_by_people(events: Iterable[Event]) -> list[str]:
    """Return the types of the events that people, not programs, wrote."""
    return [event.type for event in events if event.actor.claim.startswith("user:")]


def twins_of(events: Iterable[Event]) -> list[str]:
    """Return the pods that were created while another one of their name existed: there must be none."""
    live: dict[Key, str] = {}
    twins = []
    for event in events:
        if not event.key.startswith(f"{POD.resource}/"):
            continue
        if event.op == CREATE and event.key in live:
            twins.append(_name_of(event))
        if event.op == CREATE:
            live[event.key] = event.uid
        elif event.op == DELETE:
            live.pop(event.key, None)
    return twins


def overlaps_of(journals: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the lines of journals that tell of two processes at once: there must be none.

    A journal's lines are `started VERSION UID` and `stopped VERSION UID`; each start but the first must come right
    after the end of the one before.
    """
    wrong = []
    for pod, lines in journals.items():
        running = ""
        for line in lines:
            what, _, who = line.partition(" ")
            if (what == "started") == bool(running) or (what == "stopped" and who != running):
                wrong.append(f"{pod}: {line}")
            running = who if what == "started" else ""
    return wrong


def _name_of(event: Event) -> str:
    return split_key(event.key)[2]
