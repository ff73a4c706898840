"""What is asked of a set's pod more than once, asked once."""

from __future__ import annotations

from typing import NamedTuple

from schemas.times import Milliseconds
from schemas.views import PodView
from services.controllers.pods import available_at, is_finished, is_ready, revision_of


class Standing(NamedTuple):
    """What a member counts as in the status. Most members of a set share one: counting them is counting these."""

    revision: str
    is_ready: bool
    is_terminating: bool
    available_at: Milliseconds | None


class Member(NamedTuple):
    """A pod of the set. `available_at` is None while it is not Ready; a terminating pod may still be ready.

    A tuple, not a dataclass: the first pass over a large set makes a thousand of them.
    """

    pod: PodView
    ordinal: int
    revision: str
    is_ready: bool
    is_terminating: bool
    is_finished: bool
    available_at: Milliseconds | None

    @property
    def standing(self) -> Standing:
        return Standing(self.revision, self.is_ready, self.is_terminating, self.available_at)

    def is_available(self, now: Milliseconds) -> bool:
        """True if it has been Ready for minReadySeconds at `now`."""
        return self.available_at is not None and self.available_at <= now

    def is_healthy(self, now: Milliseconds) -> bool:
        """True if it is available at `now`, and will be as far as is known."""
        return not self.is_terminating and self.is_available(now)


def member_of(pod: PodView, ordinal: int, min_ready_seconds: int) -> Member:
    """Return a pod as a member of its set."""
    since = available_at(pod, min_ready_seconds)
    return Member(
        pod=pod,
        ordinal=ordinal,
        revision=revision_of(pod),
        is_ready=since is not None or is_ready(pod),
        is_terminating=pod.is_terminating,
        is_finished=is_finished(pod),
        available_at=since,
    )
