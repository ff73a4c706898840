"""The program in the demo's images, run as an agent runs it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.errors import Unavailable
from services.demo.images import lay_out
from services.demo.witnesses import answer_of

pytestmark = pytest.mark.e2e
HOSTS = "127.0.0.1 localhost\n{address} db-0.db.default.svc.cluster.local db-0.db # a pod\n"


def an_address() -> str:
    """Return an address of the loopback net that is this test process' own."""
    return f"127.255.{os.getpid() >> 8 & 255}.{1 + os.getpid() % 254}"


@contextmanager
def database(room: Path, tag: str = "5.7.2") -> Iterator[subprocess.Popen[str]]:
    """Run the image db:<tag> of `room/images`, on the volume `room/data`."""
    tree = room / "images" / "db" / tag
    (room / "data").mkdir(exist_ok=True)
    (room / "hosts").write_text(HOSTS.format(address=an_address()))
    environ = {
        "PATH": os.environ["PATH"],
        "IMAGE_DIR": str(tree),
        "POD_IP": an_address(),
        "POD_NAME": "db-0",
        "POD_UID": "u1",
        "VOLUME_DATA": str(room / "data"),
        "CHRONOSET_HOSTS": str(room / "hosts"),
    }
    process = subprocess.Popen([tree / "entrypoint"], env=environ, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


def answered(path: str = "/") -> dict[str, object]:
    deadline = time.monotonic() + 20
    while True:
        try:
            return answer_of(an_address(), path)
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def journal(room: Path) -> list[str]:
    return (room / "data" / "journal").read_text().splitlines()


@pytest.fixture
def room(tmp_path: Path) -> Path:
    lay_out(tmp_path / "images", "db", ["5.7.2", "5.7.23"])
    return tmp_path


def test_it_tells_its_version_and_who_it_is(room: Path):
    with database(room, "5.7.23"):
        assert answered() == {"version": "5.7.23", "pod": "db-0", "uid": "u1", "address": an_address()}


def test_it_reaches_a_peer_by_the_names_of_its_hosts_file_and_says_which_it_does_not_know(room: Path):
    with database(room):
        told = answered("/peer?host=db-0.db:8080")
        assert (told["address"], told["answer"]) == (an_address(), answered())
        with pytest.raises(Unavailable, match="the name db-7 is not known"):
            answer_of(an_address(), "/peer?host=db-7:8080")


def test_its_volume_keeps_what_every_version_wrote(room: Path):
    for tag in ("5.7.2", "5.7.23"):
        with database(room, tag):
            answered()
    assert journal(room) == ["started 5.7.2 u1", "stopped 5.7.2 u1", "started 5.7.23 u1", "stopped 5.7.23 u1"]


def test_a_second_process_on_the_volume_gives_up(room: Path):
    with database(room):
        answered()
        with database(room) as second:
            assert second.wait(timeout=20) == 1
    assert journal(room) == ["started 5.7.2 u1", "stopped 5.7.2 u1"]
