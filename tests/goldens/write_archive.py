"""Writes the golden archives of the present formats, once: `python -m tests.goldens.write_archive`.

Each holds the golden log: sealed in segments of ten events, with a snapshot in its midst; and, in the format of thinned
archives, in segments of four, with snapshots between, without the pods' events before the last snapshot but one.
"""

from __future__ import annotations

from unittest.mock import patch

from events import sealing
from events.memory import MemoryLog
from events.sealing import Limits, Sealer
from events.segments import FORMAT, THINNED_FORMAT
from events.stores import Folder
from schemas.envelopes import SCHEMA_VERSION
from schemas.retention import DAY, Retention
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
    for version, events in ((FORMAT, 10), (THINNED_FORMAT, 4)):
        folder = FOLDER / f"archive-v{version}"
        if folder.exists():
            print(f"{folder} exists: golden archives are never rewritten")
            continue
        with patch.object(sealing, "FEWEST_EVENTS", events), patch.object(sealing, "SNAPSHOT_SHARE", 1000):
            sealer = Sealer(the_golden_log(), Folder(folder), Limits(events, 0, 0))
            sealer.open()
            sealer.look(LATER)
        if version == THINNED_FORMAT:
            sealer.thin(Retention(1, {"core/pods": DAY}), 1 << 41)


if __name__ == "__main__":
    main()
