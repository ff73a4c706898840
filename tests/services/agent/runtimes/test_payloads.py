"""A volume's files are swapped as one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from services.agent.config_volumes import File
from services.agent.runtimes.payloads import write_payload


def test_files_appear_with_their_modes_and_go_with_their_keys(tmp_path: Path) -> None:
    write_payload(tmp_path, {"a": File(b"1", 0o644), "deep/b": File(b"2", 0o400)})
    assert (tmp_path / "a").read_bytes() == b"1" and (tmp_path / "deep/b").read_bytes() == b"2"
    assert (tmp_path / "deep/b").stat().st_mode & 0o777 == 0o400
    write_payload(tmp_path, {"a": File(b"3", 0o644)})
    assert (tmp_path / "a").read_bytes() == b"3" and not os.path.lexists(tmp_path / "deep")
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("..")]) == 2


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    files = {"a": File(b"1", 0o644)}
    assert write_payload(tmp_path, files)
    before = os.readlink(tmp_path / "..data")
    assert not write_payload(tmp_path, files) and os.readlink(tmp_path / "..data") == before


def test_an_empty_volume_is_a_folder(tmp_path: Path) -> None:
    assert write_payload(tmp_path / "v", {}) and not write_payload(tmp_path / "v", {})
    assert [path for path in (tmp_path / "v").iterdir() if not path.name.startswith("..")] == []


def test_a_reader_sees_all_of_the_old_files_or_all_of_the_new_ones(tmp_path: Path) -> None:
    write_payload(tmp_path, {"a": File(b"0", 0o644), "b": File(b"0", 0o644)})
    torn: list[tuple[bytes, bytes]] = []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            try:
                folder = os.open(tmp_path / "..data", os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                a, b = _read("a", folder), _read("b", folder)
            except FileNotFoundError:
                continue
            finally:
                os.close(folder)
            if a != b:
                torn.append((a, b))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        content = str(number).encode()
        write_payload(tmp_path, {"a": File(content, 0o644), "b": File(content, 0o644)})
    is_over.set()
    reader.join()
    assert torn == []


def _read(name: str, folder: int) -> bytes:
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return file.read()
