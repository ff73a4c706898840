"""The scripts that everything else is started by."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

VENV = Path(__file__).parent.parent / "scripts/_venv"


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"python3": 20_000, "python3.13": 15_000, "python3.11": 14_800}, "python3.13"),
        ({"python3": 20_000, "python3.12": 19_000}, "python3"),
        ({"python3": None, "python3.11": 20_000}, "python3.11"),
        ({"python3": None}, ""),
    ],
)
def test_the_first_python_of_the_path_is_taken_that_is_a_tenth_faster_than_those_before_it(
    times: dict[str, int | None], chosen: str, tmp_path: Path
) -> None:
    """None: one that is too old, or cannot make an environment, and so says nothing."""
    for name, time in times.items():
        says = "exit 1" if time is None else f"echo {time} {tmp_path / name}"
        (tmp_path / name).write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / name).chmod(0o755)
    for tool in ("awk", "dirname", "sh"):
        (tmp_path / tool).symlink_to(Path("/usr/bin") / tool)
    script = f'. "{VENV}"; find_python'
    found = subprocess.run(
        ["/bin/bash", "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == (str(tmp_path / chosen) if chosen else "")
