"""How a command line finds the API that answers for its log, and what of HTTP they agree on.

An API that answers says so in `<data-dir>/api/`, which is its owner's alone: its URL and which log it is of, in a file
that is there as long as it answers, and beside it a certificate by which the owner is known. So a command line has
nothing to guess and no YAML to read, and leaves an API of another log than its own alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from events.files import write_private
from schemas.times import Milliseconds
from services.settings import Settings, redacted

PATH = "/chronoset/v1/commands"
AGENT = "chronoset/1"
"""How command lines call themselves (User-Agent), before who they are for this machine."""
PLACE = "answers.json"
AUTHORITY = "ca.crt"
CREDENTIALS = "owner.pem"
"""The owner's certificate and key, in the folder of PLACE."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an API answers, and for which log (`log_of`)."""

    url: str
    log: str


def log_of(settings: Settings) -> str:
    """Return what tells a cluster's log from others, by where it is; a password is no part of that."""
    told = f"{settings.cluster} {redacted(settings.log_url)}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


@contextmanager
def answering(folder: Path, place: Place) -> Iterator[None]:
    """Say in a folder where an API answers, as long as the block lasts."""
    path = folder / PLACE
    write_private(path, json.dumps(asdict(place)).encode())
    try:
        yield
    finally:
        if read_place(folder) == place:
            path.unlink(missing_ok=True)


def answers_since(folder: Path, moment: Milliseconds) -> bool:
    """Say whether an API has said so at that time or later."""
    try:
        return (folder / PLACE).stat().st_mtime_ns // 1_000_000 >= moment
    except OSError:
        return False


def read_place(folder: Path) -> Place | None:
    """Return where an API answers, or has answered until it was killed; None where none does."""
    try:
        return Place(**json.loads((folder / PLACE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
