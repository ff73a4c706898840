"""The lock of a data directory; what its holders do to one another is in test_servers.py and test_supervisor.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.errors import BadRequest
from services.data_dirs import lock_data_dir


@pytest.mark.parametrize("place", ["file/data", "/proc/nowhere"])
def test_a_directory_that_cannot_be_made_is_refused_by_its_name(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        BadRequest, match=f"^--data-dir: '{re.escape(str(tmp_path / place))}' cannot be used: "
    ):
        lock_data_dir(tmp_path / place)
