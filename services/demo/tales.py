"""What the log tells of sets' pods and of nodes, and what volumes tell of processes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schemas.daemon_pods import target_node_of
from schemas.envelopes import CREATE, DELETE, Event
from schemas.kinds import NODE, POD
from schemas.objects import Key, Object, labels_of, split_key, uid_of

ASKED, CREATED, READY = "asked to end", "created", "Ready"
_ENDED = ("PodSucceeded", "PodFailed")
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


@dataclass(frozen=True, slots=True)
class Daemon:
    """Which node a daemon's pod is for, and of which set it is (by its label `name`)."""

    node: str
    set: str


def daemons_in(events: Iterable[Event]) -> dict[str, Daemon]:
    """Return the daemons that were created, by uid."""
    created: list[Object] = [event.body for event in events if event.type == "PodCreated" and event.body]
    return {
        uid_of(pod): Daemon(node, labels_of(pod)["name"])
        for pod in created
        if "name" in labels_of(pod) and (node := target_node_of(pod))
    }


def tale_of_nodes(events: Iterable[Event], daemons: Mapping[str, Daemon]) -> dict[str, list[str]]:
    """Return what happened on each node, in order: to itself (`node Ready`), and to its daemons (`fluentd created`)."""
    told: dict[str, list[str]] = {}
    for event in events:
        resource, _, name = split_key(event.key)
        if resource == NODE.resource and event.type == "NodeReady":
            told.setdefault(name, []).append(f"node {READY}")
        elif event.type in _TOLD and (daemon := daemons.get(event.uid)):
            line = f"{daemon.set} {_TOLD[event.type]}"
            if line not in told.setdefault(daemon.node, []):
                told[daemon.node].append(line)
    return told


def tale_of_set(events: Iterable[Event], daemons: Mapping[str, Daemon], name: str) -> list[str]:
    """Return what happened to a set's daemons, by their nodes: `n1 asked to end`, `n1 created`, `n1 Ready`."""
    lines = [
        (event.uid, f"{daemon.node} {_TOLD[event.type]}")
        for event in events
        if event.type in _TOLD and (daemon := daemons.get(event.uid)) and daemon.set == name
    ]
    return [line for _, line in dict.fromkeys(lines)]


def rivals_of(events: Iterable[Event], daemons: Mapping[str, Daemon]) -> list[str]:
    """Return the nodes that had two daemons of one set at once: there must be none without surge.

    A pod that has ended runs no daemon, though it is there until its agent has confirmed that.
    """
    live: dict[Daemon, str] = {}
    rivals = []
    for event in events:
        daemon = daemons.get(event.uid)
        if daemon is None:
            continue
        if event.op == CREATE:
            if daemon in live:
                rivals.append(f"{daemon.set} on {daemon.node}")
            live[daemon] = event.uid
        elif (event.op == DELETE or event.type in _ENDED) and live.get(daemon) == event.uid:
            del live[daemon]
    return rivals


def _name_of(event: Event) -> str:
    return split_key(event.key)[2]
