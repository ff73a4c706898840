"""Makes views of DaemonSets at the cost of what has changed.

Looking at 5,000 nodes and pods takes longer than deciding about the one that changed, so a `Census` remembers what it
found of each for as long as they are the very same objects (an object is never edited in place), and places only those
anew that differ.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from events.state import Failure, State, daemon_place
from schemas.daemon_pods import target_node_of, with_tolerations
from schemas.kinds import CONTROLLER_REVISION, NODE, POD
from schemas.objects import Key, Object, controller_of, name_of
from schemas.selectors import Selector, selector_of
from schemas.times import Milliseconds
from schemas.views import DaemonSetView, PodView
from services.controllers.daemonset.placing import FITS, GONE, Fit, fit_of
from services.controllers.daemonset.view import Daemon, Place, Standing, View
from services.controllers.pods import available_at, is_failed, is_finished, is_ready, revision_of


@dataclass(slots=True)
class _Memory:
    """What was found for one set while what it asks was `asks`. Objects are known by their id, and so kept alive.

    owned        what has an owner reference to the set
    daemons      the pods among them that the set controls, selected or not
    revisions    the ControllerRevisions among them
    nodes        every node
    by_node      node -> its daemons; by_name: node -> the node as it is
    places       by the node's name, in that order
    """

    spec: Object
    asks: tuple[object, ...]
    template: Object
    selector: Selector
    owned: dict[int, Object] = field(default_factory=dict)
    daemons: dict[int, Daemon] = field(default_factory=dict)
    revisions: dict[int, Object] = field(default_factory=dict)
    strangers: dict[str, PodView] = field(default_factory=dict)
    nodes: dict[int, Object] = field(default_factory=dict)
    by_node: dict[str, dict[int, Daemon]] = field(default_factory=dict)
    by_name: dict[str, Object] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    unsettled: dict[str, Place] = field(default_factory=dict)
    standings: Counter[Standing] = field(default_factory=Counter)


class Census:
    """Makes views of states, and remembers what it found. It holds nothing that a state does not say."""

    def __init__(self) -> None:
        self._memories: dict[Key, _Memory] = {}

    def view_of(self, state: State, key: Key) -> View | None:
        """Return the view of a set, or None where there is none."""
        raw = state.get(key)
        if raw is None:
            self._memories.pop(key, None)
            return None
        owner = DaemonSetView(raw)
        memory = _memory_for(owner, self._memories.pop(key, None))
        _place_anew(memory, _changed_daemons(memory, state, owner) | _changed_nodes(memory, state))
        self._memories[key] = memory
        return View(
            owner=owner,
            places=dict(memory.places),
            standings=dict(memory.standings),
            unsettled=tuple(memory.unsettled[name] for name in sorted(memory.unsettled)),
            pods=tuple(obj for identity, obj in memory.owned.items() if identity in memory.daemons),
            strangers=tuple(memory.strangers[name] for name in sorted(memory.strangers)),
            orphans=tuple(map(PodView, state.orphans(POD.resource, owner.namespace))),
            revisions=tuple(_revisions(state, owner, memory)),
            failures=_failures(state, owner),
        )


def _memory_for(owner: DaemonSetView, known: _Memory | None) -> _Memory:
    """Return what was found before, or nothing where the set asks something else of nodes and pods than then."""
    spec = owner.raw["spec"]
    if known is not None and known.spec is spec:
        return known
    template = with_tolerations(owner.template["spec"])
    asks = (
        owner.uid,
        owner.selector,
        owner.min_ready_seconds,
        *(template.get(name) for name in ("nodeName", "nodeSelector", "affinity", "tolerations")),
    )
    if known is not None and known.asks == asks:
        known.spec = spec
        return known
    return _Memory(spec, asks, template, selector_of(owner.selector))


def _changed_daemons(memory: _Memory, state: State, owner: DaemonSetView) -> set[str]:
    """Bring the set's pods and revisions up to date; return the nodes of the pods that came, changed or went."""
    present = {id(obj): obj for obj in state.owned_by(owner.uid)}
    dirty: set[str] = set()
    for identity in memory.owned.keys() - present.keys():
        memory.revisions.pop(identity, None)
        daemon = memory.daemons.pop(identity, None)
        if daemon is None:
            continue
        memory.strangers.pop(daemon.name, None)
        if memory.by_node.get(daemon.node, {}).pop(identity, None) is not None:
            dirty.add(daemon.node)
    for identity in present.keys() - memory.owned.keys():
        obj = present[identity]
        if obj["kind"] == CONTROLLER_REVISION.kind:
            memory.revisions[identity] = obj
        elif obj["kind"] == POD.kind and (controller_of(obj) or {}).get("uid") == owner.uid:
            daemon = memory.daemons[identity] = _daemon_of(obj, owner.min_ready_seconds)
            if not memory.selector.matches(daemon.pod.labels):
                memory.strangers[daemon.name] = daemon.pod
            elif daemon.node:
                memory.by_node.setdefault(daemon.node, {})[identity] = daemon
                dirty.add(daemon.node)
    memory.owned = present
    return dirty


def _changed_nodes(memory: _Memory, state: State) -> set[str]:
    """Bring the nodes up to date; return the names of those that came, changed or went."""
    present = {id(node): node for node in state.list(NODE.resource)}
    gone = {name_of(memory.nodes[identity]) for identity in memory.nodes.keys() - present.keys()}
    fresh = {name_of(node): node for node in map(present.get, present.keys() - memory.nodes.keys()) if node}
    for name in gone:
        memory.by_name.pop(name, None)
    memory.by_name |= fresh
    memory.nodes = present
    return gone | fresh.keys()


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


def _revisions(state: State, owner: DaemonSetView, memory: _Memory) -> list[Object]:
    """Return the set's revisions and those of nobody; all of the namespace where a new one's name may be taken."""
    own = [*state.orphans(CONTROLLER_REVISION.resource, owner.namespace), *memory.revisions.values()]
    present = {**owner.template, "$patch": "replace"}
    if any(each["data"]["spec"]["template"] == present for each in own):
        return own
    return state.list(CONTROLLER_REVISION.resource, owner.namespace)


def _failures(state: State, owner: DaemonSetView) -> dict[str, Failure]:
    prefix = daemon_place("")
    return {
        place.removeprefix(prefix): failure
        for (uid, place), failure in state.failures.items()
        if uid == owner.uid and failure.generation == owner.generation
    }
