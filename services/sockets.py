"""Where sockets live: a short private directory, since a socket's path has at most 107 characters.

`$XDG_RUNTIME_DIR/chronoset/<hash of the data dir>/`, else `/tmp/chronoset-<uid>/<hash>/`. Others may write to /tmp, so
each directory is made 0700 and is refused unless it is a real directory, ours, and closed to everyone else.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from schemas.errors import Forbidden

MAX_SOCKET_PATH = 107
METRICS = "metrics-"
"""How the names of the sockets begin at which programs serve their metrics (services.metrics)."""
_LONGEST_NAME = 24


def socket_dir_of(data_dir: Path, environ: Mapping[str, str], shared: Path = Path("/tmp")) -> Path:
    """Return the directory, not made yet, for the sockets of a data directory (the same for all its names).

    XDG_RUNTIME_DIR is used where it is an absolute directory of ours that leaves room for a socket's name.
    """
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    runtime = Path(environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and runtime.is_dir() and runtime.stat().st_uid == os.getuid():
        candidate = runtime / "chronoset" / digest
        if has_room(candidate):
            return candidate
    return shared / f"chronoset-{os.getuid()}" / digest


def has_room(directory: Path) -> bool:
    """Say whether the path of a socket in this directory stays within the kernel's limit."""
    return len(os.fsencode(directory)) + 1 + _LONGEST_NAME <= MAX_SOCKET_PATH


def make_socket_dir(directory: Path) -> Path:
    """Make the directory and the one above it, each 0700, and return it. Raises Forbidden where one is not safe."""
    for path in (directory.parent, directory):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        _check_private(path)
    return directory


def remove_socket_dir(directory: Path) -> None:
    """Remove the directory and the one above it where nothing is left in them but what killed programs left."""
    for path in directory.glob(f"{METRICS}*.sock"):
        path.unlink(missing_ok=True)
    for path in (directory, directory.parent):
        try:
            path.rmdir()
        except OSError:
            return


def _check_private(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        wrong = "is no directory"
    elif found.st_uid != os.getuid():
        wrong = f"belongs to user {found.st_uid}, not to {os.getuid()}"
    elif found.st_mode & 0o077:
        wrong = f"is open to others (mode {stat.S_IMODE(found.st_mode):04o}, must be 0700)"
    else:
        return
    raise Forbidden(f"sockets cannot live in {path}: it {wrong}; remove it or set XDG_RUNTIME_DIR")
