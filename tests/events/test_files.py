"""Private files are there whole or not at all, whatever happens to who writes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from events.files import DRAFT, write_once, write_private

Write = Callable[[Path, bytes], None]
both = pytest.mark.parametrize("write", [write_private, write_once])


@both
def test_a_file_is_for_its_owner_alone_and_leaves_no_draft_behind(write: Write, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write(tmp_path / "key", b"content")
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").read_bytes() == b"content"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_could_read_is_private_when_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o600


def test_of_those_who_write_a_file_once_the_first_wins(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_once(path, b"first")
    write_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert [*tmp_path.iterdir()] == [path]


@both
def test_threads_that_write_one_file_do_not_mix_what_they_write(write: Write, tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    threads = [Thread(target=write, args=(tmp_path / "key", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "key").read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@both
def test_a_write_that_fails_leaves_what_was_there(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        assert any(path.name.startswith(DRAFT) for path in tmp_path.iterdir())
        raise OSError(28, "No space left on device")

    path = tmp_path / "key"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_content_and_folder_are_on_disk_before_a_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is synced is the draft while it is not yet the file, then the folder that names the file."""
    synced: list[tuple[str, bool]] = []

    def sync(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "key").exists()))

    monkeypatch.setattr(os, "fsync", sync)
    write_private(tmp_path / "key", b"content")
    (draft, was_there), (folder, is_there) = synced
    assert Path(draft).name.startswith(DRAFT) and not was_there
    assert folder == str(tmp_path) and is_there
