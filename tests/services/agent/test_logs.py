"""Container logs: written by a shim, read by people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import NotFound
from services.agent.logs import batches, log_path, read_log
from services.agent.runtimes import log_files
from services.agent.runtimes.log_files import LogFile
from services.agent.runtimes.port import LogQuery


def followed(path: Path, is_over: Callable[[], bool]) -> list[str]:
    found = batches(path, LogQuery(follow=True), is_over)
    return [line.text.decode() for batch in found for line in batch]


def test_lines_come_back_with_their_stream(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    log.add("stdout", b"one\ntw")
    log.add("stderr", b"oops\n")
    log.add("stdout", b"o\nlast")
    log.end()
    lines = read_log(tmp_path / "log")
    assert [(line.stream, line.text) for line in lines] == [
        ("stdout", b"one"),
        ("stderr", b"oops"),
        ("stdout", b"two"),
        ("stdout", b"last"),
    ]
    assert [line.text for line in read_log(tmp_path / "log", tail=1)] == [b"last"]
    assert all(line.at.endswith("Z") and len(line.at) == 30 for line in lines)


def test_a_line_longer_than_a_part_comes_in_pieces(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    log.add("stdout", b"x" * 40_000)
    log.add("stdout", b"y\nz\n")
    pieces = read_log(tmp_path / "log")
    assert b"".join(piece.text for piece in pieces) == b"x" * 40_000 + b"yz"
    assert [piece.is_whole for piece in pieces] == [False, False, True, True]


def test_only_what_is_not_older_is_given(tmp_path: Path) -> None:
    """`tail` counts what is there; of that, what is too old is left out."""
    entries = [f"2026-11-23T05:00:0{second}.000000000Z stdout F line {second}\n" for second in range(6)]
    (tmp_path / "log").write_text("".join(entries))
    query = LogQuery(since="2026-11-23T05:00:03.000000000Z", tail=4)
    found = [line.text for batch in batches(tmp_path / "log", query, lambda: True) for line in batch]
    assert found == [b"line 3", b"line 4", b"line 5"]


def test_one_who_follows_hears_now_and_then_that_there_is_nothing(tmp_path: Path) -> None:
    """So that he can leave though nothing is printed."""
    LogFile(str(tmp_path / "log")).add("stdout", b"one\n")
    following = batches(tmp_path / "log", LogQuery(follow=True), lambda: False)
    assert [line.text for line in next(following)] == [b"one"]
    assert list(next(following)) == []


def test_a_tail_reaches_into_the_file_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "LOG_LIMIT", 250)
    log = LogFile(str(tmp_path / "log"))
    for number in range(8):
        log.add("stdout", f"line {number}\n".encode())
    assert [line.text for line in read_log(tmp_path / "log", tail=3)] == [b"line 5", b"line 6", b"line 7"]
    assert (tmp_path / "log.1").exists() and read_log(tmp_path / "log", tail=0) == []


def test_a_large_log_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "LOG_LIMIT", 1_000)
    log = LogFile(str(tmp_path / "log"))
    for number in range(200):
        log.add("stdout", f"line {number}\n".encode())
    texts = [line.text.decode() for line in read_log(tmp_path / "log")]
    assert texts[-1] == "line 199" and texts == [f"line {n}" for n in range(200 - len(texts), 200)]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_200


def test_following_yields_what_comes_until_it_is_over(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    log.add("stdout", b"before\n")
    answers = iter([False, True])

    def is_over() -> bool:
        log.add("stdout", b"later\n")
        return next(answers)

    texts = followed(tmp_path / "log", is_over)
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

    texts = followed(tmp_path / "log", is_over)
    assert texts == [f"line {number}" for number in range(13)]
    assert (tmp_path / "log.1").exists()
