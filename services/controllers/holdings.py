"""What workloads hold: the pods that each controls and the revisions that it owns, at the cost of what has changed.

Looking at 10,000 pods takes longer than deciding about the one that changed. So a controller's memory of a workload
is kept for as long as it is of the same State and the workload asks the same of its pods, and is told only what has
changed since, as the State knows (State.owned_since).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from events.state import State
from schemas.kinds import CONTROLLER_REVISION, POD
from schemas.objects import Key, Object, controller_of, is_owned_by, key_of_object
from schemas.revisions import is_kept
from schemas.views import WorkloadView

Owner = TypeVar("Owner", bound=WorkloadView)
Memory = TypeVar("Memory")
Pods = Sequence[tuple[Key, Object | None]]
"""Pods that came, changed or went, by key: each as it is, None where the workload does not control it (any more)."""
_PODS = f"{POD.resource}/"
_REVISIONS = f"{CONTROLLER_REVISION.resource}/"


@dataclass(slots=True)
class _Holding(Generic[Memory]):
    """What is kept of one workload in one State while what it asks is `asks`; `mark`: when the State was asked last."""

    state: State
    spec: Object
    asks: tuple[object, ...]
    memory: Memory
    mark: int = 0
    revisions: dict[Key, Object] = field(default_factory=dict)


class Holdings(Generic[Owner, Memory]):
    """Memories of workloads, by key.

    asks     owner -> what its pods are judged by: a memory is of no use once that is another
    begin    owner -> the memory of a workload without pods
    update   (memory, state, owner, pods) brings a memory up to date; one that fails is forgotten
    """

    def __init__(
        self,
        asks: Callable[[Owner], tuple[object, ...]],
        begin: Callable[[Owner], Memory],
        update: Callable[[Memory, State, Owner, Pods], None],
    ) -> None:
        self._asks = asks
        self._begin = begin
        self._update = update
        self._holdings: dict[Key, _Holding[Memory]] = {}

    def of(self, state: State, key: Key, owner: Owner) -> tuple[Memory, list[Object]]:
        """Return a workload's memory, brought up to date, and the ControllerRevisions that it is decided on."""
        holding = self._still_held(state, owner, self._holdings.pop(key, None))
        changed = None
        if holding is not None:
            holding.mark, changed = state.owned_since(owner.uid, holding.mark)
        if holding is None or changed is None:
            holding = _Holding(state, owner.raw["spec"], self._asks(owner), self._begin(owner))
            holding.mark, _ = state.owned_since(owner.uid, 0)
            changed = [key_of_object(obj) for obj in state.owned_by(owner.uid)]
        self._update(holding.memory, state, owner, _sorted_out(holding.revisions, state, owner, changed))
        self._holdings[key] = holding
        return holding.memory, _decisive(
            state, owner, [holding.revisions[each] for each in sorted(holding.revisions)]
        )

    def forget(self, key: Key) -> None:
        """Keep nothing of a workload that is gone."""
        self._holdings.pop(key, None)

    def _still_held(
        self, state: State, owner: Owner, holding: _Holding[Memory] | None
    ) -> _Holding[Memory] | None:
        if holding is None or holding.state is not state:
            return None
        spec = owner.raw["spec"]
        if holding.spec is not spec and holding.asks == self._asks(owner):
            holding.spec = spec
        return holding if holding.spec is spec else None


def _decisive(state: State, owner: WorkloadView, owned: list[Object]) -> list[Object]:
    """Return its revisions and those of nobody; all of the namespace where a new one's name may be taken."""
    own = [*state.orphans(CONTROLLER_REVISION.resource, owner.namespace), *owned]
    if is_kept(owner.template, own):
        return own
    return state.list(CONTROLLER_REVISION.resource, owner.namespace)


def _sorted_out(revisions: dict[Key, Object], state: State, owner: WorkloadView, keys: Sequence[Key]) -> Pods:
    """Return the pods among what has changed, and bring `revisions` up to date."""
    pods: list[tuple[Key, Object | None]] = []
    for key in keys:
        obj = state.get(key)
        if key.startswith(_REVISIONS):
            revisions.pop(key, None)
            if obj is not None and is_owned_by(obj, owner.uid):
                revisions[key] = obj
        elif key.startswith(_PODS):
            controller = controller_of(obj) if obj is not None else None
            pods.append((key, obj if controller is not None and controller["uid"] == owner.uid else None))
    return pods
