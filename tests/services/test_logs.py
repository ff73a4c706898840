"""Logs of programs: lines of JSON in files that do not grow for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from services.logs import BoundedFile

PROGRAM = """
import logging, os, sys, warnings
from pathlib import Path
import structlog
from services.logs import log_to_file
log_to_file(Path(sys.argv[1]), "worker-1")
log = structlog.get_logger()
log.info("reconciled", key="apps/statefulsets/default/web", position=7, odd={1})
log.debug("not shown")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
logging.getLogger("dramatiq").warning("slow %s", "queue")
print("printed", flush=True)
os.write(2, b"from C\\n")
"""


def test_a_file_is_set_aside_when_it_would_exceed_its_limit(tmp_path: Path) -> None:
    file = BoundedFile(tmp_path / "logs" / "a.log", limit=100)
    for number in range(25):
        file.write(f"line {number:03d}\n")
    file.close()
    kept = (tmp_path / "logs" / "a.log.1").read_text() + (tmp_path / "logs" / "a.log").read_text()
    assert kept.splitlines()[-1] == "line 024"
    assert all(path.stat().st_size <= 100 for path in (tmp_path / "logs").iterdir())
    assert len(list((tmp_path / "logs").iterdir())) == 2


def test_a_full_disk_ends_no_program(tmp_path: Path) -> None:
    (tmp_path / "a.log").symlink_to("/dev/full")
    file = BoundedFile(tmp_path / "a.log")
    assert file.write("a line\n") == 7
    file.close()


def test_whatever_a_program_logs_or_prints_is_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.log"
    done = subprocess.run([sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    *lines, printed, written = path.read_text().splitlines()
    reconciled, failed, warned = map(json.loads, lines)
    assert (printed, written) == ("printed", "from C")
    assert reconciled["event"] == "reconciled"
    assert (reconciled["program"], reconciled["level"], reconciled["position"]) == ("worker-1", "info", 7)
    assert reconciled["timestamp"].endswith("Z")
    assert "ZeroDivisionError" in failed["exception"]
    assert (warned["event"], warned["logger"], warned["program"]) == ("slow queue", "dramatiq", "worker-1")
