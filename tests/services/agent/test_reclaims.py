"""Data of volumes that nobody wants is removed, and nothing else ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import Unavailable
from schemas.objects import Object, name_of
from services.agent.agent import Agent, wall_clock
from services.agent.folders import remove_tree
from services.agent.nodes import NodeSettings
from services.agent.reclaims import Forbidden, directory_of
from services.agent.runtimes.simulated import SimulatedRuntime
from tests.services.agent.builders import a_volume
from tests.services.agent.fakes import MemoryControlPlane, eventually


class MountingRuntime(SimulatedRuntime):
    """A simulated runtime whose pods mount what a test says."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.directories: set[str] = set()

    def mounted(self) -> set[str]:
        return self.directories


class Site:
    """A node `n1` with one volume of some files, and a neighbour's."""

    def __init__(self, directory: Path) -> None:
        self.control = MemoryControlPlane()
        self.node = directory / "n1"
        self.data = self.node / "volumes/pv-1"
        self.data.mkdir(parents=True)
        (self.data / "file").write_text("x")
        self.runtime = MountingRuntime(lambda *_: None, wall_clock)
        self.agent = Agent(NodeSettings("n1", self.node), self.control, lambda _: self.runtime)

    def has(self, volume: Object) -> bool:
        return self.control.get("core/persistentvolumes", "", name_of(volume)) is not None


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.agent.start()
    yield site
    site.agent.stop()
    site.agent.join(10)


def test_the_directory_goes_and_then_the_volume(site: Site) -> None:
    beside = site.node / "volumes/pv-2"
    beside.mkdir()
    volume = site.control.put(a_volume())
    eventually(lambda: not site.has(volume))
    assert not site.data.exists() and beside.exists()


def test_a_directory_that_is_gone_already_is_fine(site: Site) -> None:
    volume = site.control.put(a_volume(path="volumes/never-made"))
    eventually(lambda: not site.has(volume))


def test_a_volume_of_another_node_or_one_that_lives_is_left_alone(site: Site) -> None:
    other = site.control.put(a_volume("pv-a", "n2"))
    lives = site.control.put(a_volume("pv-b", deletionTimestamp=None))
    mine = site.control.put(a_volume("pv-c", path="volumes/pv-c"))
    eventually(lambda: not site.has(mine))
    assert site.data.exists() and site.has(other) and site.has(lives)


@pytest.mark.parametrize("mounted", ["volumes/pv-1", "volumes/pv-1/below"])
def test_what_a_pod_still_mounts_stays_until_it_is_gone(site: Site, mounted: str) -> None:
    site.runtime.directories = {str(site.node / mounted)}
    volume = site.control.put(a_volume())
    free = site.control.put(a_volume("pv-2", path="volumes/pv-10"))
    eventually(lambda: not site.has(free))
    assert site.data.exists() and site.has(volume)
    site.runtime.directories = set()
    eventually(lambda: not site.has(volume), 5)
    assert not site.data.exists()


def test_a_release_that_cannot_be_told_is_told_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.agent.reclaims.RETRY", 50)
    release, answers = site.control.release_volume, [Unavailable("gone")]

    def fail_once(node: str, volume: Object) -> None:
        if answers:
            raise answers.pop()
        release(node, volume)

    monkeypatch.setattr(site.control, "release_volume", fail_once)
    volume = site.control.put(a_volume())
    eventually(lambda: not site.has(volume), 5)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "volumes",
        "volumes/..",
        "volumes/../pods",
        "volumes/a/b",
        "pods/x",
        "/etc",
        "/volumes/x",
    ],
)
def test_only_a_folder_directly_below_volumes_is_ever_removed(tmp_path: Path, path: str) -> None:
    with pytest.raises(Forbidden):
        directory_of(a_volume(path=path), tmp_path)


def test_volumes_that_lie_behind_a_link_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere/pv-1").mkdir(parents=True)
    (tmp_path / "volumes").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Forbidden):
        directory_of(a_volume(), tmp_path)


def test_a_volume_that_names_a_foreign_path_is_held_and_its_data_kept(site: Site, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    volume = site.control.put(a_volume(path=str(precious)))
    good = site.control.put(a_volume("pv-2", path="volumes/pv-1"))
    eventually(lambda: not site.has(good))
    assert precious.exists() and site.has(volume)


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(precious)
    remove_tree(tree)
    link = tmp_path / "top"
    link.symlink_to(precious)
    remove_tree(link)
    assert (precious / "file").exists() and not tree.exists() and not link.is_symlink()


def test_read_only_folders_are_removed_too(tmp_path: Path) -> None:
    """As package caches leave them; root may do so anyway, so the test drops its rights first."""
    inner = tmp_path / "tree/a/b"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    for folder in (inner, inner.parent, tmp_path / "tree"):
        folder.chmod(0o500)
    if os.getuid() == 0:
        for folder in (tmp_path, tmp_path / "tree", inner.parent, inner):
            os.chown(folder, 65534, 65534)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.chdir(tmp_path)
                os.setuid(65534)
                remove_tree(Path("tree"))
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
    else:
        remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
