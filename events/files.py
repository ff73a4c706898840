"""Files for their owner alone that are there whole or not at all, whenever the machine stops.

A draft beside the file is written and synced, put in place in one step, and the folder synced. What a writer that died
leaves behind is a draft, by its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DRAFT = ".draft-"
"""How the names of drafts begin."""


def write_private(path: Path, content: bytes) -> None:
    """Write a file, or replace it; durable when this returns. A reader sees the old one or the new one."""
    with _drafted(path, content) as draft:
        draft.replace(path)


def write_once(path: Path, content: bytes) -> None:
    """Write a file; where there is one already, that stays. Whichever it is, it is durable when this returns."""
    with _drafted(path, content) as draft, suppress(FileExistsError):
        path.hardlink_to(draft)


@contextmanager
def _drafted(path: Path, content: bytes) -> Iterator[Path]:
    """Give a draft that is on disk to be put in place; then sync the folder. The draft is gone when this ends."""
    draft = path.with_name(f"{DRAFT}{os.getpid()}-{os.urandom(4).hex()}-{path.name}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
