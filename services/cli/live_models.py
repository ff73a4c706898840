"""What the live view shows, as values: workloads with their pods and revisions, the last events, and what is wrong.

Pure: made of a State that follows the log, what the workers say they wait for, and the record of the cluster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from events.replica import Applied
from events.state import State
from schemas.envelopes import LOG_KEY, UPDATE, Event
from schemas.event_types import condition_of
from schemas.kinds import CONTROLLER_REVISION, DAEMON_SET, NODE, POD, STATEFUL_SET
from schemas.objects import (
    Key,
    Object,
    controller_of,
    is_terminating,
    key_of_object,
    kind_of,
    labels_of,
    name_of,
    namespace_of,
    split_key,
    uid_of,
)
from schemas.pod_columns import pod_status
from schemas.positions import Position, time_of
from schemas.revisions import REVISION_LABEL, template_of
from services.cli.columns import in_order
from services.cli.shown_events import assignments, clock_time
from services.cli.tables import printable

RESOURCES = tuple(kind.resource for kind in (STATEFUL_SET, DAEMON_SET, POD, NODE, CONTROLLER_REVISION))
"""What has to be followed."""
EVENTS_KEPT = 200
CAUSES_KEPT = 2000


class Health(Enum):
    """What the colour-blind reader of a pod's sign is to know at a glance."""

    READY = "●"
    STARTING = "◐"
    PENDING = "○"
    FAILING = "✗"
    LEAVING = "◌"
    MISSING = "·"
    DONE = "■"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, or the place of one that is not there (MISSING). `place` is its ordinal, or its node's name."""

    place: str
    health: Health
    word: str = ""
    revision: str = ""
    node: str = ""
    address: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision that some pod has, or is to have: the update revision, the current one, both, or an older one."""

    name: str
    number: int
    images: str
    is_update: bool = False
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """A StatefulSet or DaemonSet. The numbers are its status'."""

    kind: str
    namespace: str
    name: str
    desired: int
    ready: int
    updated: int
    pods: tuple[Pod, ...]
    revisions: tuple[Revision, ...]
    waiting: str = ""
    leaving: bool = False

    @property
    def is_well(self) -> bool:
        """True where all pods are there, ready and of the update revision."""
        return self.ready == self.updated == self.desired == len(self.pods) and not self.leaving


@dataclass(frozen=True, slots=True)
class Happening:
    """An event in words."""

    at: str
    type: str
    subject: str
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Model:
    """All that is seen. `troubles` are sentences: servers that are away, programs that do not run."""

    title: str
    position: Position = 0
    nodes: int = 0
    nodes_ready: int = 0
    workloads: tuple[Workload, ...] = ()
    others: tuple[Pod, ...] = ()
    happenings: tuple[Happening, ...] = ()
    troubles: tuple[str, ...] = ()
    place: str = ""
    hint: str = ""


@dataclass(slots=True)
class Events:
    """The last events in words, each with the one that led to it where that is still known."""

    _happenings: deque[Happening] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    _causes: dict[Position, Event] = field(default_factory=dict)

    def add(self, applied: Iterable[Applied]) -> None:
        """Remember events."""
        for event in (each.event for each in applied):
            self._causes[event.position] = event
            if len(self._causes) > CAUSES_KEPT:
                del self._causes[next(iter(self._causes))]
            self._happenings.append(happening_of(event, self._causes))

    def last(self) -> tuple[Happening, ...]:
        """Return the events, oldest first."""
        return tuple(self._happenings)


def happening_of(event: Event, causes: Mapping[Position, Event]) -> Happening:
    """Return an event in words; `causes` are the events known by their position."""
    cause = causes.get(event.cause)
    if cause is not None:
        why = f"after {cause.type}" + ("" if cause.key == event.key else f" {_subject(cause.key)}")
    else:
        body = event.body if event.op == UPDATE and event.body else {}
        why = assignments({name: value for name, value in body.items() if name != "metadata"})
    kind, _, name = (event.actor.claim or event.actor.name).partition(":")
    at = clock_time(time_of(event.position))[11:23]
    return Happening(at, event.type, printable(_subject(event.key)), printable(name or kind), printable(why))


def model_of(title: str, state: State, waiting: Mapping[Key, str], events: Events) -> Model:
    """Return the model of a state; workloads by namespace and name, pods by ordinal or node."""
    sets = in_order(state.list(STATEFUL_SET.resource)) + in_order(state.list(DAEMON_SET.resource))
    nodes = state.list(NODE.resource)
    owners = {uid_of(each) for each in sets}
    loose = [pod for pod in state.list(POD.resource) if (controller_of(pod) or {}).get("uid") not in owners]
    return Model(
        title,
        state.position,
        len(nodes),
        sum(condition_of(node, "Ready") == "True" for node in nodes),
        tuple(_workload(state, each, waiting.get(key_of_object(each), "")) for each in sets),
        tuple(_pod(pod, name_of(pod)) for pod in in_order(loose)),
        events.last(),
    )


def _workload(state: State, obj: Object, waiting: str) -> Workload:
    owned = state.owned_by(uid_of(obj))
    pods = [each for each in owned if each["kind"] == POD.kind]
    status = obj.get("status") or {}
    if obj["kind"] == STATEFUL_SET.kind:
        desired, shown = int(obj["spec"].get("replicas", 1)), _by_ordinal(obj, pods)
        counts = int(status.get("readyReplicas", 0)), int(status.get("updatedReplicas", 0))
    else:
        desired, shown = int(status.get("desiredNumberScheduled", 0)), _by_node(pods)
        counts = int(status.get("numberReady", 0)), int(status.get("updatedNumberScheduled", 0))
    return Workload(
        kind_of(obj).singular,
        namespace_of(obj),
        name_of(obj),
        desired,
        *counts,
        shown,
        _revisions(obj, [each for each in owned if each["kind"] == CONTROLLER_REVISION.kind], shown),
        printable(waiting),
        is_terminating(obj),
    )


def _by_ordinal(obj: Object, pods: Sequence[Object]) -> tuple[Pod, ...]:
    spec = obj["spec"]
    start = int((spec.get("ordinals") or {}).get("start", 0))
    found = {_ordinal(name_of(pod)): pod for pod in pods}
    wanted = () if is_terminating(obj) else range(start, start + int(spec.get("replicas", 1)))
    return tuple(
        _pod(found[ordinal], str(ordinal)) if ordinal in found else Pod(str(ordinal), Health.MISSING)
        for ordinal in sorted({*wanted, *found})
    )


def _by_node(pods: Sequence[Object]) -> tuple[Pod, ...]:
    return tuple(_pod(pod, pod["spec"].get("nodeName", "") or name_of(pod)) for pod in in_order(pods))


def _pod(pod: Object, place: str) -> Pod:
    status = pod.get("status") or {}
    statuses = status.get("containerStatuses") or ()
    return Pod(
        place,
        health_of(pod),
        printable(pod_status(pod)),
        labels_of(pod).get(REVISION_LABEL, ""),
        pod["spec"].get("nodeName", ""),
        printable(str(status.get("podIP", ""))),
        sum(int(each.get("restartCount", 0)) for each in statuses),
    )


def health_of(pod: Object) -> Health:
    """Classify a pod."""
    if is_terminating(pod):
        return Health.LEAVING
    phase = (pod.get("status") or {}).get("phase", "Pending")
    if phase == "Succeeded":
        return Health.DONE
    if phase == "Failed" or _is_stuck(pod):
        return Health.FAILING
    if phase == "Running":
        return Health.READY if condition_of(pod, "Ready") == "True" else Health.STARTING
    return Health.PENDING


def _is_stuck(pod: Object) -> bool:
    """Say whether a container waits for something that does not come by itself."""
    status = pod.get("status") or {}
    reported = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    reasons = [((each.get("state") or {}).get("waiting") or {}).get("reason", "") for each in reported]
    return any("BackOff" in reason or "Err" in reason or reason == "InvalidImageName" for reason in reasons)


def _revisions(obj: Object, revisions: Sequence[Object], pods: Sequence[Pod]) -> tuple[Revision, ...]:
    """Return the revisions that matter now, the newest first, by the name that pods carry."""
    status = obj.get("status") or {}
    newest = max(revisions, key=lambda each: int(each["revision"]), default=None)
    is_set = obj["kind"] == STATEFUL_SET.kind
    update = (is_set and status.get("updateRevision")) or (newest and _label_of(newest, is_set)) or ""
    current = status.get("currentRevision", "")
    carried = {pod.revision for pod in pods}
    found = [
        Revision(
            name,
            int(each["revision"]),
            printable(",".join(one.get("image", "") for one in template_of(each)["spec"]["containers"])),
            name == update,
            name == current,
        )
        for each in revisions
        if (name := _label_of(each, is_set)) in carried or name in (update, current)
    ]
    return tuple(sorted(found, key=lambda revision: -revision.number))


def _label_of(revision: Object, of_a_set: bool) -> str:
    """Return what pods of the revision carry: its name, or the bare hash for a DaemonSet's."""
    return name_of(revision) if of_a_set else labels_of(revision).get(REVISION_LABEL, "")


def _ordinal(name: str) -> int:
    end = name.rpartition("-")[2]
    return int(end) if end.isdecimal() else -1


def _subject(key: Key) -> str:
    """Return `db-0`, or `other/db-0` outside the namespace `default`; its kind begins the event's type."""
    if key == LOG_KEY:
        return "the log"
    _, namespace, name = split_key(key)
    return f"{namespace}/{name}" if namespace not in ("", "default") else name
