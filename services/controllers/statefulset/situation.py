"""A set and its pods, judged by its revisions: which pod should be what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.percentages import scaled_down
from schemas.views import StatefulSetView
from services.controllers.statefulset.identity import pod_name
from services.controllers.statefulset.members import Member
from services.controllers.statefulset.view import View


@dataclass(frozen=True, slots=True)
class Situation:
    """A set and its pods. `current` and `update` are the names of its revisions."""

    view: View
    current: str
    update: str

    @property
    def owner(self) -> StatefulSetView:
        return self.view.owner

    @property
    def replicas(self) -> tuple[Member | None, ...]:
        return self.view.replicas

    @property
    def condemned(self) -> tuple[Member, ...]:
        return self.view.condemned

    @property
    def unsettled(self) -> Iterator[tuple[int, Member | None]]:
        """Yield those of the replicas at which there may be something to do, ascending: (index, member)."""
        return ((index, self.view.replicas[index]) for index in self.view.unsettled)

    @property
    def unsettled_members(self) -> Iterator[Member]:
        """Yield the members at which there may be something to do."""
        yield from (member for _, member in self.unsettled if member is not None)
        yield from self.view.condemned

    def name_at(self, index: int) -> str:
        return pod_name(self.owner.name, self.owner.start + index)

    def target(self, index: int) -> str:
        """Return the revision that the pod at `index` should have: the partition is an index."""
        return self.current if index < self.owner.partition else self.update

    def others(self) -> dict[str, frozenset[int]]:
        """Return the revisions that replicas have instead of the update's, with the indexes of those replicas."""
        return {
            revision: indexes
            for revision, indexes in self.view.by_revision.items()
            if revision != self.update
        }

    def revision_of_new(self, index: int) -> str:
        """Return the revision of a pod about to be created at `index` (newVersionedStatefulSetPod).

        With `rollingUpdate` left out, the pods that the update has not reached are taken to be the lowest. A
        Parallel set replaces outdated pods that are unavailable wherever they are, so there that does not
        hold, and a pod made outdated would be replaced for ever: it goes by the partition (ours).
        """
        if not self.owner.is_rolling:
            return self.update
        if self.owner.has_rolling_update or self.owner.is_parallel:
            return self.target(index)
        return self.current if index < self.owner.status.get("currentReplicas", 0) else self.update

    @property
    def budget(self) -> int:
        """How many replicas may be unavailable during an update: at least 1, a percentage rounds down."""
        return max(scaled_down(self.owner.max_unavailable, self.owner.replicas), 1)
