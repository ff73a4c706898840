"""What arrives in an agent's inbox: everything that its loop does not do itself."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.times import Milliseconds
from services.agent.lifecycle import ContainerEvent
from services.agent.probes import ProbeKind
from services.agent.statuses import Remark, Verdict


@dataclass(frozen=True, slots=True)
class Moved:
    """The cluster has changed."""


@dataclass(frozen=True, slots=True)
class Happened:
    """Something happened to a container."""

    uid: str
    container: str
    event: ContainerEvent


@dataclass(frozen=True, slots=True)
class Answered:
    """A probe of a run of a container was answered."""

    uid: str
    container: str
    attempt: int
    kind: ProbeKind
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class Condemned:
    """A pod takes more of the disk than it may."""

    uid: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Remarked:
    """The runtime remarks on a pod anew."""

    uid: str
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, slots=True)
class Halt:
    """The agent is to end; its pods too, within `grace` milliseconds, unless it is None."""

    grace: Milliseconds | None


@dataclass(frozen=True, slots=True)
class Leave:
    """The node is to leave the cluster: once its object is deleted the agent ends its pods, and then itself."""


Message = Moved | Happened | Answered | Condemned | Remarked | Halt | Leave
