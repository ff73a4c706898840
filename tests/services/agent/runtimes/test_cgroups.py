"""Control groups: version 2 against folders that look like one, version 1 against this machine's kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.agent.runtimes import cgroups
from services.agent.runtimes.cgroups import (
    Hierarchy,
    Limits,
    find_hierarchy,
    kills_in,
    make_group,
    remove_group,
    remove_leftovers,
)

MOUNTED = "1 2 0:1 {root} {point} rw - {kind} {kind} rw,{options}\n"
FILES = (
    "memory.max",
    "memory.swap.max",
    "memory.oom.group",
    "cpu.max",
    "cpu.weight",
    "pids.max",
    "cgroup.procs",
)


class Fake:
    """A machine whose /proc/self says where groups are mounted; `fill` does what the kernel does in a new folder."""

    def __init__(self, directory: Path) -> None:
        self.proc, self.point = directory / "proc", directory / "cgroup"
        self.proc.mkdir()
        self.point.mkdir()

    def says(self, own: str, mounts: str) -> str:
        (self.proc / "cgroup").write_text(own)
        (self.proc / "mountinfo").write_text(mounts)
        return str(self.proc)

    def fill(self, path: str, controllers: str = "cpu memory pids") -> Path:
        folder = self.point / path
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).touch()
        (folder / "cgroup.controllers").write_text(controllers)
        (folder / "cgroup.subtree_control").write_text("")
        return folder

    def mount(self, kind: str = "cgroup2", options: str = "", root: str = "/") -> str:
        return MOUNTED.format(root=root, point=self.point, kind=kind, options=options)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def test_limits_of_version_2_are_written_as_the_kernel_reads_them(fake: Fake) -> None:
    for path in ("chronoset", "chronoset/n1", "chronoset/n1/u1", "chronoset/n1/u1/main.0"):
        fake.fill(path)
    base = f"{fake.point}/chronoset/n1"
    hierarchy = Hierarchy(dict.fromkeys(cgroups.CONTROLLERS, (2, base)))
    folders = make_group(hierarchy, "u1", "main.0", Limits(64 << 20, 250, 100))
    assert folders == [f"{base}/u1/main.0"], "one group for all controllers"
    group, pod = Path(folders[0]), Path(base, "u1")
    written = {name: (group / name).read_text() for name in ("memory.max", "memory.swap.max", "cpu.max")}
    assert written == {"memory.max": str(64 << 20), "memory.swap.max": "0", "cpu.max": "25000 100000"}
    assert (group / "memory.oom.group").read_text() == "1", "a container dies whole"
    assert ((pod / "pids.max").read_text(), (group / "pids.max").read_text()) == ("100", ""), "of the pod"
    enabled = (pod / "cgroup.subtree_control").read_text()
    assert enabled.startswith("+"), "the container's group must have the controllers"


def test_a_controller_that_is_not_there_is_left_out(fake: Fake) -> None:
    assert make_group(Hierarchy(), "u1", "main.0", Limits(1, 1, 1)) == []
    assert not list(fake.point.iterdir())


def test_groups_of_version_2_are_beside_our_own_and_never_below_it(fake: Fake) -> None:
    """None with processes in it can have limited ones below it, and we are processes in ours."""
    fake.fill("user.slice/app.scope")
    fake.fill("user.slice")
    fake.fill("", "cpu")
    proc = fake.says("0::/user.slice/app.scope\n", fake.mount())
    assert [place for _, place in cgroups._places("memory", proc)] == [f"{fake.point}/user.slice"]
    assert [place for _, place in cgroups._places("cpu", proc)] == [
        f"{fake.point}/user.slice",
        str(fake.point),
    ]


def test_groups_of_version_1_are_below_our_own(fake: Fake) -> None:
    proc = fake.says(
        "4:memory:/us\n1:name=systemd:/\n0::/\n", fake.mount("cgroup", "memory") + fake.mount("cgroup2")
    )
    assert next(iter(cgroups._places("memory", proc))) == (1, f"{fake.point}/us")


def test_of_a_hierarchy_only_what_is_mounted_counts(fake: Fake) -> None:
    proc = fake.says("4:memory:/docker/x/us\n", fake.mount("cgroup", "memory", root="/docker/x"))
    assert list(cgroups._places("memory", proc)) == [(1, f"{fake.point}/us")]


def test_why_there_are_no_groups_is_said(fake: Fake) -> None:
    found = find_hierarchy("n1", fake.says("0::/\n", ""))
    assert found.bases == {}
    assert found.refusals["memory"] == "no control group hierarchy has the controller memory"
    fake.fill("")
    found = find_hierarchy("n1", fake.says("0::/\n", fake.mount()))
    assert found.bases == {} and found.refusals["memory"].startswith(f"{fake.point}: ")


@pytest.mark.parametrize(
    ("name", "content", "kills"),
    [
        ("memory.events", "low 0\noom 2\noom_kill 1\noom_group_kill 0\n", 1),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", 0),
        ("other", "", 0),
    ],
)
def test_kills_for_memory_are_counted(tmp_path: Path, name: str, content: str, kills: int) -> None:
    (tmp_path / name).write_text(content)
    assert kills_in([str(tmp_path)]) == kills


def test_only_groups_of_runs_that_live_are_kept(fake: Fake) -> None:
    base = fake.point / "chronoset" / "n1"
    for name in ("u1/main.0", "u1/main.1", "u2/main.0"):
        (base / name).mkdir(parents=True)
    hierarchy = Hierarchy({"cpu": (1, str(base))})
    assert remove_leftovers(hierarchy, {("u1", "main.1")}) == 2
    assert [str(path.relative_to(base)) for path in sorted(base.rglob("*"))] == ["u1", "u1/main.1"]


def test_a_removed_group_takes_those_above_it_that_are_empty(fake: Fake) -> None:
    folder = fake.point / "chronoset" / "n1" / "u1" / "main.0"
    folder.mkdir(parents=True)
    other = fake.point / "chronoset" / "n2"
    other.mkdir()
    remove_group([str(folder)])
    assert sorted(path.name for path in fake.point.rglob("*")) == ["chronoset", "n2"]


def this_machine(controller: str) -> str:
    """The folder of this machine's groups; skips, loudly, where none can be made."""
    found = find_hierarchy(f"test-{os.getpid()}")
    if controller not in found.bases:
        pytest.skip(f"NOT TESTED: this machine lets us make no groups: {found.refusals[controller]}")
    return found.bases[controller][1]


@pytest.mark.e2e
@pytest.mark.parametrize("controller", cgroups.CONTROLLERS)
def test_the_probe_of_a_machine_leaves_nothing_behind(controller: str) -> None:
    assert not Path(this_machine(controller)).exists()
