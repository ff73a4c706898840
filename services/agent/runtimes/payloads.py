"""Writes the files of a volume so that a reader sees all of the old ones or all of the new ones.

As the kubelet's atomic writer does (pkg/volume/util/atomic_writer.go): the files are in a folder of their own, `..data`
is a link to it that is renamed into place, and what programs open are links through `..data`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from services.agent.config_volumes import File

DATA = "..data"


def write_payload(folder: Path, files: Mapping[str, File]) -> bool:
    """Make `files` the content of the volume at `folder`; return whether anything was written. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    before = _payload_in(folder)
    if before == files:
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    old = os.readlink(folder / DATA) if (folder / DATA).is_symlink() else ""
    try:
        _fill(fresh, files)
        draft = folder / "..data_tmp"
        draft.unlink(missing_ok=True)
        draft.symlink_to(fresh.name)
        draft.rename(folder / DATA)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _link_names(folder, {Path(path).parts[0] for path in files})
    if old:
        shutil.rmtree(folder / old, ignore_errors=True)
    return True


def _payload_in(folder: Path) -> dict[str, File] | None:
    """Return what the volume holds; None where nothing was ever written whole."""
    data = folder / DATA
    if not data.is_dir():
        return None
    files = [path for path in data.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(data)): File(path.read_bytes(), path.stat().st_mode & 0o7777) for path in files
    }


def _fill(fresh: Path, files: Mapping[str, File]) -> None:
    fresh.chmod(0o755)
    for name, file in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)


def _link_names(folder: Path, names: set[str]) -> None:
    """Give every name its link through `..data`, and take away those that have gone."""
    for name in names:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{DATA}/{name}")
    for entry in folder.iterdir():
        if entry.name not in names and not entry.name.startswith("..") and entry.is_symlink():
            entry.unlink()
