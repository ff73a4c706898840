"""Health files: their age is how long ago the log has answered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas.errors import BadRequest
from services.health_files import HealthFile, clear_health_file, telling


def test_an_answer_is_told_once_a_second(tmp_path: Path) -> None:
    file = tmp_path / "health"
    tell = HealthFile(file)
    tell()
    os.utime(file, (1, 1))
    tell()
    assert file.stat().st_mtime == 1
    tell = HealthFile(file)
    tell()
    assert file.stat().st_mtime > 1


def test_a_program_that_cannot_tell_goes_on(tmp_path: Path) -> None:
    HealthFile(tmp_path / "nowhere" / "health")()
    telling(None)()
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_program_has_told_counts_no_more(tmp_path: Path) -> None:
    file = tmp_path / "health"
    file.touch()
    clear_health_file(file)
    assert not file.exists()


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BadRequest, match=r"CHRONOSET_HEALTH_FILE: .*/nowhere/health cannot be made: No such file"
    ):
        clear_health_file(tmp_path / "nowhere" / "health")
