"""How long pods took, from the log: created to Ready, asked to end to gone; and what was done twice. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from schemas.envelopes import CREATE, DELETE, Event
from schemas.kinds import CONTROLLER_REVISION, DAEMON_SET, POD
from schemas.objects import Key, Object, controller_of
from schemas.positions import Position
from services.loadtest.statistics import Moment

_PODS, _REVISIONS = f"{POD.resource}/", f"{CONTROLLER_REVISION.resource}/"
_READY, _ASKED = "PodReady", "PodDeletionRequested"


@dataclass(slots=True)
class Lifetimes:
    """What became of the pods of a log: (milliseconds since 1970, milliseconds it took), by the log server's clock."""

    ready: list[Moment] = field(default_factory=list)
    gone: list[Moment] = field(default_factory=list)


def lifetimes(events: Iterable[Event]) -> Lifetimes:
    """Return how long the pods took to be Ready, and to be gone."""
    found = Lifetimes()
    created: dict[Key, Position] = {}
    asked: dict[Key, Position] = {}
    for event in events:
        if not event.key.startswith(_PODS):
            continue
        at = event.position >> 20
        if event.op == CREATE:
            created[event.key] = at
        elif event.type == _READY and event.key in created:
            found.ready.append((at, at - created.pop(event.key)))
        elif event.type == _ASKED:
            asked.setdefault(event.key, at)
        if event.op == DELETE:
            created.pop(event.key, None)
            if event.key in asked:
                found.gone.append((at, at - asked.pop(event.key)))
    return found


def done_twice(events: Iterable[Event]) -> Iterator[str]:
    """Yield, a sentence each, what two workers have done that one should have.

    Two pods of one DaemonSet on one node at a time (without surge), two revisions of one number of one set.
    """
    nodes: dict[tuple[str, str], Key] = {}
    places: dict[Key, tuple[str, str]] = {}
    numbers: dict[str, set[int]] = defaultdict(set)
    for event in events:
        if event.key.startswith(_REVISIONS) and event.op == CREATE and event.body is not None:
            yield from _revision(event.key, event.body, numbers)
        elif event.key.startswith(_PODS):
            yield from _daemon(event, nodes, places)


def _revision(key: Key, body: Object, numbers: dict[str, set[int]]) -> Iterator[str]:
    owner, number = controller_of(body), int(body["revision"])
    uid = str(owner["uid"]) if owner else ""
    if number in numbers[uid]:
        yield f"{key} is a second revision {number} of its set"
    numbers[uid].add(number)


def _daemon(
    event: Event, nodes: dict[tuple[str, str], Key], places: dict[Key, tuple[str, str]]
) -> Iterator[str]:
    if event.op == CREATE and event.body is not None:
        owner = controller_of(event.body)
        if owner is None or owner["kind"] != DAEMON_SET.kind:
            return
        place = (str(owner["uid"]), _node_of(event.body))
        if place in nodes:
            yield f"{event.key} is a second pod of its DaemonSet on its node, beside {nodes[place]}"
        nodes[place] = event.key
        places[event.key] = place
    elif event.op == DELETE and event.key in places:
        nodes.pop(places.pop(event.key), None)


def _node_of(pod: Object) -> str:
    """Return the node that a daemon is made for: its affinity names it before it is bound."""
    spec = pod["spec"]
    if "nodeName" in spec:
        return str(spec["nodeName"])
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return str(required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])
