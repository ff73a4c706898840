"""Container logs: written by a shim, read by people."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import NotFound
from services.agent.logs import follow_log, log_path, read_log
from services.agent.runtimes import log_files
from services.agent.runtimes.log_files import LogFile


def test_lines_come_back_with_their_stream(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    log.add("stdout", b"one\ntw")
    log.add("stderr", b"oops\n")
    log.add("stdout", b"o\nlast")
    log.end()
    lines = read_log(tmp_path / "log")
    assert [(line.stream, line.text) for line in lines] == [
        ("stdout", "one"),
        ("stderr", "oops"),
        ("stdout", "two"),
        ("stdout", "last"),
    ]
    assert [line.text for line in read_log(tmp_path / "log", tail=1)] == ["last"]
    assert all(line.at.endswith("Z") and len(line.at) == 30 for line in lines)


def test_a_line_longer_than_a_part_comes_back_whole(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    log.add("stdout", b"x" * 40_000)
    log.add("stdout", b"y\nz\n")
    assert [line.text for line in read_log(tmp_path / "log")] == ["x" * 40_000 + "y", "z"]


def test_a_large_log_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "LOG_LIMIT", 1_000)
    log = LogFile(str(tmp_path / "log"))
    for number in range(200):
        log.add("stdout", f"line {number}\n".encode())
    texts = [line.text for line in read_log(tmp_path / "log")]
    assert texts[-1] == "line 199" and texts == [f"line {n}" for n in range(200 - len(texts), 200)]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_200


def test_following_yields_what_comes_until_it_is_over(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    log.add("stdout", b"before\n")
    answers = iter([False, True])

    def is_over() -> bool:
        log.add("stdout", b"later\n")
        return next(answers)

    texts = [line.text for line in follow_log(tmp_path / "log", is_over)]
    assert texts == ["before", "later", "later"]


def test_the_log_of_a_run_is_found(tmp_path: Path) -> None:
    for attempt in (9, 10):
        folder = tmp_path / "pods" / "u" / "containers" / "main" / str(attempt)
        folder.mkdir(parents=True)
        (folder / "log").touch()
    assert log_path(tmp_path, "u", "main").parent.name == "10"
    assert log_path(tmp_path, "u", "main", previous=True).parent.name == "9"
    with pytest.raises(NotFound):
        log_path(tmp_path, "u", "other")


def test_following_goes_on_over_a_file_that_is_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old file got before it was moved is not lost."""
    monkeypatch.setattr(log_files, "LOG_LIMIT", 200)
    log = LogFile(str(tmp_path / "log"))
    log.add("stdout", b"line 0\n")
    written = 0

    def is_over() -> bool:
        nonlocal written
        for _ in range(3):
            written += 1
            log.add("stdout", f"line {written}\n".encode())
        return written >= 12

    texts = [line.text for line in follow_log(tmp_path / "log", is_over)]
    assert texts == [f"line {number}" for number in range(13)]
    assert (tmp_path / "log.1").exists()
