"""What a node says of its disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.agent.disks import Disks
from services.agent.nodes import NodeSettings, node_object
from tests.services.agent.fakes import eventually

GIB = 1 << 30


@dataclass
class Filesystem:
    """A file system of 64 GiB."""

    free: int
    total: int = 64 * GIB

    def usage(self, _: Path) -> Filesystem:
        return Filesystem(self.free, self.total)


def test_volumes_may_hold_what_is_free_and_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes" / "data").write_bytes(b"x" * (3 << 20))
    tiny = Filesystem(free=32 << 20, total=64 << 20)

    assert Disks(tmp_path, tiny.usage).disk.room == 35 << 20


def test_a_little_more_or_less_is_no_news_and_much_is(tmp_path: Path) -> None:
    disk = Filesystem(40 * GIB)
    disks = Disks(tmp_path, disk.usage)

    disk.free -= GIB
    assert not disks.look() and disks.disk.room == 40 * GIB
    disk.free -= 9 * GIB
    eventually(disks.look)
    assert disks.disk.room == 30 * GIB
    assert not disks.look()


def test_a_full_disk_is_full_until_there_is_twice_as_much_room(tmp_path: Path) -> None:
    disk = Filesystem(2 * GIB)
    disks = Disks(tmp_path, disk.usage)
    assert not disks.disk.is_full

    disk.free = GIB - 1
    eventually(disks.look)
    assert disks.disk.is_full
    disk.free = GIB + 1
    assert not disks.look() and disks.disk.is_full
    disk.free = 2 * GIB
    eventually(disks.look)
    assert not disks.disk.is_full


def test_the_node_reports_room_and_pressure(tmp_path: Path) -> None:
    full = Disks(tmp_path, Filesystem(GIB // 2).usage).disk
    status = node_object(NodeSettings("n1", tmp_path), "process", 0, disk=full)["status"]

    assert status["capacity"]["chronoset.dev/volumes"] == f"{64 << 20}Ki"
    assert status["allocatable"]["chronoset.dev/volumes"] == "0Ki"
    [pressure] = [each for each in status["conditions"] if each["type"] == "DiskPressure"]
    assert (pressure["status"], pressure["reason"]) == ("True", "KubeletHasDiskPressure")


def test_capacity_that_is_set_replaces_what_was_found(tmp_path: Path) -> None:
    settings = NodeSettings("n1", tmp_path, capacity={"chronoset.dev/volumes": "5Gi"})
    status = node_object(settings, "process", 0, disk=Disks(tmp_path).disk)["status"]

    assert status["capacity"]["chronoset.dev/volumes"] == "5Gi"
    assert status["allocatable"]["chronoset.dev/volumes"] == "5Gi"
