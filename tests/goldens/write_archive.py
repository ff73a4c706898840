"""Writes the golden archive of the present format, once: `python -m tests.goldens.write_archive`.

It holds the golden log, sealed in segments of ten events, with a snapshot in its midst.
"""

from __future__ import annotations

from unittest.mock import patch

from events import sealing
from events.memory import MemoryLog
from events.sealing import Limits, Sealer
from events.segments import FORMAT
from events.stores import Folder
from schemas.envelopes import SCHEMA_VERSION
from tests.events.archives import LATER
from tests.goldens.test_golden_logs import FOLDER, entries_of


def the_golden_log() -> MemoryLog:
    """Return a log in memory with the golden entries."""
    log = MemoryLog("golden")
    entries = entries_of(SCHEMA_VERSION)
    for entry in entries:
        log._push(entry)
    from events.codec import decode

    log._log_id = decode(entries[0]).uid
    return log


def main() -> None:
    folder = FOLDER / f"archive-v{FORMAT}"
    if folder.exists():
        raise SystemExit(f"{folder} exists: golden archives are never rewritten")
    with patch.object(sealing, "FEWEST_EVENTS", 10):
        sealer = Sealer(the_golden_log(), Folder(folder), Limits(10, 0, 0))
        sealer.open()
        sealer.look(LATER)


if __name__ == "__main__":
    main()
