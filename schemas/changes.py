"""Changes: what a command or a reconciler wants done, before a commit makes events of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.objects import Key, Object, key_of_object
from schemas.times import Milliseconds


@dataclass(frozen=True, slots=True)
class Create:
    """Add an object that must not exist. The commit assigns uid, creationTimestamp and generation."""

    object: Object

    @property
    def key(self) -> Key:
        return key_of_object(self.object)


@dataclass(frozen=True, slots=True)
class Replace:
    """Change `old` (as read, with its resourceVersion) into `new`. Equal content appends nothing."""

    old: Object
    new: Object

    @property
    def key(self) -> Key:
        return key_of_object(self.old)


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the object for good, at once. What asks for graceful deletion is a Replace (schemas.deletion)."""

    old: Object

    @property
    def key(self) -> Key:
        return key_of_object(self.old)


Change = Create | Replace | Delete


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reconciler concludes from a view at a moment.

    changes       committed as one atomic batch (at most one change an object)
    rests_on      objects, as read, that must not have moved when the batch commits, besides those changed: the
                  workload decided for, and the pods counted as available where the decision disrupts
    waiting_for   one sentence for people: what must happen before there is more to do; empty when converged
    requeue_at    look again at this time (milliseconds since 1970) even if nothing happens
    """

    changes: tuple[Change, ...] = ()
    rests_on: tuple[Object, ...] = field(default=())
    waiting_for: str = ""
    requeue_at: Milliseconds | None = None
