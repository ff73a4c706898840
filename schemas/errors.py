"""The one tree of errors.

The pure core answers with values (a tuple of `Cause`); the edges raise one of these, and the command line prints
`str(error)` as one line and exits with `exit_code`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing wrong with an input: which field, what it holds, what would be accepted.

    `reason` is Kubernetes' `metav1.CauseType` word (`FieldValueInvalid`, `FieldValueRequired`,
    `FieldValueNotSupported`, `FieldValueForbidden`, `FieldValueDuplicate`, `FieldValueTypeInvalid`).
    """

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ChronosetError(Exception):
    """Root of all errors that Chronoset raises on purpose. `reason` is the Kubernetes Status reason."""

    exit_code = 1
    reason = "InternalError"


class BadRequest(ChronosetError):
    """The input cannot be read at all (syntax, size, encoding, an unknown kind or argument)."""

    exit_code = 2
    reason = "BadRequest"


class PatchFailed(BadRequest):
    """A patch that cannot be carried out on what is there (RFC 6902, 5), or that makes no object of its kind of it."""

    reason = "Invalid"


class Thinned(BadRequest):
    """A moment, or a stretch, of which only the states at some moments are kept, as a retention policy says."""

    reason = "Expired"


class Invalid(ChronosetError):
    """The input can be read but breaks a rule. Carries every cause found; prints as one line."""

    exit_code = 2
    reason = "Invalid"

    def __init__(self, subject: str, causes: Sequence[Cause]) -> None:
        self.subject = subject
        self.causes = tuple(causes)
        super().__init__(f"{subject} is invalid: " + "; ".join(map(str, self.causes)))


class NotFound(ChronosetError):
    """The object named does not exist; `key` is its, where it has one."""

    exit_code = 2
    reason = "NotFound"

    def __init__(self, message: str, key: str = "") -> None:
        self.key = key
        super().__init__(message)


class AlreadyExists(ChronosetError):
    """An object of that name exists; `key` is its, where it has one."""

    exit_code = 2
    reason = "AlreadyExists"

    def __init__(self, message: str, key: str = "") -> None:
        self.key = key
        super().__init__(message)


class Conflict(ChronosetError):
    """An object moved since it was read: `key` has its head at `actual`, not at `expected` (0: does not exist)."""

    reason = "Conflict"

    def __init__(self, key: str, expected: int, actual: int) -> None:
        self.key = key
        self.expected = expected
        self.actual = actual
        super().__init__(f"{key} has changed: expected position {expected}, found {actual}")


class Outdated(ChronosetError):
    """The author of a write named a version or a uid that the object no longer has: deciding again is no use."""

    reason = "Conflict"

    def __init__(self, key: str, why: str) -> None:
        self.key = key
        super().__init__(f"{key}: {why}")
        self.why = why


class Forbidden(ChronosetError):
    """The write is refused by policy: a terminating namespace, a read-only cluster, a full disk."""

    exit_code = 3
    reason = "Forbidden"

    def __init__(self, message: str, causes: Sequence[Cause] = ()) -> None:
        self.causes = tuple(causes)
        super().__init__(message)


class PreconditionFailed(ChronosetError):
    """The object is not the one that the writer means: its uid or resourceVersion is another."""

    reason = "Conflict"


class TooManyRequests(ChronosetError):
    """The write is refused for now, by a budget. `retry_seconds` is when to ask again; 0 where nobody can tell."""

    reason = "TooManyRequests"

    def __init__(self, message: str, causes: Sequence[Cause] = (), retry_seconds: int = 0) -> None:
        self.causes = tuple(causes)
        self.retry_seconds = retry_seconds
        super().__init__(message)


class Unsupported(ChronosetError):
    """What is asked for is well formed, and beyond what the rules can decide (Kubernetes answers 500)."""


class Unauthorized(ChronosetError):
    """Nobody knows who asks: no credentials, or none that hold."""

    exit_code = 3
    reason = "Unauthorized"


class CommandReused(ChronosetError):
    """The command id was used before with other content."""

    exit_code = 2
    reason = "Conflict"


class Unavailable(ChronosetError):
    """The log, the queue or the views cannot be reached, or refuse service for now."""

    exit_code = 4
    reason = "ServiceUnavailable"


class LostHistory(ChronosetError):
    """The log is not the one remembered, is shorter, has a gap, or does not fold. Never guessed around.

    `position` names the entry at which it was noticed (0: the log as a whole).
    """

    exit_code = 70
    reason = "InternalError"

    def __init__(self, message: str, position: int = 0) -> None:
        self.position = position
        super().__init__(message)


class Damaged(LostHistory):
    """What was verified is not what was written: of the log, or of what was made of it (projections, snapshots)."""

    exit_code = 65
