"""Transcripts: what a person types, and what is to be seen then, with places for what differs from run to run.

    $ kubectl scale sts db --replicas=3     a command line, run by bash
    > --timeout=9s                          the rest of one
    statefulset.apps/db scaled              a line of what it says, spaces counted once, empty lines not at all
    ...                                     any number of lines
    [1]                                     the exit code, where it is not 0

`$>=1.30 ` and `$<1.30 ` are for those versions only; `$~ ` is tried again until it says what it should; `#` begins a
remark.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PLACES = {
    "any": r".*",
    "word": r"\S+",
    "age": r"(?:\d+[smhdy])+",
    "ip": r"127(?:\.\d+){3}",
    "node": r"n\d+",
    "hash": r"[0-9a-f]{8,10}",
    "time": r"\S*\d\d:\d\d:\d\d\S*( .*)?",
    "version": r"\d+",
}
PATIENCE = 45.0
_COMMAND = re.compile(r"\$(?P<again>~)?(?:(?P<relation>>=|<)(?P<version>1\.\d+))? (?P<line>.+)")
_EXIT = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Step:
    """A command line, and what is expected of it."""

    number: int
    line: str
    expected: tuple[str, ...] = ()
    code: int = 0
    again: bool = False
    relation: str = ""
    version: str = ""

    def is_for(self, version: str) -> bool:
        if not self.relation:
            return True
        is_before = _minor(version) < _minor(self.version)
        return is_before == (self.relation == "<")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command came to."""

    lines: tuple[str, ...]
    code: int


def parse(text: str) -> Iterator[Step]:
    """Yield the steps of a transcript. Raises ValueError for a line that belongs to none."""
    step: Step | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if command := _COMMAND.fullmatch(line):
            if step is not None:
                yield step
            found = command.groupdict(default="")
            step = Step(
                number, found["line"], (), 0, bool(found["again"]), found["relation"], found["version"]
            )
        elif not line.strip() or line.startswith("# "):
            continue
        elif step is None:
            raise ValueError(f"line {number}: {line!r} is before any command")
        else:
            step = _with_line(step, line)
    if step is not None:
        yield step


def _with_line(step: Step, line: str) -> Step:
    code, expected, command = step.code, step.expected, step.line
    if line.startswith("> "):
        command = f"{command}\n{line[2:]}"
    elif ended := _EXIT.fullmatch(line):
        code = int(ended[1])
    else:
        expected = (*expected, line)
    return Step(step.number, command, expected, code, step.again, step.relation, step.version)


def play(step: Step, folder: Path, environ: Mapping[str, str]) -> Said | None:
    """Run a step. Return what it said where that is not what it should, None where it is."""
    deadline = time.monotonic() + (PATIENCE if step.again else 0)
    while True:
        said = run(step.line, folder, environ)
        if said.code == step.code and matches(step.expected, said.lines):
            return None
        if time.monotonic() >= deadline:
            return said
        time.sleep(0.2)


def run(line: str, folder: Path, environ: Mapping[str, str]) -> Said:
    """Run a command line with bash; its errors are among what it says."""
    ran = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    lines = (" ".join(line.split()) for line in ran.stdout.splitlines())
    return Said(tuple(line for line in lines if line), ran.returncode)


def matches(expected: tuple[str, ...], lines: tuple[str, ...]) -> bool:
    """Say whether lines are what is expected."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else _pattern_of(line) + r"\n" for line in expected
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _pattern_of(line: str) -> str:
    parts = re.split(r"<(\w+)>", " ".join(line.split()))
    return "".join(
        PLACES.get(part, re.escape(f"<{part}>")) if odd % 2 else re.escape(part)
        for odd, part in enumerate(parts)
    )


def _minor(version: str) -> int:
    return int(version.partition(".")[2])
