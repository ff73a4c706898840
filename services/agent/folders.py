"""Removes folders that programs have written: whatever their modes are, and never anything outside of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def remove_tree(path: Path) -> None:
    """Remove what is at `path`, a folder or anything else; nothing is there: fine. Links are removed, not followed.

    A folder without write permission, as package caches have them, is made writable first. Raises OSError.
    """
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        try:
            shutil.rmtree(path)
        except PermissionError:
            _make_writable(path)
            shutil.rmtree(path)
    except FileNotFoundError:
        return


def _make_writable(path: Path) -> None:
    """Give every folder of a tree its owner's permissions back, from the top down; links are not followed."""
    os.chmod(path, 0o700)
    for folder, names, _ in os.walk(path):
        for name in names:
            entry = os.path.join(folder, name)
            if not os.path.islink(entry):
                os.chmod(entry, 0o700)
