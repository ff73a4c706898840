"""The mutants are kept up with the code, and a run of them tells the killed from the survivors."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.mutants.run import PATCHES, ROOT, Mutant, apply, judge, mutants_in, report

MUTANTS = mutants_in(PATCHES)


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 20


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_applies_and_the_tests_it_names_are_there(mutant: Mutant) -> None:
    """Where this fails the code has moved: make the patch anew, so that it breaks the same rule."""
    assert apply(mutant.patch, ROOT, "--check") == ""
    for each in mutant.selection:
        path, _, test = each.partition("[")[0].partition("::")
        name = test.rpartition("::")[2]
        assert not name or f"def {name}(" in (ROOT / path).read_text(), each


def test_a_mutant_must_say_what_it_breaks_and_who_kills_it(tmp_path: Path) -> None:
    (tmp_path / "silent.patch").write_text("# Breaks: something\n")
    with pytest.raises(ValueError, match="Killed by"):
        mutants_in(tmp_path)


def test_survivors_and_patches_or_selections_that_have_gone_bad_fail_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project, patches = tmp_path / "project", tmp_path / "patches"
    project.mkdir()
    patches.mkdir()
    (project / "doubling.py").write_text("def doubled(n: int) -> int:\n    return 2 * n\n")
    (project / "test_doubling.py").write_text(
        "from doubling import doubled\n\n\ndef test_three() -> None:\n    assert doubled(3) == 6\n"
        "\n\ndef test_two() -> None:\n    assert doubled(2) == 4\n"
        "\n\ndef test_wrong() -> None:\n    assert not doubled(1)\n"
    )
    _git(project, "init", "--quiet")
    _git(project, "add", ".")
    for name, line, test in (
        ("a-killed", "return 2 + n", "test_three"),
        ("b-survivor", "return 2 + n", "test_two"),
        ("c-without", "return 2 + n", "test_wrong"),
        ("d-broken", "return 2 *", "test_two"),
    ):
        _write(patches / f"{name}.patch", "    return 2 * n", f"    {line}", test)
    _write(patches / "e-moved.patch", "    return n + n", "    return 0", "test_two")

    assert report(judge(mutants_in(patches), project, jobs=1), width=0) == 1

    told = dict(line.split("  ", 1) for line in capfd.readouterr().out.splitlines()[:5])
    assert told["a-killed"] == "killed by test_three"
    assert told["b-survivor"] == "SURVIVED"
    assert told["c-without"] == "SELECTION FAILS WITHOUT THE MUTANT: test_wrong"
    assert told["d-broken"].startswith("DOES NOT RUN")
    assert told["e-moved"].startswith("DOES NOT APPLY, the code has moved")
    assert (project / "doubling.py").read_text().endswith("return 2 * n\n")


def _write(patch: Path, old: str, new: str, test: str) -> None:
    patch.write_text(
        f"# Breaks: doubling.\n# Killed by: test_doubling.py::{test}\n\n"
        f"--- a/doubling.py\n+++ b/doubling.py\n@@ -1,2 +1,2 @@\n def doubled(n: int) -> int:\n-{old}\n+{new}\n"
    )


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
