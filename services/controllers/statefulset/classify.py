"""Which pods a set has, each put into one place: a replica at its index, or condemned, or not the set's at
all.

Everything that is asked of a pod more than once is asked here, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from schemas.percentages import scaled_down
from schemas.selectors import selector_of
from schemas.times import Milliseconds
from schemas.views import PodView, StatefulSetView
from services.controllers.pods import available_at, is_finished, is_ready, revision_of
from services.controllers.statefulset.identity import ordinal_of, pod_name
from services.controllers.statefulset.view import View


class Member(NamedTuple):
    """A pod of the set. `available_at` is None while it is not Ready; a terminating pod may still be ready.

    A tuple, not a dataclass: a pass over a large set makes a thousand of them.
    """

    pod: PodView
    ordinal: int
    revision: str
    is_ready: bool
    is_available: bool
    is_terminating: bool
    is_finished: bool
    available_at: Milliseconds | None

    @property
    def is_healthy(self) -> bool:
        return self.is_available and not self.is_terminating


@dataclass(frozen=True, slots=True)
class Situation:
    """A set and its pods, classified.

    current, update   names of the revisions
    replicas          by index (ordinal - start): the member, or None where the pod is missing
    condemned         members beyond the range, highest ordinal first
    """

    view: View
    current: str
    update: str
    replicas: tuple[Member | None, ...]
    condemned: tuple[Member, ...]

    @property
    def owner(self) -> StatefulSetView:
        return self.view.owner

    @property
    def members(self) -> Iterator[Member]:
        yield from (member for member in self.replicas if member is not None)
        yield from self.condemned

    def name_at(self, index: int) -> str:
        return pod_name(self.owner.name, self.owner.start + index)

    def target(self, index: int) -> str:
        """Return the revision that the pod at `index` should have: the partition is an index."""
        return self.current if index < self.owner.partition else self.update

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


def members_of(view: View, now: Milliseconds) -> list[Member]:
    """Return the pods that the set controls and that match it by selector and name, each looked at once."""
    selector, owner = selector_of(view.owner.selector), view.owner
    set_name, patience = owner.name, owner.min_ready_seconds
    members = []
    for pod in view.owned:
        ordinal = ordinal_of(set_name, pod.name)
        if ordinal is None or not selector.matches(pod.labels):
            continue
        since = available_at(pod, patience)
        members.append(
            Member(
                pod=pod,
                ordinal=ordinal,
                revision=revision_of(pod),
                is_ready=since is not None or is_ready(pod),
                is_available=since is not None and since <= now,
                is_terminating=pod.is_terminating,
                is_finished=is_finished(pod),
                available_at=since,
            )
        )
    return members


def classify(view: View, members: list[Member], current: str, update: str) -> Situation:
    """Put each member at its index, or among the condemned: above the range, and below its start too."""
    start, count = view.owner.start, view.owner.replicas
    replicas: list[Member | None] = [None] * count
    condemned = []
    for member in members:
        index = member.ordinal - start
        if 0 <= index < count:
            replicas[index] = member
        else:
            condemned.append(member)
    condemned.sort(key=lambda member: -member.ordinal)
    return Situation(view, current, update, tuple(replicas), tuple(condemned))
