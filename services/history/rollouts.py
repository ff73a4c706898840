"""Rollouts as they were: of which revision, by whom, which pods in which order, how long, and how each ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

from events.fold import apply
from events.state import State
from schemas.envelopes import Event
from schemas.event_types import condition_of
from schemas.kinds import CONTROLLER_REVISION, DAEMON_SET, POD, WORKLOADS
from schemas.objects import Key, Object, controller_of, is_terminating, labels_of, name_of, split_key, uid_of
from schemas.patching import strictly_equal
from schemas.positions import Position, time_of
from schemas.revisions import REVISION_LABEL, go_json, revision_data
from schemas.times import Milliseconds
from services.projections.rollouts import is_rolled_out

COMPLETE, SUPERSEDED, DELETED, RUNNING = "complete", "superseded", "deleted", "running"
_WORKLOADS = tuple(kind.resource for kind in WORKLOADS)


@dataclass(frozen=True, slots=True)
class RolledPod:
    """A pod that a rollout created; `ready` and `deleted` are 0 where it was not, while the rollout lasted."""

    name: str
    node: str
    created: Position
    ready: Position = 0
    deleted: Position = 0


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout of a workload.

    begun      the event with which it began: a template, or a partition or strategy that lets it go on
    what       created, template, or the change of the strategy that let it go on
    end        position at which it was complete, was superseded or lost its workload; 0 while it runs
    """

    key: Key
    begun: Event
    what: str
    revision: str
    number: int
    images: str
    outcome: str = RUNNING
    end: Position = 0
    pods: tuple[RolledPod, ...] = ()

    def duration(self, now: Milliseconds) -> Milliseconds:
        """Return how long it took, or has taken until now."""
        return (time_of(self.end) if self.end else now) - time_of(self.begun.position)


@dataclass(slots=True)
class _Observer:
    """The rollouts of a log while it is folded. Open ones by workload; those of a closed one are done."""

    open: dict[Key, Rollout] = field(default_factory=dict)
    done: list[Rollout] = field(default_factory=list)
    uids: dict[str, Key] = field(default_factory=dict)


def rollouts_of(state: State, events: Iterable[Event], wanted: frozenset[Key] = frozenset()) -> list[Rollout]:
    """Return the rollouts that began behind `state`, which is moved forward, oldest first; of all workloads or some.

    A rollout ends when `kubectl rollout status` would say so, by the event that made it so. What happens to its pods
    afterwards is not told.
    """
    seen = _Observer()
    for batch in _batches(events):
        moved = []
        for event in batch:
            old = state.objects.get(event.key)
            apply(state, event)
            moved.append((event, old, state.objects.get(event.key)))
        for event, old, new in moved:
            if event.key.count("/") < 2:
                continue
            resource = split_key(event.key)[0]
            if resource in _WORKLOADS and (not wanted or event.key in wanted):
                _see_workload(seen, state, event, old, new)
            elif resource == POD.resource:
                _see_pod(seen, event, old, new)
    return sorted([*seen.done, *seen.open.values()], key=lambda each: each.begun.position)


def _batches(events: Iterable[Event]) -> Iterator[list[Event]]:
    for _, batch in groupby(events, lambda event: event.resource_version):
        yield list(batch)


def _see_workload(
    seen: _Observer, state: State, event: Event, old: Object | None, new: Object | None
) -> None:
    key = event.key
    if new is None:
        assert old is not None
        seen.uids.pop(uid_of(old), None)
        _close(seen, key, DELETED, event.position)
        return
    seen.uids[uid_of(new)] = key
    what = _beginning(old, new)
    if what:
        _close(seen, key, SUPERSEDED, event.position)
        revision = _revision_of(state, new)
        images = ",".join(
            str(each.get("image", "")) for each in new["spec"]["template"]["spec"]["containers"]
        )
        name, number = (name_of(revision), int(revision["revision"])) if revision else ("", 0)
        seen.open[key] = Rollout(key, event, what, name, number, images)
    elif key in seen.open and is_rolled_out(new) and _is_settled(state, new, seen.open[key]):
        _close(seen, key, COMPLETE, event.position)


def _beginning(old: Object | None, new: Object) -> str:
    """Return what began a rollout; empty where nothing did."""
    if old is None:
        return "created"
    if not strictly_equal(old["spec"]["template"], new["spec"]["template"]):
        return "template"
    before, after = (_strategy(each) for each in (old, new))
    if before == after or _is_at_one_revision(new):
        return ""
    if before[1] != after[1]:
        return f"partition {before[1]} to {after[1]}"
    return f"strategy {before[0]} to {after[0]}"


def _is_settled(state: State, workload: Object, rollout: Rollout) -> bool:
    """Say whether no pod is still to be replaced: counts alone say so too early where a partition keeps old pods."""
    pods = [each for each in state.owned_by(uid_of(workload)) if each["kind"] == POD.kind]
    if any(map(is_terminating, pods)):
        return False
    kind, partition = _strategy(workload)
    if kind == "OnDelete":
        return True
    first = int((workload["spec"].get("ordinals") or {}).get("start", 0)) + partition
    due = [
        pod
        for pod in pods
        if workload["kind"] == DAEMON_SET.kind or int(name_of(pod).rpartition("-")[2]) >= first
    ]
    return all(_is_of(pod, rollout) for pod in due)


def _strategy(workload: Object) -> tuple[str, int]:
    strategy = workload["spec"].get("updateStrategy") or {}
    return strategy.get("type", ""), int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


def _is_at_one_revision(workload: Object) -> bool:
    status = workload.get("status") or {}
    if workload["kind"] == DAEMON_SET.kind:
        return bool(status.get("updatedNumberScheduled", 0) == status.get("desiredNumberScheduled", 0))
    return bool(status.get("currentRevision") == status.get("updateRevision"))


def _revision_of(state: State, workload: Object) -> Object | None:
    """Return the revision that holds the workload's template."""
    wanted = go_json(revision_data(workload)[0])
    found = [
        each
        for each in state.owned_by(uid_of(workload))
        if each["kind"] == CONTROLLER_REVISION.kind and go_json(each["data"]) == wanted
    ]
    return max(found, key=lambda each: int(each["revision"]), default=None)


def _close(seen: _Observer, key: Key, outcome: str, end: Position) -> None:
    rollout = seen.open.pop(key, None)
    if rollout is not None:
        seen.done.append(replace(rollout, outcome=outcome, end=end))


def _see_pod(seen: _Observer, event: Event, old: Object | None, new: Object | None) -> None:
    pod = new if new is not None else old
    assert pod is not None
    owner = controller_of(pod)
    rollout = seen.open.get(seen.uids.get(owner["uid"], "")) if owner else None
    if rollout is None or not _is_of(pod, rollout):
        return
    pods = {each.name: each for each in rollout.pods}
    name = name_of(pod)
    if old is None:
        pods.pop(name, None)
        pods[name] = RolledPod(name, pod["spec"].get("nodeName", ""), event.position)
    elif name in pods and new is None:
        pods[name] = replace(pods[name], deleted=event.position)
    elif name in pods and new is not None:
        ready = pods[name].ready or (event.position if condition_of(new, "Ready") == "True" else 0)
        pods[name] = replace(pods[name], node=new["spec"].get("nodeName", ""), ready=ready)
    assert owner is not None
    seen.open[rollout.key] = replace(rollout, pods=tuple(pods.values()))


def _is_of(pod: Object, rollout: Rollout) -> bool:
    """Say whether a pod is of a rollout's revision: pods carry its name, a DaemonSet's the hash that ends it."""
    label = labels_of(pod).get(REVISION_LABEL, "")
    return label == rollout.revision or (bool(label) and rollout.revision.endswith(f"-{label}"))
