"""The private directory of the sockets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas.errors import Forbidden
from services.sockets import MAX_SOCKET_PATH, make_socket_dir, remove_socket_dir, socket_dir_of


def test_without_a_runtime_directory_it_is_below_tmp_under_our_uid(tmp_path: Path) -> None:
    directory = socket_dir_of(tmp_path, {})
    assert directory.parent == Path(f"/tmp/chronoset-{os.getuid()}")
    assert len(directory.name) == 16


def test_a_runtime_directory_of_ours_is_used(tmp_path: Path) -> None:
    assert (
        socket_dir_of(tmp_path, {"XDG_RUNTIME_DIR": "/dev"}).parent == Path("/dev/chronoset")
        or os.getuid() != 0
    )
    assert socket_dir_of(tmp_path, {"XDG_RUNTIME_DIR": "relative"}).parts[1] == "tmp"
    assert (
        socket_dir_of(tmp_path, {"XDG_RUNTIME_DIR": str(tmp_path / "none")}).parts[2].startswith("chronoset-")
    )


def test_a_runtime_directory_that_leaves_no_room_for_a_name_is_passed_over(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    directory = socket_dir_of(tmp_path, {"XDG_RUNTIME_DIR": str(long)})
    assert not directory.is_relative_to(long)
    assert len(str(directory / "a-name-of-some-length.sock")) <= MAX_SOCKET_PATH


def test_each_data_directory_has_its_own_however_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    names = [socket_dir_of(path, {}) for path in (tmp_path / "a", Path("a"), Path("./link"), Path("b"))]
    assert names[0] == names[1] == names[2] != names[3]


def test_it_is_made_private_and_goes_when_it_is_empty(tmp_path: Path) -> None:
    directory = tmp_path / "chronoset-1" / "abc"
    assert make_socket_dir(directory) == make_socket_dir(directory) == directory
    assert [path.stat().st_mode & 0o777 for path in (directory, directory.parent)] == [0o700, 0o700]
    (directory / "other.sock").touch()
    remove_socket_dir(directory)
    assert directory.exists()
    (directory / "other.sock").unlink()
    remove_socket_dir(directory)
    remove_socket_dir(directory)
    assert not directory.parent.exists()


@pytest.mark.parametrize("level", ["directory", "parent"])
def test_a_planted_symlink_is_refused(tmp_path: Path, level: str) -> None:
    """An attacker who may write to /tmp points our name at a directory that he can read."""
    directory = tmp_path / "chronoset-1" / "abc"
    target = directory if level == "directory" else directory.parent
    target.parent.mkdir(exist_ok=True, mode=0o700)
    (tmp_path / "theirs").mkdir(mode=0o700)
    target.symlink_to(tmp_path / "theirs")
    with pytest.raises(Forbidden, match="it is no directory"):
        make_socket_dir(directory)


def test_a_directory_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "chronoset-1" / "abc"
    directory.parent.mkdir()
    directory.parent.chmod(0o755)
    with pytest.raises(Forbidden, match="mode 0755, must be 0700"):
        make_socket_dir(directory)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "chronoset-1" / "abc"
    directory.parent.mkdir(mode=0o700)
    os.chown(directory.parent, 4242, 4242)
    with pytest.raises(Forbidden, match="belongs to user 4242"):
        make_socket_dir(directory)
