"""Which nodes this machine plays: a file in the data directory that `up` begins, `node add` and `node remove`
change, and the agents' program follows. It is what is wanted; what there is, is in the log."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import AlreadyExists, BadRequest, NotFound

FILE = "node-names"
MOST_NODES = 100
LONGEST = 63
"""A name is the value of the label kubernetes.io/hostname too."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

Names = tuple[str, ...]


def read_names(data_dir: Path) -> Names | None:
    """Return the names in their order, or None where there is no list."""
    try:
        return tuple((data_dir / FILE).read_text().split())
    except (OSError, ValueError):
        return None


def write_names(data_dir: Path, names: Names) -> None:
    """Begin the list anew. A reader sees the old one or this one."""
    with _locked(data_dir):
        _write(data_dir, names)


def add_name(data_dir: Path, name: str) -> None:
    """Add a node. Raises BadRequest for a name that can be none, AlreadyExists, NotFound where there is no list."""

    def added(names: Names) -> Names:
        if checked_name(name) in names:
            raise AlreadyExists(f"node {name!r} is on this machine already")
        if len(names) >= MOST_NODES:
            raise BadRequest(
                f"NODE: {name!r} would be one too many: a machine plays at most {MOST_NODES} nodes"
            )
        return (*names, name)

    _change(data_dir, added)


def remove_name(data_dir: Path, name: str) -> None:
    """Take a node from the list, where it is on it. Raises NotFound where there is no list."""
    _change(data_dir, lambda names: tuple(each for each in names if each != name))


def checked_name(name: str) -> str:
    """Return the name of a node. Raises BadRequest where it is no DNS subdomain (RFC 1123) of at most 63 characters."""
    if len(name) <= LONGEST and _NAME.fullmatch(name):
        return name
    raise BadRequest(
        f"NODE: {name[:80]!r} is no name for a node: write at most {LONGEST} of a-z, 0-9, '-' and '.', beginning and "
        "ending with a letter or digit"
    )


def _change(data_dir: Path, change: Callable[[Names], Names]) -> None:
    with _locked(data_dir):
        names = read_names(data_dir)
        if names is None:
            raise NotFound(f"no list of nodes in {data_dir}: nodes are added where `chronoset up` runs")
        _write(data_dir, change(names))


def _write(data_dir: Path, names: Names) -> None:
    partial = data_dir / f"{FILE}.partial"
    partial.write_text("".join(f"{name}\n" for name in names))
    os.replace(partial, data_dir / FILE)


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Let one writer in at a time; the lock goes with its holder."""
    descriptor = os.open(data_dir / f"{FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
