"""What an agent needs of a runtime. Adapters: process, simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.errors import ChronosetError
from schemas.objects import Object
from schemas.times import Milliseconds
from services.agent.config_volumes import Files
from services.agent.lifecycle import Exit, Started
from services.agent.sources import NOTHING, Sources
from services.agent.statuses import Remark


class Refused(ChronosetError):
    """The container cannot be started as it is written. `reason` is Kubernetes' waiting reason (ErrImagePull,
    InvalidImageName, CreateContainerConfigError, CreateContainerError); trying again later may help."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod's surroundings, ready for containers: its address and what could not be done as Kubernetes would."""

    address: str
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """A container of a pod to start: the pod (with podIP and hostIP in its status), which container, which run."""

    pod: Object
    container: str
    attempt: int
    claims: Mapping[str, str] = field(default_factory=dict)
    """claim name -> directory of its volume"""
    sources: Sources = NOTHING


@dataclass(frozen=True, slots=True)
class FoundRun:
    """The last run of a container that a runtime knew before the agent started: still running if `exit` is None."""

    container: str
    attempt: int
    started: Started
    exit: Exit | None


@dataclass(frozen=True, slots=True)
class FoundPod:
    """A pod that a runtime knew before the agent started, as it was when its sandbox was opened."""

    pod: Object
    address: str
    accepted_at: Milliseconds
    runs: tuple[FoundRun, ...]
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pod's files take on the node's disk, in bytes.

    volumes    its emptyDir volumes, by name
    containers    what each has written beside its volumes, and its logs
    """

    volumes: Mapping[str, int] = field(default_factory=dict)
    containers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command run inside a container said."""

    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command that a person runs inside a running container.

    tty    it has a terminal, on which stdout and stderr are one
    stdin    it has an input; without one it reads end of file
    """

    uid: str
    container: str
    words: tuple[str, ...]
    tty: bool = False
    stdin: bool = False


class Session(Protocol):
    """A command, or a container's own program, and its streams. One thread reads, one writes, any may do the rest."""

    def read(self) -> tuple[str, bytes]:
        """Block until there is output; return ("stdout" or "stderr", some of it), or ("", b"") after the last of it."""
        ...

    def write(self, data: bytes) -> None:
        """Give the program input; blocks while it reads none. Raises OSError where it will read no more."""
        ...

    def close_input(self) -> None:
        """Let the program read end of file; a terminal has none, and nothing happens there."""
        ...

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the terminal. Does nothing where there is none."""
        ...

    def wait(self) -> int:
        """Block until the command has ended and return its exit code; 128 + n where signal n ended it."""
        ...

    def close(self) -> None:
        """End the command with all that it started, or leave the container's own program alone. Idempotent.

        What blocks in another method returns, or raises OSError.
        """
        ...


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a program's output, without its newline; a long one comes in pieces, of which the last is whole.

    at    when it was read: RFC 3339 in UTC, with nine digits of a second, so that order of text is order of time
    """

    at: str
    stream: str
    text: bytes
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines of a run's log: those not before `since` (as LogLine.at; "" for all), the last `tail` of them."""

    follow: bool = False
    tail: int | None = None
    since: str = ""


OnExit = Callable[[str, str, Exit], None]
"""Called with (pod uid, container name, how it ended), from a thread of the runtime, once for each end."""


class Runtime(Protocol):
    """Starts and stops containers on one node. Every method may be called from any thread."""

    name: str

    def open(self, pod: Object, address: str, now: Milliseconds) -> Sandbox:
        """Make the pod's surroundings; `address` is the wish, the answer says what it became. Idempotent.

        Raises Refused with the reason for which the node cannot take the pod at all (NodePorts), OSError where trying
        again may help.
        """
        ...

    def start(self, run: Run) -> Started | Exit:
        """Start a container and return at once; an Exit says that it could not even begin. Raises Refused."""
        ...

    def watch(self, uid: str, container: str) -> None:
        """Report the end of the run that was started or found, from now on, also if it has ended already."""
        ...

    def stop(self, uid: str, container: str) -> None:
        """Ask the container's program to end (TERM). Does nothing where it has ended."""
        ...

    def kill(self, uid: str, container: str) -> None:
        """Kill the container's program and everything it started. Does nothing where it has ended."""
        ...

    def execute(self, uid: str, container: str, command: list[str], timeout: Milliseconds) -> Answer:
        """Run a command in the container's surroundings. Raises TimeoutError; Refused where nothing runs."""
        ...

    def exec(self, command: Command) -> Session:
        """Run a command inside a container: in its namespaces, with its environment, user, directory and limits.

        It ends with its session, with the container, and with the agent. Raises Refused where nothing runs, or where
        the command cannot be executed (reason StartError; `exec: "x": executable file not found in $PATH`).
        """
        ...

    def attach(self, uid: str, container: str, stdin: bool) -> Session:
        """Give what the container's program prints from now on; with `stdin` also a way to its input.

        It ends with the program, of which the pod's status tells the exit code: `wait` returns 0. Raises Refused
        where nothing runs.
        """
        ...

    def log(self, uid: str, container: str, attempt: int, query: LogQuery) -> Iterator[Sequence[LogLine]]:
        """Yield the log of a container's run number `attempt`, oldest first, some lines at a time.

        Following goes on until the run has ended and everything was given; while nothing comes it yields an empty
        batch at least once a second, so that its reader may stop. Raises NotFound where the log is not kept.
        """
        ...

    def usage(self, uid: str) -> Usage:
        """Measure what a pod's files take on the disk; what cannot be told is left out. May take long."""
        ...

    def release(self, uid: str) -> None:
        """Remove what an ended pod that stays has written, but its logs. Idempotent."""
        ...

    def remarks(self, pod: Object, address: str) -> tuple[Remark, ...]:
        """Return what is to be remarked on a pod now, once one of its containers was started (see Sandbox)."""
        ...

    def found(self) -> list[FoundPod]:
        """Return the pods known from before. Called once, first."""
        ...

    def mounted(self) -> set[str]:
        """Return the directories that containers of the pods known here mount, or did in their last runs."""
        ...

    def write_volume(self, uid: str, volume: str, files: Files) -> None:
        """Make `files` all that the pod's volume holds, at once for whoever reads it. Raises OSError."""
        ...

    def write_hosts(self, uid: str, text: str) -> None:
        """Make `text` the pod's hosts file."""
        ...

    def close(self, uid: str) -> None:
        """Forget a pod of which nothing runs: its directories and logs go."""
        ...

    def shut_down(self) -> None:
        """Let go of everything without stopping any container."""
        ...
