"""Removes and measures folders that programs have written: whatever is in them, and never anything outside of them."""

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


def size_of(path: Path) -> int:
    """Return the bytes that a tree takes on its disk, a file of several names counted once. Links are not followed."""
    total, seen = 0, set[tuple[int, int]]()
    todo = [str(path)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    total += _blocks_of(entry, seen)
        except OSError:
            continue
    return total


def _blocks_of(entry: os.DirEntry[str], seen: set[tuple[int, int]]) -> int:
    """Return what one entry takes; nothing where it has just gone, or was counted by another name."""
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    if found.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
        if (found.st_dev, found.st_ino) in seen:
            return 0
        seen.add((found.st_dev, found.st_ino))
    return found.st_blocks * 512
