"""The image store: program trees on disk, `<image-dir>/<name>/<tag>/`, and what an image's bytes are.

An image whose name is in the store must have the tag; an image whose name is not runs the host's own programs, and
the pod says so (condition ImageVerified=False). `imageID` is always a digest of what really runs, so that the log
tells one build from another even where the tag is the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from services.agent.runtimes.port import Refused

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>{_COMPONENT}(?::[0-9]+(?=/))?(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image as a container names it; the tag is `latest` where none is written."""

    name: str
    tag: str
    digest: str


def parse_reference(image: str) -> Reference:
    """Return the parts of `registry:5000/team/db:5.7.2@sha256:...`. Raises Refused(InvalidImageName)."""
    match = _REFERENCE.fullmatch(image)
    if match is None:
        raise Refused(
            "InvalidImageName", f"{image!r} is no image name: write name, name:tag or name@sha256:..."
        )
    return Reference(match["name"], match["tag"] or "latest", match["digest"] or "")


class ImageStore:
    """Finds images and computes digests. Safe to use from several threads."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory.absolute() if directory else None
        self._digests: dict[tuple[int, int, int, int], str] = {}
        self._lock = threading.Lock()

    def find(self, image: str) -> Path | None:
        """Return the program tree of `image`, or None where the store does not know its name.

        Raises Refused: InvalidImageName, or ErrImagePull where the name is known and the tag (or digest) is not.
        """
        reference = parse_reference(image)
        if self._directory is None or not (self._directory / reference.name).is_dir():
            return None
        tree = self._directory / reference.name / reference.tag
        if not tree.is_dir():
            raise Refused("ErrImagePull", f"{image}: not found in the image store {self._directory}")
        if reference.digest and self.digest_of(tree) != reference.digest:
            raise Refused("ErrImagePull", f"{image}: the image store holds {self.digest_of(tree)}")
        return tree

    def digest_of(self, path: Path) -> str:
        """Return `sha256:<hex>` of a file's bytes, or of a tree: every name, mode, link and content in it."""
        if not path.is_dir():
            return f"sha256:{self._digest_of_file(path)}"
        total = hashlib.sha256()
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted(
                files + [name for name in folders if os.path.islink(os.path.join(folder, name))]
            ):
                entry = Path(folder, name)
                mode = entry.lstat().st_mode
                content = os.readlink(entry) if stat.S_ISLNK(mode) else self._digest_of_file(entry)
                total.update(f"{entry.relative_to(path)}\0{mode:o}\0{content}\n".encode())
        return f"sha256:{total.hexdigest()}"

    def _digest_of_file(self, path: Path) -> str:
        found = path.stat()
        identity = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
        with self._lock:
            known = self._digests.get(identity)
        if known is None:
            with path.open("rb") as file:
                known = hashlib.file_digest(file, "sha256").hexdigest()
            with self._lock:
                self._digests[identity] = known
        return known
