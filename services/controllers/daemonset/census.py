"""Makes views of DaemonSets at the cost of what has changed.

A `Census` remembers what it found and places only those pods and nodes anew that have changed since (Holdings,
State.moved_since).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from events.state import Failure, State, daemon_place
from schemas.daemon_pods import target_node_of, with_tolerations
from schemas.kinds import NODE, POD
from schemas.objects import Key, Object, key_of
from schemas.selectors import Selector, selector_of
from schemas.times import Milliseconds
from schemas.views import DaemonSetView, PodView
from services.controllers.daemonset.placing import FITS, GONE, Fit, fit_of
from services.controllers.daemonset.view import Daemon, Place, Standing, View
from services.controllers.holdings import Holdings, Pods
from services.controllers.pods import available_at, is_failed, is_finished, is_ready, revision_of


@dataclass(slots=True)
class _Memory:
    """What was found for one set.

    moved        when the State was asked for the nodes last
    daemons      the pods that the set controls, selected or not; `pods` are the same, raw
    by_node      node -> its daemons; by_name: node -> the node as it is
    places       by the node's name, in that order
    """

    template: Object
    selector: Selector
    moved: int = 0
    daemons: dict[Key, Daemon] = field(default_factory=dict)
    pods: dict[Key, Object] = field(default_factory=dict)
    strangers: dict[str, PodView] = field(default_factory=dict)
    by_node: dict[str, dict[Key, Daemon]] = field(default_factory=dict)
    by_name: dict[str, Object] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    unsettled: dict[str, Place] = field(default_factory=dict)
    standings: Counter[Standing] = field(default_factory=Counter)


class Census:
    """Makes views of states, and remembers what it found. It holds nothing that a state does not say."""

    def __init__(self) -> None:
        self._holdings = Holdings(_asks, _nothing_known, _update)

    def view_of(self, state: State, key: Key) -> View | None:
        """Return the view of a set, or None where there is none."""
        raw = state.get(key)
        if raw is None:
            self._holdings.forget(key)
            return None
        owner = DaemonSetView(raw)
        memory, revisions = self._holdings.of(state, key, owner)
        return View(
            owner=owner,
            places=dict(memory.places),
            standings=dict(memory.standings),
            unsettled=tuple(memory.unsettled[name] for name in sorted(memory.unsettled)),
            pods=tuple(memory.pods.values()),
            strangers=tuple(memory.strangers[name] for name in sorted(memory.strangers)),
            orphans=tuple(map(PodView, state.orphans(POD.resource, owner.namespace))),
            revisions=tuple(revisions),
            failures=_failures(state, owner),
        )


def _asks(owner: DaemonSetView) -> tuple[object, ...]:
    template = with_tolerations(owner.template["spec"])
    return (
        owner.uid,
        owner.selector,
        owner.min_ready_seconds,
        *(template.get(name) for name in ("nodeName", "nodeSelector", "affinity", "tolerations")),
    )


def _nothing_known(owner: DaemonSetView) -> _Memory:
    return _Memory(with_tolerations(owner.template["spec"]), selector_of(owner.selector))


def _update(memory: _Memory, state: State, owner: DaemonSetView, pods: Pods) -> None:
    _place_anew(memory, _changed_daemons(memory, owner, pods) | _changed_nodes(memory, state))


def _changed_daemons(memory: _Memory, owner: DaemonSetView, pods: Pods) -> set[str]:
    """Take the pods in as they are; return their nodes, those where they were too."""
    dirty: set[str] = set()
    for key, raw in pods:
        memory.pods.pop(key, None)
        old = memory.daemons.pop(key, None)
        if old is not None:
            memory.strangers.pop(old.name, None)
            if memory.by_node.get(old.node, {}).pop(key, None) is not None:
                dirty.add(old.node)
        if raw is not None:
            daemon = memory.daemons[key] = _daemon_of(raw, owner.min_ready_seconds)
            memory.pods[key] = raw
            if not memory.selector.matches(daemon.pod.labels):
                memory.strangers[daemon.name] = daemon.pod
            elif daemon.node:
                memory.by_node.setdefault(daemon.node, {})[key] = daemon
                dirty.add(daemon.node)
    return dirty


def _changed_nodes(memory: _Memory, state: State) -> set[str]:
    """Bring the nodes up to date; return the names of those that came, changed or went."""
    memory.moved, moved = state.moved_since(memory.moved)
    changed: set[str] = set()
    for name in moved:
        node = state.get(key_of(NODE.resource, "", name))
        if node is memory.by_name.get(name):
            continue
        changed.add(name)
        if node is None:
            del memory.by_name[name]
        else:
            memory.by_name[name] = node
    return changed


def _place_anew(memory: _Memory, dirty: set[str]) -> None:
    """Put the pods of the `dirty` nodes into their places."""
    joined = False
    for name in dirty:
        before = memory.places.get(name)
        if before is not None and before.node is not None:
            memory.standings[before.standing] -= 1
            if not memory.standings[before.standing]:
                del memory.standings[before.standing]
        memory.unsettled.pop(name, None)
        here, node = memory.by_node.get(name), memory.by_name.get(name)
        if not here:
            memory.by_node.pop(name, None)
        if node is None and not here:
            memory.places.pop(name, None)
            continue
        joined = joined or before is None
        place = memory.places[name] = _place_of(memory, name, node, before)
        if node is not None:
            memory.standings[place.standing] += 1
        if not _is_settled(place):
            memory.unsettled[name] = place
    if joined:
        memory.places = dict(sorted(memory.places.items()))


def _place_of(memory: _Memory, name: str, node: Object | None, before: Place | None) -> Place:
    if node is None:
        fit = GONE
    elif before is not None and before.node is node:
        fit = before.fit
    else:
        fit = fit_of(memory.template, node)
    here = memory.by_node.get(name, {}).values()
    daemons = tuple(sorted((each for each in here if not _is_over(each)), key=_age))
    return Place(name, node, fit, daemons, _is_calm(fit, daemons))


def _is_over(daemon: Daemon) -> bool:
    """True for a pod that has ended and only waits for a finalizer: it is in nobody's way."""
    return daemon.is_finished and daemon.is_terminating


def _is_calm(fit: Fit, daemons: tuple[Daemon, ...]) -> bool:
    if not daemons:
        return not fit.runs
    return fit.stays and len(daemons) == 1 and not (daemons[0].is_terminating or daemons[0].is_finished)


def _is_settled(place: Place) -> bool:
    """True where there is nothing to do or to wait for, whatever time it is."""
    if not place.is_calm:
        return False
    return not place.daemons or (place.fit is FITS and place.daemons[0].available_at == 0)


def _age(daemon: Daemon) -> tuple[bool, Milliseconds, str]:
    """Scheduled before unscheduled, the oldest first, then by name (podByCreationTimestampAndPhase)."""
    return not daemon.is_scheduled, daemon.created_at, daemon.name


def _daemon_of(obj: Object, min_ready_seconds: int) -> Daemon:
    pod = PodView(obj)
    return Daemon(
        pod=pod,
        node=target_node_of(obj),
        revision=revision_of(pod),
        is_scheduled=bool(pod.node),
        is_ready=is_ready(pod),
        is_terminating=pod.is_terminating,
        is_failed=is_failed(pod),
        is_finished=is_finished(pod),
        created_at=pod.created_at,
        available_at=available_at(pod, min_ready_seconds),
    )


def _failures(state: State, owner: DaemonSetView) -> dict[str, Failure]:
    prefix = daemon_place("")
    return {
        place.removeprefix(prefix): failure
        for (uid, place), failure in state.failures.items()
        if uid == owner.uid and failure.generation == owner.generation
    }
