"""Programs: what is known of one that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.programs import LAST_WORDS, failure_in

STARTED = b'{"program":"api","event":"program started"}\n'
FAILED = b'{"program":"api","error":"the port is taken","exit_code":2,"event":"program failed"}\n'


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        (b"", STARTED + FAILED, "the port is taken"),
        (b"", STARTED + FAILED + b"printed by C\n[1, 2]\n", "the port is taken"),
        (FAILED, STARTED, ""),
        (b"", b"x" * LAST_WORDS + b"\n" + FAILED, "the port is taken"),
        (b"", b"", ""),
    ],
)
def test_why_a_program_failed_is_the_last_thing_that_its_log_says_of_this_run(
    before: bytes, now: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "api.log").write_bytes(before + now)
    assert failure_in(tmp_path / "api.log", len(before)) == reason


def test_a_log_file_that_was_set_aside_or_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    assert failure_in(tmp_path / "api.log", 7) == ""
    (tmp_path / "api.log").write_bytes(FAILED)
    assert failure_in(tmp_path / "api.log", 10 << 20) == "the port is taken"
