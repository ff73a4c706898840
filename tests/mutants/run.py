"""Does the suite notice when the code is wrong? Each patch beside this file breaks one rule, and names who must notice.

A patch begins with two kinds of lines, which `git apply` skips:

    # Breaks: <what no longer holds, in a sentence>
    # Killed by: <pytest argument>                  (one a line; the first that fails is enough)

The patches are applied one at a time to copies of the working tree (what git does not ignore); the tree itself is
never touched. A mutant is killed when its selection, which passes without it, fails with it. One that survives, that
does not apply any more, or whose selection fails anyway or is not there, fails the run.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[2]
PATCHES = Path(__file__).resolve().parent
TIMEOUT = 120.0
"""Seconds that a test may take. With a mutant, not ending is noticed as well as failing is."""
_OPTIONS = ("-x", "--tb=no", "-rfE", "-p", "no:cacheprovider", "-p", "pytest_timeout")
_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "250"}
"""No byte code: two versions of a file may differ within one second. No plugins but that which
the settings name: they load longer than tests run."""
_PASSED, _FAILED = 0, 1
Selection = tuple[str, ...]
_failed_test = re.compile(r"^(?:FAILED|ERROR) (?:\S+::)*(.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A patch, the rule that it breaks, and the pytest arguments that must notice."""

    patch: Path
    breaks: str
    selection: Selection

    @property
    def name(self) -> str:
        return self.patch.stem


@dataclass(frozen=True, slots=True)
class Run:
    """What pytest came to: its exit code (None: it did not end in time) and what it printed."""

    code: int | None
    output: str

    @property
    def reason(self) -> str:
        """Who failed, or the last thing that was said."""
        if self.code is None:
            return "the time it took: it did not end"
        if found := _failed_test.search(self.output):
            return found[1]
        return (self.output.strip().splitlines() or ["pytest said nothing"])[-1]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    is_killed: bool
    told: str


def mutants_in(folder: Path) -> list[Mutant]:
    """Return the mutants of a folder, by name. Raises ValueError for one that does not say what it breaks."""
    return [_mutant_of(patch) for patch in sorted(folder.glob("*.patch"))]


def apply(patch: Path, tree: Path, *options: str) -> str:
    """Apply a patch to a tree; return why that cannot be done, empty where it was. `options` are those of git.

    A patch whose lines are found only once needs no context, which would only tie it to its neighbours.
    """
    command = ["git", "apply", "--unidiff-zero", *options, str(patch)]
    done = subprocess.run(
        command, cwd=tree, env=_outside_git(tree), capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else (done.stderr.strip() or "git apply failed").splitlines()[-1]


def judge(mutants: Sequence[Mutant], root: Path, jobs: int) -> Iterator[Verdict]:
    """Yield a verdict on each mutant, in order. The selections are tried without any mutant first, all in one run."""
    with tempfile.TemporaryDirectory(prefix="chronoset-mutants-") as place, ThreadPoolExecutor(jobs) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            trees.put(_copy(root, Path(place) / str(number)))

        def without(selection: Selection) -> Run:
            with _one_of(trees) as tree:
                return _pytest(selection, tree)

        def tried(mutant: Mutant) -> Verdict:
            with _one_of(trees) as tree:
                return _verdict(mutant, tree, sound[mutant.selection])

        selections = list(dict.fromkeys(mutant.selection for mutant in mutants))
        together = without(tuple(dict.fromkeys(chain.from_iterable(selections))))
        if together.code != _PASSED:
            print(f"without mutants: {together.reason}; each selection is tried by itself", file=sys.stderr)
        each = repeat(together) if together.code == _PASSED else pool.map(without, selections)
        sound = dict(zip(selections, each, strict=False))
        yield from pool.map(tried, mutants)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each mutant as it is judged; return 1 if one was not killed."""
    parser = argparse.ArgumentParser(prog="scripts/mutate", description="Show that each mutant is killed.")
    parser.add_argument("--only", default="", metavar="NAME", help="the mutants whose name contains NAME")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time (2)")
    options = parser.parse_args(arguments)
    mutants = [mutant for mutant in mutants_in(PATCHES) if options.only in mutant.name]
    if not mutants:
        parser.error(f"--only {options.only!r}: no mutant is named so; see tests/mutants/*.patch")
    return report(judge(mutants, ROOT, max(options.jobs, 1)), max(len(each.name) for each in mutants))


def report(verdicts: Iterable[Verdict], width: int) -> int:
    """Print the table, then what was not killed and what that breaks; return the exit code."""
    spared = []
    killed = 0
    for verdict in verdicts:
        print(f"{verdict.mutant.name:{width}}  {verdict.told}", flush=True)
        killed += verdict.is_killed
        if not verdict.is_killed:
            spared.append(verdict)
    print(f"\n{killed} of {killed + len(spared)} mutants killed")
    for verdict in spared:
        print(f"{verdict.mutant.patch}: {verdict.told}\n    breaks: {verdict.mutant.breaks}", file=sys.stderr)
    return 1 if spared else 0


def _mutant_of(patch: Path) -> Mutant:
    text = patch.read_text()
    breaks = re.findall(r"^# Breaks: (.+)$", text, re.MULTILINE)
    selection = tuple(re.findall(r"^# Killed by: (.+)$", text, re.MULTILINE))
    if len(breaks) != 1 or not selection:
        raise ValueError(f"{patch}: write one line `# Breaks: ...` and at least one `# Killed by: ...`")
    return Mutant(patch, breaks[0], selection)


def _verdict(mutant: Mutant, tree: Path, without: Run) -> Verdict:
    if without.code != _PASSED:
        return Verdict(mutant, False, f"SELECTION FAILS WITHOUT THE MUTANT: {without.reason}")
    with _restored(mutant, tree):
        if problem := apply(mutant.patch, tree):
            return Verdict(mutant, False, f"DOES NOT APPLY, the code has moved: {problem}")
        run = _pytest(mutant.selection, tree)
    if run.code == _PASSED:
        return Verdict(mutant, False, "SURVIVED")
    if run.code in (_FAILED, None):
        return Verdict(mutant, True, f"killed by {run.reason}")
    return Verdict(mutant, False, f"DOES NOT RUN: {run.reason}")


@contextmanager
def _restored(mutant: Mutant, tree: Path) -> Iterator[None]:
    """Put back what the patch touches, whatever came of it."""
    touched = [tree / name for name in re.findall(r"^\+\+\+ b/(.+)$", mutant.patch.read_text(), re.MULTILINE)]
    before = {file: file.read_bytes() for file in touched if file.is_file()}
    try:
        yield
    finally:
        for file, content in before.items():
            file.write_bytes(content)


def _copy(root: Path, tree: Path) -> Path:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        source = root / name
        if source.is_file():
            target = tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return tree


@contextmanager
def _one_of(trees: SimpleQueue[Path]) -> Iterator[Path]:
    tree = trees.get()
    try:
        yield tree
    finally:
        trees.put(tree)


def _pytest(selection: Selection, tree: Path) -> Run:
    """Run a selection in a tree; each of its arguments has `TIMEOUT`."""
    command = [sys.executable, "-m", "pytest", *_OPTIONS, *selection]
    environment = {**_outside_git(tree), **_ENVIRONMENT, "PYTHONPATH": str(tree)}
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT * len(selection))
        return Run(process.returncode, output)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Run(None, "")


def _outside_git(tree: Path) -> dict[str, str]:
    """The environment in which a copy is no part of a repository around it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_CEILING_DIRECTORIES": str(tree.parent)}


if __name__ == "__main__":
    sys.exit(main())
