"""What the scheduler knows of the nodes: what each offers and what its pods leave free.

Counting 50,000 pods takes longer than placing 300, and looking at 10,000 nodes longer than placing one: a census
counts only those anew on which something has changed, as the State tells (State.moved_since).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from events.state import State
from schemas.demands import shares_address
from schemas.kinds import CLAIM, NODE, STORAGE_CLASS, VOLUME
from schemas.objects import (
    Key,
    Object,
    controller_of,
    has_ended,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
)
from schemas.storage import (
    HOSTNAME,
    OPEN_CLAIMS,
    PROVISIONER,
    STORAGE,
    UNCLAIMED_VOLUMES,
    capacity_of,
    default_class,
    is_grown,
    named_class,
    volumes_at,
    waits_for_consumer,
)
from schemas.taints import HARD, SOFT, is_cordoned, taints_of
from services.scheduler.requirements import Amounts, Port, all_ports_of, amounts_of, ports_of, requests_of

_SCORED = ("cpu", "memory", "pods")
_ENDLESS = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class NodeView:
    """A node as the scheduler sees it.

    is_open       whether it takes any pod as far as taints and cordons go
    load          the sum of the shares taken of cpu, memory and pods
    controllers   uid of a controller -> how many of its pods run here
    shares_address  whether its pods have its own address, so that all their ports are its own
    """

    name: str
    node: Object
    hard_taints: tuple[Object, ...]
    soft_taints: tuple[Object, ...]
    allocatable: Amounts
    free: Amounts
    ports: frozenset[Port]
    load: float
    controllers: Mapping[str, int]
    is_open: bool = False
    shares_address: bool = False


@dataclass(frozen=True, slots=True)
class ClusterView:
    """All that one scheduling decision rests on.

    nodes     in the order of their names
    by_load   (load, name) of the open nodes (NodeView.is_open), least loaded first
    closed    the names of the others
    pending   the pods to place, in the order in which they are placed
    spread    uid of a controller -> node -> how many of its pods run there; for the controllers of pending pods
    claims    the claims that pending pods name, by key, where they exist
    volumes   the volumes that these claims name or would get, by name, where they exist; also those of `growing`
    classes   the storage classes, by name
    made      the volumes that no claim has yet
    eager     the claims that get a volume without waiting for a pod
    growing   the bound claims that ask for more than they have
    """

    nodes: tuple[NodeView, ...]
    by_load: tuple[tuple[float, str], ...]
    closed: tuple[str, ...]
    pending: tuple[Object, ...]
    spread: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    claims: Mapping[Key, Object] = field(default_factory=dict)
    volumes: Mapping[str, Object] = field(default_factory=dict)
    classes: Mapping[str, Object] = field(default_factory=dict)
    made: tuple[Object, ...] = ()
    eager: tuple[Object, ...] = ()
    growing: tuple[Object, ...] = ()


class Census:
    """Makes views of states, and remembers what it counted. It holds nothing that a state does not say.

    _views   the nodes by name; _order: in the order of their names, None when that is to be made anew
    _spread  uid of a controller -> node -> how many of its pods run there
    _hosts   a host's mark -> the nodes of that host
    _by_load (load, name) of the open nodes, in that order; _closed: the others' names
    """

    def __init__(self) -> None:
        self._start(State())

    def view_of(self, state: State, _key: Key) -> ClusterView | None:
        """Return what to decide on, or None where no pod waits for a node and no claim for room."""
        pending = sorted((pod for pod in state.pods_on("") if is_pending(pod)), key=_turn_of)
        eager, growing = _claims_waiting(state)
        if not pending and not eager and not growing:
            return None
        claims = {key: claim for pod in pending for key in claim_keys_of(pod) if (claim := state.get(key))}
        names = {volume_name_of(claim) for claim in (*claims.values(), *eager, *growing)}
        nodes = self._nodes(state)
        controllers = {uid for pod in pending if (uid := controller_uid_of(pod))}
        return ClusterView(
            nodes=nodes,
            by_load=tuple(self._by_load),
            closed=tuple(sorted(self._closed)),
            pending=tuple(pending),
            spread={uid: dict(self._spread.get(uid, {})) for uid in controllers},
            claims=claims,
            volumes={
                name: volume for name in names if (volume := state.get(key_of(VOLUME.resource, "", name)))
            },
            classes={name_of(each): each for each in state.list(STORAGE_CLASS.resource)},
            made=tuple(state.marked(UNCLAIMED_VOLUMES)),
            eager=eager,
            growing=growing,
        )

    def _start(self, state: State) -> None:
        self._state = state
        self._mark = 0
        self._views: dict[str, NodeView] = {}
        self._order: list[str] | None = None
        self._sorted: list[NodeView] = []
        self._places: dict[str, int] = {}
        self._spread: dict[str, dict[str, int]] = {}
        self._hosts: dict[str, set[str]] = {}
        self._by_load: list[tuple[float, str]] = []
        self._closed: set[str] = set()

    def _nodes(self, state: State) -> tuple[NodeView, ...]:
        if state is not self._state:
            self._start(state)
        self._mark, moved = state.moved_since(self._mark)
        names = {name for place in moved for name in self._hosts.get(place, (place,))}
        for name in names:
            self._count(state, name)
        if self._order is None:
            self._order = sorted(self._views)
            self._sorted = [self._views[name] for name in self._order]
            self._places = {name: place for place, name in enumerate(self._order)}
        else:
            for name in names & self._views.keys():
                self._sorted[self._places[name]] = self._views[name]
        return tuple(self._sorted)

    def _count(self, state: State, name: str) -> None:
        """Look at a node anew: it may have come, changed, or gone."""
        old, node = self._views.pop(name, None), state.get(key_of(NODE.resource, "", name))
        if old is not None:
            self._forget(old)
        if node is not None:
            view = self._views[name] = node_view_of(node, state.pods_on(name), _volumes_on(state, node))
            self._hosts.setdefault(volumes_at(host_name_of(node)), set()).add(name)
            for uid, count in view.controllers.items():
                self._spread.setdefault(uid, {})[name] = count
            if view.is_open:
                insort(self._by_load, (view.load, name))
            else:
                self._closed.add(name)
        if (old is None) is not (node is None):
            self._order = None

    def _forget(self, view: NodeView) -> None:
        """Take a node out of what is kept by host, by controller and by load."""
        if view.is_open:
            del self._by_load[bisect_left(self._by_load, (view.load, view.name))]
        self._closed.discard(view.name)
        mark = volumes_at(host_name_of(view.node))
        self._hosts[mark].discard(view.name)
        if not self._hosts[mark]:
            del self._hosts[mark]
        for uid in view.controllers:
            del self._spread[uid][view.name]
            if not self._spread[uid]:
                del self._spread[uid]


def node_view_of(node: Object, pods: Iterable[Object], volumes: Iterable[Object] = ()) -> NodeView:
    """Return a node with what its pods and volumes leave free; pods that Succeeded or Failed take nothing."""
    allocatable = amounts_of(node.get("status", {}).get("allocatable") or {})
    running = [pod for pod in pods if not has_ended(pod)]
    free = dict(allocatable)
    for pod in running:
        for name, amount in requests_of(pod).items():
            free[name] = free.get(name, 0) - amount
    free[STORAGE] = free.get(STORAGE, _ENDLESS) - sum(map(capacity_of, volumes))
    taints, shares = taints_of(node), shares_address(node)
    hard = tuple(taint for taint in taints if taint["effect"] in HARD)
    soft = tuple(taint for taint in taints if taint["effect"] in SOFT)
    return NodeView(
        name=name_of(node),
        node=node,
        hard_taints=hard,
        soft_taints=soft,
        allocatable=allocatable,
        free=free,
        ports=frozenset(port for pod in running for port in (all_ports_of if shares else ports_of)(pod)),
        shares_address=shares,
        load=load_of(allocatable, free),
        controllers=Counter(
            uid for pod in running if not is_terminating(pod) and (uid := controller_uid_of(pod))
        ),
        is_open=not hard and not soft and not is_cordoned(node, []),
    )


def load_of(allocatable: Amounts, free: Amounts) -> float:
    """Return the sum of the shares taken of cpu, memory and pods: 0 where a node is empty, 3 where it is full."""
    return sum(1 - free[name] / allocatable[name] for name in _SCORED if allocatable.get(name))


def is_pending(pod: Object) -> bool:
    """True if this scheduler is to find a node for the pod: no node, gate or end yet, and no other scheduler's."""
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and not spec.get("schedulingGates")
        and spec.get("schedulerName", "default-scheduler") == "default-scheduler"
        and not is_terminating(pod)
        and not has_ended(pod)
    )


def controller_uid_of(pod: Object) -> str:
    """Return the uid of the pod's controller; empty where it has none."""
    controller = controller_of(pod)
    return controller["uid"] if controller else ""


def claim_keys_of(pod: Object) -> list[Key]:
    """Return the keys of the claims that a pod's volumes name."""
    namespace = namespace_of(pod)
    return [
        key_of(CLAIM.resource, namespace, volume["persistentVolumeClaim"]["claimName"])
        for volume in pod["spec"].get("volumes") or ()
        if volume.get("persistentVolumeClaim")
    ]


def volume_name_of(claim: Object) -> str:
    """Return the name of the volume that a claim is bound to, or that it would get (`pvc-<uid>`)."""
    return claim["spec"].get("volumeName") or f"pvc-{claim['metadata']['uid']}"


def _volumes_on(state: State, node: Object) -> list[Object]:
    return state.marked(volumes_at(host_name_of(node)))


def host_name_of(node: Object) -> str:
    """Return what volumes call a node: its hostname label, or else its name."""
    return labels_of(node).get(HOSTNAME) or name_of(node)


def is_anyone_waiting(state: State) -> bool:
    """True if a pod waits for a node, or a claim for room."""
    return any(map(is_pending, state.pods_on(""))) or any(_claims_waiting(state))


def _claims_waiting(state: State) -> tuple[tuple[Object, ...], tuple[Object, ...]]:
    """Return the claims that get a volume at once, and those that have grown; each by namespace and name."""
    eager, growing, classes = [], [], {name_of(each): each for each in state.list(STORAGE_CLASS.resource)}
    default = default_class(classes.values())
    for claim in state.marked(OPEN_CLAIMS):
        if is_terminating(claim):
            continue
        if is_grown(claim):
            growing.append(claim)
        elif not claim["spec"].get("volumeName"):
            name = named_class(claim)
            found = default if name is None else classes.get(name)
            if found and found.get("provisioner") == PROVISIONER and not waits_for_consumer(found):
                eager.append(claim)
    return tuple(sorted(eager, key=_place_of)), tuple(sorted(growing, key=_place_of))


def _place_of(claim: Object) -> tuple[str, str]:
    return namespace_of(claim), name_of(claim)


def _turn_of(pod: Object) -> tuple[int, str, str, str, int, str]:
    """Highest priority first, then the oldest; pods of one controller side by side, in the order of their ordinals."""
    metadata = pod["metadata"]
    name = metadata["name"]
    return (
        -pod["spec"].get("priority", 0),
        metadata.get("creationTimestamp", ""),
        metadata.get("namespace", ""),
        controller_uid_of(pod),
        len(name),
        name,
    )
