"""A finding: one thing the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """GOOD: as it should be. NOTE: good to know. WARNING: works, with a risk. ERROR: does not work."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is so, in one line that names the value, and what to do where that is not good."""

    level: Level
    what: str
    do: str = ""
