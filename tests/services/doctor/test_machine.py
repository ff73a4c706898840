"""What the doctor says of a machine."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from services.doctor.findings import Level
from services.doctor.machine import MachineFacts, facts_of, machine_findings
from services.settings import settings_from

GIB = 1 << 30
GOOD = MachineFacts(
    python=(3, 12),
    has_ensurepip=True,
    server="/usr/bin/redis-server 7.0.15",
    server_usable=True,
    socket_dir=Path("/tmp/chronoset-0/0123456789abcdef"),
    data_dir=Path(".chronoset"),
    data_dir_writable=True,
    free_disk=100 * GIB,
    total_disk=200 * GIB,
    memory=8 * GIB,
    open_files=20_000,
    overcommit="1",
    huge_pages="always [madvise] never",
    has_proc=True,
)


def test_a_good_machine_has_nothing_wrong() -> None:
    assert {found.level for found in machine_findings(GOOD)} == {Level.GOOD}


@pytest.mark.parametrize(
    ("change", "level", "what", "do"),
    [
        ({"python": (3, 10)}, Level.ERROR, "Python 3.10", "3.11"),
        ({"has_ensurepip": False}, Level.NOTE, "no ensurepip", "sudo apt install python3-venv"),
        ({"server_usable": False, "server": "redis-server is 5.0.14"}, Level.ERROR, "5.0.14", ">= 6.2.16"),
        ({"socket_dir": Path("/" + "x" * 90)}, Level.ERROR, "no room", "XDG_RUNTIME_DIR"),
        ({"data_dir_writable": False}, Level.ERROR, "cannot be written", "--data-dir"),
        ({"free_disk": GIB - 1}, Level.ERROR, "1023 MiB free; below 1024 MiB", "make room"),
        ({"free_disk": 2 * GIB - 1}, Level.WARNING, "2047 MiB free", "soon"),
        ({"memory": 256 << 20}, Level.WARNING, "256 MiB", "512 MiB"),
        ({"open_files": 256}, Level.WARNING, "at most 256", "ulimit -n 1024"),
        ({"open_files": resource.RLIM_INFINITY}, Level.GOOD, "open files", ""),
        ({"overcommit": "0"}, Level.NOTE, "vm.overcommit_memory is 0", "vm.overcommit_memory=1"),
        ({"huge_pages": "[always] madvise never"}, Level.NOTE, "huge pages are always on", "madvise"),
        ({"has_proc": False}, Level.ERROR, "/proc", "mount"),
    ],
)
def test_each_fact_is_judged_and_the_finding_says_what_to_do(
    change: dict[str, object], level: Level, what: str, do: str
) -> None:
    found = machine_findings(replace(GOOD, **change))  # type: ignore[arg-type]
    changed = [one for one in found if one not in machine_findings(GOOD)]
    assert [one.level for one in changed] == [level]
    assert what in changed[0].what
    assert do in changed[0].do


def test_the_facts_of_this_machine_are_gathered_without_making_the_data_directory(tmp_path: Path) -> None:
    facts = facts_of(settings_from({}, tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()
    assert facts.server_usable
    assert facts.has_proc
    assert 0 < facts.free_disk <= facts.total_disk
