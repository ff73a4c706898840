"""Host paths and the types they must be of."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from services.agent.host_types import prepare_host_paths
from services.agent.runtimes.port import Refused
from tests.builders import a_pod


def prepare(path: Path, kind: str) -> None:
    pod = a_pod(volumes=[{"name": "v", "hostPath": {"path": str(path), "type": kind}}])
    prepare_host_paths(pod, path.parent)


def refusal(path: Path, kind: str) -> str:
    with pytest.raises(Refused) as refused:
        prepare(path, kind)
    assert refused.value.reason == "ContainerCreating"
    return str(refused.value)


@pytest.mark.parametrize(
    ("kind", "noun"),
    [
        ("Directory", "a directory"),
        ("File", "a file"),
        ("Socket", "a socket file"),
        ("CharDevice", "a character device"),
        ("BlockDevice", "a block device"),
    ],
)
def test_what_is_not_there_is_not_of_the_type(tmp_path: Path, kind: str, noun: str) -> None:
    path = tmp_path / "absent"

    assert refusal(path, kind) == (
        f'MountVolume.SetUp failed for volume "v" : hostPath type check failed: {path} is not {noun}'
    )
    assert not path.exists()


@pytest.mark.parametrize(
    ("kind", "fits"),
    [
        ("", ("folder", "file", "socket")),
        ("Directory", ("folder",)),
        ("DirectoryOrCreate", ("folder",)),
        ("File", ("file",)),
        ("FileOrCreate", ("file",)),
        ("Socket", ("socket",)),
        ("CharDevice", ("/dev/null",)),
    ],
)
def test_only_what_is_of_the_type_is_taken(tmp_path: Path, kind: str, fits: tuple[str, ...]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("folder", "file", "socket", "/dev/null"):
            if name in fits or (not kind and name):
                prepare(tmp_path / name, kind)
            else:
                assert "hostPath type check failed" in refusal(tmp_path / name, kind)


def test_what_may_be_made_is_made(tmp_path: Path) -> None:
    prepare(tmp_path / "a" / "b", "DirectoryOrCreate")
    prepare(tmp_path / "file", "FileOrCreate")

    assert (tmp_path / "a" / "b").is_dir() and (tmp_path / "file").is_file()


def test_a_file_is_not_made_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file or directory" in refusal(tmp_path / "absent" / "file", "FileOrCreate")
