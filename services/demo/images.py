"""The demo's image store: the same program under several tags, each of which says its own version."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from services.agent.runtimes.programs import ENTRYPOINT

DATABASE = Path(__file__).with_name("database.py")
COLLECTOR = Path(__file__).with_name("collector.py")


def lay_out(image_dir: Path, name: str, tags: Iterable[str], program: Path = DATABASE) -> None:
    """Write the images `<image_dir>/<name>/<tag>/`: the program, the file VERSION and the entrypoint.

    The entrypoint runs this Python: it is there for sure, and a `python3` in PATH may be older, or none. Isolated and
    without its site packages (-I -S) it starts in half the time.
    """
    start = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S "$IMAGE_DIR/{program.name}"\n'
    for tag in tags:
        tree = image_dir / name / tag
        tree.mkdir(parents=True)
        shutil.copyfile(program, tree / program.name)
        (tree / "VERSION").write_text(f"{tag}\n")
        (tree / ENTRYPOINT).write_text(start)
        (tree / ENTRYPOINT).chmod(0o755)
